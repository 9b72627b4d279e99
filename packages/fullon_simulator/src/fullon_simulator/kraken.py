"""Kraken spot as its clients see it: REST under /0/public and WebSocket v2 under /v2.

What was inferred and not read: the burst of the REST limit, the rate of incoming WebSocket messages, and the ten
candles of an ohlc snapshot.
"""

import json
from collections.abc import Mapping
from email.utils import formatdate
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from fullon_simulator.clock import MINUTE_US, SECOND_US, MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.kraken_wire import (
    Pair,
    asset_entry,
    asset_id,
    cursors_ns,
    ohlc_events,
    ohlc_rows,
    position_after_ns,
    trade_events,
    trade_rows,
)
from fullon_simulator.limits import TokenBucket
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import KRAKEN
from fullon_simulator.venue import Feed, Handler, Venue
from fullon_simulator.wire import iso_ns, iso_us

_OHLC_ROWS_MAX = 720
_TRADES_MAX = 1000
_TRADES_SNAPSHOT = 50
_OHLC_SNAPSHOT = 10
_REST_BURST = 15
_REST_PER_SECOND = 1.0
_MESSAGES_BURST = 20
_MESSAGES_PER_SECOND = 10.0
_HEARTBEAT_US = SECOND_US
_SECONDS_DIGITS_MAX = 12
"""A cursor of so many digits or fewer is in seconds, a longer one in nanoseconds."""

_Listeners = dict[Connection, None]
"""A set that keeps the order of subscription."""


class _Channel(NamedTuple):
    channel: str
    symbol: str
    interval: int = 0


