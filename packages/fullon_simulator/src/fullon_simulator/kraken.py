"""Kraken spot as its clients see it: REST under /0/public and WebSocket v2 under /v2.

What was inferred and not read: the rate of incoming messages and the ten candles of an ohlc snapshot.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from fullon_simulator.clock import SECOND_US, MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.kraken_rest import KrakenRest
from fullon_simulator.kraken_wire import ohlc_events, pair_altname, pair_id, pair_wsname, ticker_events, trade_events
from fullon_simulator.limits import TokenBucket
from fullon_simulator.listings import Listings
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import KRAKEN
from fullon_simulator.venue import Feed, Venue
from fullon_simulator.wire import iso_ns, iso_us

_TRADES_SNAPSHOT = 50
_OHLC_SNAPSHOT = 10
_MESSAGES_BURST = 20
_MESSAGES_PER_SECOND = 10.0
_HEARTBEAT_US = SECOND_US


class _Channel(NamedTuple):
    channel: str
    symbol: str
    interval: int = 0


_ABOUT_NOTHING = _Channel("", "")
_MIXED_TRADES = _Channel("trade", "")


class _Client:
    """What one connection has asked for."""

    def __init__(self) -> None:
        self.channels: set[_Channel] = set()
        self.messages = TokenBucket(burst=_MESSAGES_BURST, per_second=_MESSAGES_PER_SECOND)


class Kraken(Venue):
    """One Kraken. With `mixed_frames` a trade message carries all symbols of a tick, else only one symbol."""

    name = "kraken"

    def __init__(
        self, tapes: Mapping[str, Tape], clock: MarketClock, *, limited: bool = True, mixed_frames: bool = False
    ) -> None:
        listings = Listings(tapes, clock, lambda spec: (pair_id(spec), pair_altname(spec), pair_wsname(spec)))
        super().__init__(tapes, clock, KrakenRest(listings, clock, limited=limited), socket_paths=("/v2",))
        self._limited = limited
        self._mixed_frames = mixed_frames
        self._symbols = Listings(tapes, clock, lambda spec: (spec.symbol,))
        self._clients: dict[Connection, _Client] = {}
        self._listeners: dict[_Channel, dict[Connection, None]] = {}
        self._gathered: dict[str, list[str]] = {}

    def opened(self, connection: Connection, request: web.Request) -> None:
        """Send the status and promise heartbeats."""
        now_us = self.clock.now_us()
        self._clients[connection] = _Client()
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": id(connection)}
        self._say(connection, {"channel": "status", "type": "update", "data": [status]}, now_us)
        self.schedule.at(now_us + _HEARTBEAT_US, partial(self._beat, connection))

    def left(self, connection: Connection) -> None:
        """Forget a client and what it listened to."""
        for channel in self._clients.pop(connection).channels:
            self._drop(channel, connection)

    def heard(self, connection: Connection, now_us: int) -> None:
        """Nothing is counted: only requests are limited."""

    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer `subscribe`, `unsubscribe` and `ping`."""
        request = _object(text)
        method = request.get("method")
        if self._limited and not self._clients[connection].messages.take(now_us):
            self._refuse(connection, request, "Exceeded msg rate", now_us)
        elif method == "ping":
            self._say(connection, _echo(request, "pong", now_us), now_us)
        elif method in ("subscribe", "unsubscribe"):
            self._change(connection, request, now_us)
        else:
            error = f"Method {method} is not supported" if method else "Malformed request"
            self._refuse(connection, request, error, now_us)

    def _change(self, connection: Connection, request: dict[str, Any], now_us: int) -> None:
        """Acknowledge or refuse each symbol of a request by itself."""
        params = request.get("params")
        params = params if isinstance(params, dict) else {}
        name, symbols, interval = params.get("channel"), params.get("symbol"), params.get("interval", 1)
        if name not in ("trade", "ohlc", "ticker"):
            self._refuse(connection, request, f"Channel {name} is not supported", now_us)
        elif not isinstance(symbols, list) or not symbols:
            self._refuse(connection, request, "Symbol(s) not provided", now_us)
        elif name == "ohlc" and (not isinstance(interval, int) or interval not in KRAKEN):
            self._refuse(connection, request, f"Interval {interval} is not supported", now_us)
        else:
            change = self._subscribe if request["method"] == "subscribe" else self._unsubscribe
            for symbol in symbols:
                if self._symbols.find(symbol) is None:
                    error = f"Currency pair not supported {symbol}"
                    self._refuse(connection, request, error, now_us, symbol=symbol)
                else:
                    change(connection, request, _Channel(name, symbol, interval if name == "ohlc" else 0), now_us)

    def _subscribe(self, connection: Connection, request: dict[str, Any], channel: _Channel, now_us: int) -> None:
        """Acknowledge, send the snapshot if one is wanted, and all that happens after it from then on."""
        channels = self._clients[connection].channels
        if channel in channels:
            self._refuse(connection, request, "Already subscribed", now_us, symbol=channel.symbol)
            return
        feed = self.follow(channel.symbol, now_us)
        self.flush(now_us)
        channels.add(channel)
        self._listeners.setdefault(channel, {})[connection] = None
        self.counters.subscriptions += 1
        snapshot = request["params"].get("snapshot", channel.channel != "trade") is True
        self._acknowledge(connection, request, channel, {"snapshot": snapshot}, now_us)
        # An empty snapshot is not sent: what the real one does on a market that never traded is not known.
        if snapshot and (entries := self._snapshot(feed, channel, now_us)):
            self.send(connection, _frame(channel, "snapshot", entries, now_us), now_us)

    def _snapshot(self, feed: Feed, channel: _Channel, now_us: int) -> list[str]:
        spec = feed.tape.spec
        if channel.channel == "trade":
            return trade_events(spec, feed.tape.read(max(0, feed.position - _TRADES_SNAPSHOT), feed.position))
        if channel.channel == "ticker":
            return self._ticker(feed, now_us)
        timeframe = KRAKEN[channel.interval]
        from_us = timeframe.back(timeframe.floor(now_us), _OHLC_SNAPSHOT - 1)
        return ohlc_events(spec, feed.tape.fold(from_us, now_us, timeframe), timeframe, channel.interval)

    def _ticker(self, feed: Feed, now_us: int) -> list[str]:
        last = feed.tape.read(max(0, feed.position - 1), feed.position)
        return ticker_events(feed.tape.spec, feed.tape.past_day(now_us), last)

    def _unsubscribe(self, connection: Connection, request: dict[str, Any], channel: _Channel, now_us: int) -> None:
        channels = self._clients[connection].channels
        if channel not in channels:
            self._refuse(connection, request, "Subscription Not Found", now_us, symbol=channel.symbol)
            return
        channels.remove(channel)
        self._drop(channel, connection)
        self._acknowledge(connection, request, channel, {}, now_us)

    def _drop(self, channel: _Channel, connection: Connection) -> None:
        self.unfollow(channel.symbol)
        del self._listeners[channel][connection]
        if not self._listeners[channel]:
            del self._listeners[channel]

    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send new trades, and the candles they touched, to whoever listens."""
        spec, trades = feed.tape.spec, _Channel("trade", feed.symbol)
        if trades in self._listeners:
            entries = trade_events(spec, rows)
            if self._mixed_frames:
                self._gathered.setdefault(feed.symbol, []).extend(entries)
            else:
                self._broadcast(trades, entries, now_us)
        ticker = _Channel("ticker", feed.symbol)
        if ticker in self._listeners:
            self._broadcast(ticker, self._ticker(feed, now_us), now_us)
        for minutes, timeframe in KRAKEN.items():
            candles = _Channel("ohlc", feed.symbol, minutes)
            if candles in self._listeners:
                touched = feed.tape.fold(timeframe.floor(int(rows.time_us[0])), now_us, timeframe)
                self._broadcast(candles, ohlc_events(spec, touched, timeframe, minutes), now_us)

    def _broadcast(self, channel: _Channel, entries: list[str], now_us: int) -> None:
        frame = _frame(channel, "update", entries, now_us)
        for connection in self._listeners[channel]:
            self.send(connection, frame, now_us)

    def flush(self, now_us: int) -> None:
        """Send the trades gathered for mixed frames, each client one message with its symbols."""
        wanted: dict[Connection, list[str]] = {}
        for symbol, entries in self._gathered.items():
            for connection in self._listeners.get(_Channel("trade", symbol), {}):
                wanted.setdefault(connection, []).extend(entries)
        self._gathered.clear()
        for connection, entries in wanted.items():
            self.send(connection, _frame(_MIXED_TRADES, "update", entries, now_us), now_us)

    def _beat(self, connection: Connection, now_us: int) -> None:
        """Send a heartbeat to a subscribed client that has heard nothing for a second."""
        if connection not in self.connections:
            return
        if now_us - connection.sent_us >= _HEARTBEAT_US and self._clients[connection].channels:
            self.send(connection, Frame('{"channel":"heartbeat"}', "heartbeat"), now_us)
        due_us = connection.sent_us + _HEARTBEAT_US
        self.schedule.at(due_us if due_us > now_us else now_us + _HEARTBEAT_US, partial(self._beat, connection))

    def _acknowledge(
        self, connection: Connection, request: dict[str, Any], channel: _Channel, more: dict[str, Any], now_us: int
    ) -> None:
        interval = {"interval": channel.interval} if channel.interval else {}
        result = {"channel": channel.channel, "symbol": channel.symbol, **interval, **more}
        answer = _echo(request, request["method"], now_us) | {"result": result, "success": True}
        self._say(connection, answer, now_us, channel)

    def _refuse(
        self, connection: Connection, request: dict[str, Any], error: str, now_us: int, *, symbol: object = None
    ) -> None:
        method = request.get("method")
        answer = _echo(request, method if isinstance(method, str) else "", now_us)
        answer |= {"error": error, "success": False}
        if symbol is not None:
            answer["symbol"] = symbol
        self._say(connection, answer, now_us)

    def _say(
        self, connection: Connection, message: dict[str, Any], now_us: int, about: _Channel = _ABOUT_NOTHING
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
