"""BitMEX as its clients knew it until it closed on 2026-09-23: REST under /api/v1 and a WebSocket under /realtime.

What was inferred and not read: the wording of some refusals, and that a topic needs a symbol here.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from fullon_simulator.bitmex_rest import BitmexRest
from fullon_simulator.bitmex_wire import (
    BINS,
    DIRECTION_TRADES,
    bucket_entries,
    buckets,
    insert_frame,
    instrument_id,
    iso_ms,
    partial_frame,
    trade_entries,
)
from fullon_simulator.clock import MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.limits import TokenBucket
from fullon_simulator.listings import Listings
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.venue import Feed, Venue

_OPENINGS_AN_HOUR = 40
_TABLES: Mapping[str, Timeframe | None] = {
    "trade": None,
    **{f"tradeBin{name}": timeframe for name, timeframe in BINS.items()},
}


class _Topic(NamedTuple):
    table: str
    symbol: str


_ABOUT_NOTHING = _Topic("", "")


class _Stream:
    """One topic and who listens to it."""

    def __init__(self) -> None:
        self.listeners: dict[Connection, None] = {}


class _Refused(Exception):
    """A request, or one topic of it, that is not served."""


class Bitmex(Venue):
    """One BitMEX. With `mixed_frames` a message carries all symbols of a tick, else only one symbol."""

    name = "bitmex"

    def __init__(
        self, tapes: Mapping[str, Tape], clock: MarketClock, *, limited: bool = True, mixed_frames: bool = False
    ) -> None:
        self._listings = Listings(tapes, clock, lambda spec: (instrument_id(spec),))
        rest = BitmexRest(self._listings, clock, limited=limited)
        super().__init__(tapes, clock, rest, socket_paths=("/realtime",))
        self._limited = limited
        self._mixed_frames = mixed_frames
        self._openings = TokenBucket(burst=_OPENINGS_AN_HOUR, per_second=_OPENINGS_AN_HOUR / 3_600)
        self._clients: dict[Connection, set[_Topic]] = {}
        self._streams: dict[_Topic, _Stream] = {}
        self._gathered: dict[_Topic, list[str]] = {}

    def opened(self, connection: Connection, request: web.Request) -> None:
        """Welcome the client, and subscribe it to what its address names; refuse the 41st connection of an hour."""
        now_us = self.clock.now_us()
        self._clients[connection] = set()
        if self._limited and not self._openings.take(now_us):
            error = f"Rate limit exceeded, retry in {self._openings.wait_s()} seconds."
            self._say(connection, {"error": error}, now_us)
            connection.close(1008, error)
            return
        welcome = {
            "info": "Welcome to the BitMEX Realtime API.",
            "version": "2021-07-14T01:26:29.000Z",
            "timestamp": iso_ms(now_us),
            "docs": "https://www.bitmex.com/app/wsAPI",
            "limit": {"remaining": self._openings.left},
        }
        self._say(connection, welcome, now_us)
        named = [name for name in request.query.get("subscribe", "").split(",") if name]
        if named:
            self._change(connection, {"op": "subscribe", "args": named}, named, now_us)

    def left(self, connection: Connection) -> None:
        """Forget a client and what it listened to."""
        for topic in self._clients.pop(connection):
            self._drop(topic, connection)

    def heard(self, connection: Connection, now_us: int) -> None:
        """Nothing is counted: neither messages nor silence."""

    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer `subscribe`, `unsubscribe` and the bare text `ping`."""
        if text == "ping":
            self.send(connection, Frame("pong", "pong"), now_us)
            return
        request = _object(text)
        args = request.get("args")
        names = args if isinstance(args, list) else [args]
        if request.get("op") in ("subscribe", "unsubscribe"):
            self._change(connection, request, names, now_us)
        else:
            self._refuse(connection, request, "Unrecognized request. See the documentation for supported ops.", now_us)

    def _change(self, connection: Connection, request: dict[str, Any], names: list[Any], now_us: int) -> None:
        """Acknowledge or refuse each topic by itself; the first messages of tables follow the acknowledgements."""
        subscribing = request["op"] == "subscribe"
        change = self._subscribe if subscribing else self._unsubscribe
        done: list[_Topic] = []
        for name in names:
            try:
                topic = self._topic(name)
                change(connection, topic, now_us)
            except _Refused as refused:
                self._refuse(connection, request, str(refused), now_us)
            else:
                done.append(topic)
                self._say(connection, {"success": True, request["op"]: name, "request": request}, now_us, topic)
        for topic in done if subscribing else ():
            text = partial_frame(topic.table, self._id(topic), self._newest(topic, now_us))
            self.send(connection, Frame(text, topic.table, topic.symbol), now_us)

    def _topic(self, name: Any) -> _Topic:
        table, _, symbol = name.partition(":") if isinstance(name, str) else (str(name), "", "")
        if table not in _TABLES:
            raise _Refused(f"Unknown table: {table}")
        tape = self._listings.find(symbol)
        if tape is None:
            raise _Refused(f"Unknown or expired symbol: {symbol}")
        return _Topic(table, tape.spec.symbol)

    def _subscribe(self, connection: Connection, topic: _Topic, now_us: int) -> None:
        if topic in self._clients[connection]:
            raise _Refused(f"You are already subscribed to this topic: {topic.table}:{self._id(topic)}")
        timeframe = _TABLES[topic.table]
        if timeframe is None:
            self.follow(topic.symbol, now_us)
            self.flush(now_us)
        stream = self._streams.get(topic)
        if stream is None:
            stream = self._streams[topic] = _Stream()
            if timeframe is not None:
                self._await_roll(topic, stream, timeframe, timeframe.floor(now_us))
        stream.listeners[connection] = None
        self._clients[connection].add(topic)
        self.counters.subscriptions += 1

    def _unsubscribe(self, connection: Connection, topic: _Topic, now_us: int) -> None:
        if topic not in self._clients[connection]:
            raise _Refused(f"You are not subscribed to this topic: {topic.table}:{self._id(topic)}")
        self._clients[connection].remove(topic)
        self._drop(topic, connection)

    def _drop(self, topic: _Topic, connection: Connection) -> None:
        if _TABLES[topic.table] is None:
            self.unfollow(topic.symbol)
        stream = self._streams[topic]
        del stream.listeners[connection]
        if not stream.listeners:
            del self._streams[topic]

    def _newest(self, topic: _Topic, now_us: int) -> list[str]:
        """Return the last row of a table: the last trade, or the bucket closed last."""
        tape, timeframe = self.tapes[topic.symbol], _TABLES[topic.table]
        if timeframe is None:
            stop = tape.position(now_us)
            return _trades(tape, stop - 1, stop)
        open_us = timeframe.floor(now_us) - timeframe.length_us
        return _bucket(tape, open_us, timeframe) if open_us >= timeframe.floor(tape.listed_at_us) else []

    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send new trades."""
        entries = _trades(feed.tape, feed.position - len(rows.price), feed.position)
        self._send(_Topic("trade", feed.symbol), entries, now_us)

    def _await_roll(self, topic: _Topic, stream: _Stream, timeframe: Timeframe, open_us: int) -> None:
        self.schedule.at(timeframe.next(open_us), partial(self._roll, topic, stream, timeframe, open_us))

    def _roll(self, topic: _Topic, stream: _Stream, timeframe: Timeframe, open_us: int, now_us: int) -> None:
        """Send the bucket that has just ended, quiet or not, and wait for the end of the next."""
        if self._streams.get(topic) is stream:
            self._send(topic, _bucket(self.tapes[topic.symbol], open_us, timeframe), now_us)
            self._await_roll(topic, stream, timeframe, timeframe.next(open_us))

    def _send(self, topic: _Topic, entries: list[str], now_us: int) -> None:
        """Send new rows to whoever listens, or keep them for the end of the tick."""
        if self._mixed_frames:
            self._gathered.setdefault(topic, []).extend(entries)
            return
        frame = Frame(insert_frame(topic.table, entries), topic.table, topic.symbol)
        for connection in self._streams[topic].listeners:
            self.send(connection, frame, now_us)

    def flush(self, now_us: int) -> None:
        """Send the rows gathered for mixed frames, each client one message of each table."""
        wanted: dict[tuple[Connection, str], list[str]] = {}
        for topic, entries in self._gathered.items():
            stream = self._streams.get(topic)
            for connection in stream.listeners if stream else ():
                wanted.setdefault((connection, topic.table), []).extend(entries)
        self._gathered.clear()
        for (connection, table), entries in wanted.items():
            self.send(connection, Frame(insert_frame(table, entries), table), now_us)

    def _id(self, topic: _Topic) -> str:
        return instrument_id(self.tapes[topic.symbol].spec)

    def _refuse(self, connection: Connection, request: dict[str, Any], error: str, now_us: int) -> None:
        self._say(connection, {"status": 400, "error": error, "meta": {}, "request": request}, now_us)

    def _say(
        self, connection: Connection, message: dict[str, Any], now_us: int, topic: _Topic = _ABOUT_NOTHING
    ) -> None:
        text = json.dumps(message, separators=(",", ":"))
        self.send(connection, Frame(text, topic.table, topic.symbol), now_us)


def _trades(tape: Tape, start: int, stop: int) -> list[str]:
    before = max(0, start - DIRECTION_TRADES)
    return trade_entries(tape.spec, tape.read(before, stop), before=start - before)


def _bucket(tape: Tape, open_us: int, timeframe: Timeframe) -> list[str]:
    rows = tape.read(tape.position(open_us), tape.position(timeframe.next(open_us)))
    found = buckets(tape.spec, rows, timeframe)
    return bucket_entries(tape.spec, found, [open_us], timeframe, last_price=tape.last_price(open_us))


def _object(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