class Kraken(Venue):
    """One Kraken. With `mixed_frames` a trade message carries all symbols of a tick, else only one symbol."""

    name = "kraken"

    def __init__(
        self,
        tapes: Mapping[str, Tape],
        clock: MarketClock,
        *,
        limited: bool = True,
        mixed_frames: bool = False,
    ) -> None:
        super().__init__(tapes, clock)
        self._limited = limited
        self._mixed_frames = mixed_frames
        self._pairs = {symbol: Pair(tape.spec) for symbol, tape in tapes.items()}
        self._symbols = {
            name: symbol
            for symbol, pair in self._pairs.items()
            for name in (pair.wsname, pair.altname, pair.id)
        }
        self._rest = TokenBucket(burst=_REST_BURST, per_second=_REST_PER_SECOND)
        self._messages: dict[Connection, TokenBucket] = {}
        self._subscribed: dict[Connection, set[_Channel]] = {}
        self._channels: dict[_Channel, _Listeners] = {}
        self._gathered: dict[str, list[str]] = {}

    def routes(self) -> Mapping[str, Handler]:
        """Return the handlers of every public address."""
        return {
            "/0/public/Time": self._time,
            "/0/public/SystemStatus": self._system_status,
            "/0/public/Assets": self._assets,
            "/0/public/AssetPairs": self._asset_pairs,
            "/0/public/OHLC": self._ohlc,
            "/0/public/Trades": self._trades,
            "/0/public/{rest:.*}": self._unknown,
            "/v2": self.serve_socket,
        }

    # --- REST

    async def check(self, request: web.Request) -> web.StreamResponse | None:
        """Return `EGeneral:Too many requests`, with HTTP 200 as all errors, once the bucket is empty."""
        if self._limited and not self._rest.take(self.clock.now_us()):
            return _refuse("EGeneral:Too many requests")
        return None

    async def _time(self, request: web.Request) -> web.Response:
        second = self.clock.now_us() // SECOND_US
        return _answer({"unixtime": second, "rfc1123": formatdate(second, usegmt=True)})

    async def _system_status(self, request: web.Request) -> web.Response:
        return _answer({"status": "online", "timestamp": iso_us(self.clock.now_us())[:19] + "Z"})

    async def _assets(self, request: web.Request) -> web.Response:
        listed = self.listed(self.clock.now_us())
        assets = dict.fromkeys(asset for tape in listed for asset in (tape.spec.base, tape.spec.quote))
        return _answer({asset_id(asset): asset_entry(asset) for asset in assets})

    async def _asset_pairs(self, request: web.Request) -> web.Response:
        wanted = [name for name in request.query.get("pair", "").split(",") if name]
        if wanted:
            tapes = [self._tape_named(name) for name in wanted]
        else:
            tapes = [*self.listed(self.clock.now_us())]
        found = [self._pairs[tape.spec.symbol] for tape in tapes if tape is not None]
        if len(found) < len(wanted):
            return _refuse("EQuery:Unknown asset pair")
        return _answer({pair.id: pair.entry() for pair in found})

    async def _ohlc(self, request: web.Request) -> web.Response:
        tape = self._tape_named(request.query.get("pair", ""))
        if tape is None:
            return _refuse("EQuery:Unknown asset pair")
        interval, since = request.query.get("interval", "1"), request.query.get("since", "0")
        timeframe = KRAKEN.get(int(interval)) if interval.isdecimal() else None
        since_ns = _cursor_ns(since)
        if timeframe is None or since_ns is None:
            return _refuse("EGeneral:Invalid arguments")
        now_us = self.clock.now_us()
        running_us = timeframe.floor(now_us)
        first_us = max(
            timeframe.back(running_us, _OHLC_ROWS_MAX - 1), timeframe.floor(tape.spec.listed_at_us)
        )
        opens = range(first_us, running_us, timeframe.length_us)
        open_us = [*(time_us for time_us in opens if time_us * 1000 > since_ns), running_us]
        before = tape.position(open_us[0])
        close = int(tape.read(before - 1, before).price[0]) if before else 0
        rows = ohlc_rows(tape.spec, tape.fold(open_us[0], now_us, timeframe), timeframe, open_us, close)
        pair = self._pairs[tape.spec.symbol]
        last = (running_us - timeframe.length_us) // SECOND_US
        return _text(f'{{"error":[],"result":{{"{pair.id}":[{rows}],"last":{last}}}}}')

    async def _trades(self, request: web.Request) -> web.Response:
        tape = self._tape_named(request.query.get("pair", ""))
        if tape is None:
            return _refuse("EQuery:Unknown asset pair")
        count, since = request.query.get("count", str(_TRADES_MAX)), request.query.get("since")
        since_ns = _cursor_ns(since) if since is not None else -1
        if not count.isdecimal() or not 1 <= int(count) <= _TRADES_MAX or since_ns is None:
            return _refuse("EGeneral:Invalid arguments")
        now = tape.position(self.clock.now_us())
        start = max(0, now - int(count)) if since is None else position_after_ns(tape, since_ns)
        rows, cursors = cursors_ns(tape, start, min(start + int(count), now))
        last = cursors[-1] if cursors else max(since_ns, 0)
        pair = self._pairs[tape.spec.symbol]
        return _text(
            f'{{"error":[],"result":{{"{pair.id}":[{trade_rows(tape.spec, rows, cursors)}],"last":"{last}"}}}}'
        )

    async def _unknown(self, request: web.Request) -> web.Response:
        return _refuse("EGeneral:Unknown method")

    def _tape_named(self, name: str) -> Tape | None:
        tape = self.tapes.get(self._symbols.get(name, ""))
        return tape if tape is not None and tape.spec.listed_at_us < self.clock.now_us() else None

    # --- WebSocket v2

    def opened(self, connection: Connection, request: web.Request) -> None:
        """Send the status and promise heartbeats."""
        now_us = self.clock.now_us()
        self._messages[connection] = TokenBucket(burst=_MESSAGES_BURST, per_second=_MESSAGES_PER_SECOND)
        self._subscribed[connection] = set()
        status = {
            "version": "2.0.10",
            "system": "online",
            "api_version": "v2",
            "connection_id": id(connection),
        }
        self._say(connection, {"channel": "status", "type": "update", "data": [status]}, now_us)
        self.schedule.at(now_us + _HEARTBEAT_US, partial(self._beat, connection))

    def left(self, connection: Connection) -> None:
        """Forget a client and what it listened to."""
        self._messages.pop(connection, None)
        for channel in self._subscribed.pop(connection, set()):
            self._drop(channel, connection)

    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer `subscribe`, `unsubscribe` and `ping`."""
        request = _object(text)
        method = request.get("method")
        if self._limited and not self._messages[connection].take(now_us):
            self._refuse(connection, request, "Exceeded msg rate", now_us)
        elif method == "ping":
            self._say(connection, _echo(request, "pong", now_us), now_us)
        elif method in ("subscribe", "unsubscribe"):
            self._change(connection, request, now_us)
        else:
            self._refuse(
                connection,
                request,
                f"Method {method} is not supported" if method else "Malformed request",
                now_us,
            )

    def _change(self, connection: Connection, request: dict[str, Any], now_us: int) -> None:
        """Acknowledge or refuse each symbol of a request by itself; a new subscription's snapshot follows at once."""
        params = request.get("params")
        params = params if isinstance(params, dict) else {}
        name, symbols = params.get("channel"), params.get("symbol")
        interval = params.get("interval", 1) if name == "ohlc" else 0
        if name not in ("trade", "ohlc"):
            self._refuse(connection, request, f"Channel {name} is not supported", now_us)
        elif not isinstance(symbols, list) or not symbols:
            self._refuse(connection, request, "Symbol(s) not provided", now_us)
        elif name == "ohlc" and interval not in KRAKEN:
            self._refuse(connection, request, f"Interval {interval} is not supported", now_us)
        else:
            for symbol in symbols:
                tape = self.tapes.get(symbol) if isinstance(symbol, str) else None
                if tape is None or tape.spec.listed_at_us >= now_us:
                    self._refuse(
                        connection, request, f"Currency pair not supported {symbol}", now_us, symbol=symbol
                    )
                elif request["method"] == "subscribe":
                    self._subscribe(connection, request, _Channel(name, symbol, interval), now_us)
                else:
                    self._unsubscribe(connection, request, _Channel(name, symbol, interval), now_us)

    def _subscribe(
        self, connection: Connection, request: dict[str, Any], channel: _Channel, now_us: int
    ) -> None:
        if channel in self._subscribed[connection]:
            self._refuse(connection, request, "Already subscribed", now_us, symbol=channel.symbol)
            return
        feed = self.follow(channel.symbol, now_us)
        self.flush(now_us)
        self._subscribed[connection].add(channel)
        self._channels.setdefault(channel, {})[connection] = None
        self.counters.subscriptions += 1
        snapshot = request["params"].get("snapshot", channel.channel == "ohlc") is True
        result = {"channel": channel.channel, "symbol": channel.symbol, "snapshot": snapshot}
        if channel.interval:
            result["interval"] = channel.interval
        answer = _echo(request, "subscribe", now_us) | {"result": result, "success": True}
        self._say(connection, answer, now_us, channel)
        if snapshot and (entries := self._snapshot(feed, channel, now_us)):
            self.send(connection, _frame(channel, "snapshot", entries, now_us), now_us)

    def _snapshot(self, feed: Feed, channel: _Channel, now_us: int) -> list[str]:
        spec = feed.tape.spec
        if channel.channel == "trade":
            return trade_events(spec, feed.tape.read(max(0, feed.position - _TRADES_SNAPSHOT), feed.position))
        timeframe = KRAKEN[channel.interval]
        from_us = timeframe.back(timeframe.floor(now_us), _OHLC_SNAPSHOT - 1)
        return ohlc_events(spec, feed.tape.fold(from_us, now_us, timeframe), timeframe, channel.interval)

    def _unsubscribe(
        self, connection: Connection, request: dict[str, Any], channel: _Channel, now_us: int
    ) -> None:
        if channel not in self._subscribed[connection]:
            self._refuse(connection, request, "Subscription Not Found", now_us, symbol=channel.symbol)
            return
        self._subscribed[connection].remove(channel)
        self._drop(channel, connection)
        result = {"channel": channel.channel, "symbol": channel.symbol}
        answer = _echo(request, "unsubscribe", now_us) | {"result": result, "success": True}
        self._say(connection, answer, now_us, channel)

    def _drop(self, channel: _Channel, connection: Connection) -> None:
        self.unfollow(channel.symbol)
        listeners = self._channels[channel]
        del listeners[connection]
        if not listeners:
            del self._channels[channel]

    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send new trades, and the candles they touched, to whoever listens."""
        spec = feed.tape.spec
        if listeners := self._channels.get(_Channel("trade", feed.symbol)):
            entries = trade_events(spec, rows)
            if self._mixed_frames:
                self._gathered.setdefault(feed.symbol, []).extend(entries)
            else:
                frame = _frame(_Channel("trade", feed.symbol), "update", entries, now_us)
                for connection in listeners:
                    self.send(connection, frame, now_us)
        for minutes, timeframe in KRAKEN.items():
            channel = _Channel("ohlc", feed.symbol, minutes)
            if listeners := self._channels.get(channel):
                candles = feed.tape.fold(timeframe.floor(int(rows.time_us[0])), now_us, timeframe)
                frame = _frame(channel, "update", ohlc_events(spec, candles, timeframe, minutes), now_us)
                for connection in listeners:
                    self.send(connection, frame, now_us)

    def flush(self, now_us: int) -> None:
        """Send the trades gathered for mixed frames, each client one message with its symbols."""
        if not self._gathered:
            return
        wanted: dict[Connection, list[str]] = {}
        for symbol, entries in self._gathered.items():
            for connection in self._channels.get(_Channel("trade", symbol), {}):
                wanted.setdefault(connection, []).extend(entries)
        self._gathered.clear()
        for connection, entries in wanted.items():
            self.send(connection, _frame(_Channel("trade", ""), "update", entries, now_us), now_us)

    def _beat(self, connection: Connection, now_us: int) -> None:
        if connection not in self.connections:
            return
        if now_us - connection.sent_us >= _HEARTBEAT_US and self._subscribed[connection]:
            self.send(connection, Frame('{"channel":"heartbeat"}', "heartbeat"), now_us)
        due_us = connection.sent_us + _HEARTBEAT_US
        self.schedule.at(
            due_us if due_us > now_us else now_us + _HEARTBEAT_US, partial(self._beat, connection)
        )

    def _refuse(
        self,
        connection: Connection,
        request: dict[str, Any],
        error: str,
        now_us: int,
        *,
        symbol: object = None,
    ) -> None:
        method = request.get("method")
        answer = _echo(request, method if isinstance(method, str) else "", now_us) | {
            "error": error,
            "success": False,
        }
        if symbol is not None:
            answer["symbol"] = symbol
        self._say(connection, answer, now_us)

    def _say(
        self, connection: Connection, message: dict[str, Any], now_us: int, about: _Channel = _Channel("", "")
    ) -> None:
        text = json.dumps(message, separators=(",", ":"))
        self.send(connection, Frame(text, about.channel, about.symbol), now_us)


def _frame(channel: _Channel, kind: str, entries: list[str], now_us: int) -> Frame:
    stamp = f'"timestamp":"{iso_ns(now_us)}",' if channel.channel == "ohlc" else ""
    text = f'{{"channel":"{channel.channel}","type":"{kind}",{stamp}"data":[{",".join(entries)}]}}'
    return Frame(text, channel.channel, channel.symbol)


def _echo(request: dict[str, Any], method: str, now_us: int) -> dict[str, Any]:
    """Begin an answer: the method, the request's number where it had one, and the times in and out."""
    number = {"req_id": request["req_id"]} if isinstance(request.get("req_id"), int) else {}
    stamp = iso_us(now_us)
    return {"method": method, **number, "time_in": stamp, "time_out": stamp}


def _object(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _cursor_ns(text: str) -> int | None:
    """Read `since`: seconds, with or without a fraction, or nanoseconds; None where it is no number."""
    whole, _, fraction = text.partition(".")
    if not whole.isdecimal() or (fraction and not fraction.isdecimal()):
        return None
    if len(whole) > _SECONDS_DIGITS_MAX:
        return int(whole)
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def _answer(result: dict[str, Any]) -> web.Response:
    return _text(json.dumps({"error": [], "result": result}, separators=(",", ":")))


def _refuse(error: str) -> web.Response:
    return _text(json.dumps({"error": [error]}))


def _text(body: str) -> web.Response:
    return web.Response(text=body, content_type="application/json")
