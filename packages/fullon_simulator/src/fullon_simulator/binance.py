"""Binance spot as its clients see it: REST under /api/v3, market streams under /ws and /stream.

What was inferred and not read: a stream of an unknown symbol is acknowledged and stays silent, and the
wording of some refusals.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from fullon_simulator.binance_rest import BinanceRest
from fullon_simulator.binance_wire import (
    aggregate_events,
    klines,
    market_id,
    mini_ticker_event,
    ticker_event,
    trade_events,
)
from fullon_simulator.clock import SECOND_US, MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.limits import MessageWindow
from fullon_simulator.listings import Listings
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import BINANCE, Timeframe
from fullon_simulator.venue import Feed, Venue

_STREAMS_MAX = 1_024
_MESSAGES_PER_SECOND = 5
_PING_US = 20 * SECOND_US
_PONG_TIMEOUT_S = 60.0
_KLINE_US = 2 * SECOND_US
_TICKER_US = SECOND_US
"""How long what keeps changing waits between two updates; a kline of a second waits one."""
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_SOCKET_PATHS = ("/ws", "/ws/{streams:.*}", "/stream", "/stream/ws/{streams:.*}")

_STREAM = re.compile(r"(?P<name>[a-z0-9]+)@(?P<kind>trade|aggTrade|ticker|miniTicker|kline_(?P<interval>\w+))")


class _Refused(Exception):
    """A request that cannot be answered, in Binance's words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Stream:
    """One named stream and who listens to it: plain, or wrapped in the stream's name."""

    def __init__(self, name: str, kind: str, symbol: str) -> None:
        self.name = name
        self.kind = kind
        self.symbol = symbol
        self.listeners: dict[Connection, None] = {}


class _PacedStream(_Stream):
    """A stream that sums up: when it last told something, and whether it has more to tell."""

    def __init__(self, name: str, kind: str, symbol: str, pace_us: int) -> None:
        super().__init__(name, kind, symbol)
        self.pace_us = pace_us
        self.told_us = 0
        self.waiting = False


class _KlineStream(_PacedStream):
    def __init__(self, name: str, symbol: str, interval: str) -> None:
        self.interval = interval
        self.timeframe: Timeframe = BINANCE[interval]
        super().__init__(name, "kline", symbol, SECOND_US if interval == "1s" else _KLINE_US)


class _Client:
    """What one connection has asked for."""

    def __init__(self, *, combined: bool) -> None:
        self.combined = combined
        self.streams: dict[str, None] = {}
        self.messages = MessageWindow(_MESSAGES_PER_SECOND)


class Binance(Venue):
    """One Binance."""

    name = "binance"

    def __init__(self, tapes: Mapping[str, Tape], clock: MarketClock, *, limited: bool = True) -> None:
        listings = Listings(tapes, clock, lambda spec: (market_id(spec.symbol),))
        super().__init__(tapes, clock, BinanceRest(listings, clock, limited=limited), socket_paths=_SOCKET_PATHS)
        self._limited = limited
        self._listings = listings
        self._clients: dict[Connection, _Client] = {}
        self._streams: dict[str, _Stream] = {}
        self._symbol_streams: dict[str, dict[str, _Stream]] = {}

    def opened(self, connection: Connection, request: web.Request) -> None:
        """Subscribe to the streams named in the address and promise pings."""
        now_us = self.clock.now_us()
        client = self._clients[connection] = _Client(combined=request.path.startswith("/stream"))
        named = request.query.get("streams") or request.match_info.get("streams", "")
        for name in named.split("/"):
            if _STREAM.fullmatch(name):
                self._subscribe(connection, client, name, now_us)
        self.schedule.at(now_us + _PING_US, partial(self._ping, connection))

    def left(self, connection: Connection) -> None:
        """Forget a client and its streams."""
        for name in self._clients.pop(connection).streams:
            self._drop(connection, name)

    def heard(self, connection: Connection, now_us: int) -> None:
        """Count a message; a client that sends more than five a second is cut."""
        if self._limited and not self._clients[connection].messages.take(now_us):
            connection.close(1008, "Too many requests")

    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY and GET_PROPERTY."""
        number = None
        try:
            request = _parsed(text)
            number = request.get("id")
            _check_request(request)
            answer = {"result": self._do(connection, self._clients[connection], request, now_us), "id": number}
        except _Refused as refused:
            answer = {"error": {"code": refused.code, "msg": str(refused)}, "id": number}
        self.send(connection, Frame(json.dumps(answer, separators=(",", ":"))), now_us)

    def _do(self, connection: Connection, client: _Client, request: dict[str, Any], now_us: int) -> Any:
        match request["method"], request["params"]:
            case "LIST_SUBSCRIPTIONS", _:
                return list(client.streams)
            case "GET_PROPERTY", ["combined"]:
                return client.combined
            case "SET_PROPERTY", ["combined", bool(combined)]:
                client.combined = combined
            case "SET_PROPERTY", ["combined", _]:
                raise _Refused(1, "Invalid value type: expected Boolean")
            case (("SET_PROPERTY" | "GET_PROPERTY"), _):
                raise _Refused(0, "Unknown property")
            case "SUBSCRIBE", names:
                _check_streams(names)
                if len(client.streams.keys() | set(names)) > _STREAMS_MAX:
                    raise _Refused(2, f"Invalid request: more than {_STREAMS_MAX} streams in one connection")
                for name in names:
                    self._subscribe(connection, client, name, now_us)
            case "UNSUBSCRIBE", names:
                _check_streams(names)
                for name in client.streams.keys() & set(names):
                    del client.streams[name]
                    self._drop(connection, name)
        return None

    def _subscribe(self, connection: Connection, client: _Client, name: str, now_us: int) -> None:
        if name in client.streams:
            return
        client.streams[name] = None
        self.counters.subscriptions += 1
        match = _STREAM.fullmatch(name)
        tape = self._listings.find(match["name"].upper()) if match else None
        if match is None or tape is None:
            return
        symbol = tape.spec.symbol
        self.follow(symbol, now_us)
        stream = self._streams.get(name)
        if stream is None:
            stream = _new_stream(match, symbol)
            self._streams[name] = self._symbol_streams.setdefault(symbol, {})[name] = stream
            if isinstance(stream, _KlineStream):
                open_us = stream.timeframe.floor(now_us)
                self.schedule.at(stream.timeframe.next(open_us), partial(self._close_kline, stream, open_us))
        stream.listeners[connection] = None

    def _drop(self, connection: Connection, name: str) -> None:
        stream = self._streams.get(name)
        if stream is None or connection not in stream.listeners:
            return
        self.unfollow(stream.symbol)
        del stream.listeners[connection]
        if not stream.listeners:
            del self._streams[name]
            del self._symbol_streams[stream.symbol][name]

    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send new trades and aggregates, and let klines and tickers follow at their pace."""
        start, stop = feed.aggregate_position, feed.tape.aggregate_position(now_us)
        feed.aggregate_position = stop
        for stream in self._symbol_streams.get(feed.symbol, {}).values():
            if stream.kind == "trade":
                self._broadcast(stream, trade_events(feed.tape.spec, rows, now_us // 1000), now_us)
            elif stream.kind == "aggTrade":
                aggregates = feed.tape.read_aggregates(start, stop)
                self._broadcast(stream, aggregate_events(feed.tape.spec, aggregates, now_us // 1000), now_us)
            elif isinstance(stream, _PacedStream) and not stream.waiting:
                stream.waiting = True
                self.schedule.at(max(now_us, stream.told_us + stream.pace_us), partial(self._tell, stream))

    def _tell(self, stream: _PacedStream, now_us: int) -> None:
        """Send the ticker, or the running kline if anything was traded in it."""
        stream.waiting = False
        if self._streams.get(stream.name) is not stream:
            return
        stream.told_us = now_us
        if not isinstance(stream, _KlineStream):
            self._broadcast(stream, [self._ticker(stream, now_us)], now_us)
            return
        open_us = stream.timeframe.floor(now_us)
        if self.tapes[stream.symbol].position(now_us) > self.tapes[stream.symbol].position(open_us):
            self._send_kline(stream, open_us, now_us, closed=False)

    def _ticker(self, stream: _Stream, now_us: int) -> str:
        tape = self.tapes[stream.symbol]
        day, position = tape.past_day(now_us), tape.position(now_us)
        if stream.kind == "miniTicker":
            return mini_ticker_event(tape.spec, day, now_us // 1000)
        return ticker_event(tape.spec, day, tape.read(position - 1, position), now_us // 1000)

    def _close_kline(self, stream: _KlineStream, open_us: int, now_us: int) -> None:
        """Send the kline that has just ended as closed, quiet or not, and wait for the next one's end."""
        if self._streams.get(stream.name) is not stream:
            return
        self._send_kline(stream, open_us, now_us, closed=True)
        open_us = stream.timeframe.next(open_us)
        self.schedule.at(stream.timeframe.next(open_us), partial(self._close_kline, stream, open_us))

    def _send_kline(self, stream: _KlineStream, open_us: int, now_us: int, *, closed: bool) -> None:
        tape, timeframe = self.tapes[stream.symbol], stream.timeframe
        end_us = timeframe.next(open_us) if closed else now_us
        if not tape.position(end_us):
            return
        candles = tape.fold(open_us, end_us, timeframe)
        (kline,) = klines(tape.spec, candles, [open_us], tape.last_price(open_us))
        text = kline.event(stream.symbol, stream.interval, timeframe, now_us // 1000, closed=closed)
        self._broadcast(stream, [text], now_us)

    def _broadcast(self, stream: _Stream, payloads: list[str], now_us: int) -> None:
        """Send every payload to every listener, encoded once plain and once wrapped."""
        for payload in payloads:
            plain = Frame(payload, stream.kind, stream.symbol)
            wrapped = Frame(f'{{"stream":"{stream.name}","data":{payload}}}', stream.kind, stream.symbol)
            for connection in stream.listeners:
                combined = self._clients[connection].combined
                self.send(connection, wrapped if combined else plain, now_us)

    def flush(self, now_us: int) -> None:
        """Nothing is gathered: every trade is a frame of its own."""

    def _ping(self, connection: Connection, now_us: int) -> None:
        """Ping a client every 20 s; one that has been silent for a minute of real time is cut."""
        if connection not in self.connections:
            return
        if connection.silent_s() > _PONG_TIMEOUT_S:
            connection.close(1008, "Pong timeout")
            return
        self.ping(connection)
        self.schedule.at(now_us + _PING_US, partial(self._ping, connection))


def _new_stream(match: re.Match[str], symbol: str) -> _Stream:
    if match["interval"]:
        return _KlineStream(match[0], symbol, match["interval"])
    if match["kind"] in ("ticker", "miniTicker"):
        return _PacedStream(match[0], match["kind"], symbol, _TICKER_US)
    return _Stream(match[0], match["kind"], symbol)


def _parsed(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError:
        raise _Refused(3, "Invalid JSON: expected value at line 1 column 1") from None
    return request if isinstance(request, dict) else {}


def _check_request(request: dict[str, Any]) -> None:
    """Refuse a request whose method is not known or whose params, if any, are no list."""
    if "method" not in request:
        raise _Refused(2, "Invalid request: missing field `method` at line 1 column 1")
    request.setdefault("params", [])
    if request["method"] not in _METHODS:
        expected = ", ".join(f"`{method}`" for method in _METHODS)
        raise _Refused(2, f"Invalid request: unknown variant `{request['method']}`, expected one of {expected}")
    if not isinstance(request["params"], list):
        raise _Refused(2, "Invalid request: params must be a list")


def _check_streams(names: list[Any]) -> None:
    """Refuse a list that names anything but streams of known kinds and intervals."""
    for name in names:
        match = _STREAM.fullmatch(name) if isinstance(name, str) else None
        if match is None or (match["interval"] is not None and match["interval"] not in BINANCE):
            raise _Refused(2, "Invalid request: invalid stream")
