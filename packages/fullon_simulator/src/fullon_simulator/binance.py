"""Binance spot as its clients see it: REST under /api/v3, market streams under /ws and /stream.

What was inferred and not read: a stream of an unknown symbol is acknowledged and stays silent, and the wording of
some refusals.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from fullon_simulator.binance_wire import (
    aggregate_events,
    aggregate_rows,
    kline_event,
    kline_row,
    klines,
    market_id,
    symbol_entry,
    trade_events,
    trade_rows,
)
from fullon_simulator.clock import SECOND_US, MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.limits import MessageWindow, WeightBudget
from fullon_simulator.sockets import Connection, Frame
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import BINANCE, Timeframe
from fullon_simulator.venue import Feed, Handler, Venue

_WEIGHT_A_MINUTE = 6_000
_WEIGHTS = {
    "/api/v3/exchangeInfo": 20,
    "/api/v3/klines": 2,
    "/api/v3/aggTrades": 4,
    "/api/v3/trades": 25,
    "/api/v3/historicalTrades": 25,
}
_ROWS_MAX = 1_000
_ROWS_DEFAULT = 500
_STREAMS_MAX = 1_024
_MESSAGES_PER_SECOND = 5
_PING_US = 20 * SECOND_US
_PONG_TIMEOUT_S = 60.0
_KLINE_US = 2 * SECOND_US
"""How long a kline that keeps changing waits between two updates."""

_STREAM = re.compile(r"(?P<name>[a-z0-9]+)@(?P<kind>trade|aggTrade|kline_(?P<interval>\w+))")


_Query = Callable[[Mapping[str, str]], str]
"""A REST handler: from the query to the JSON text of the answer."""


class _Refused(Exception):  # noqa: N818
    """A request that cannot be answered, as Binance says it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}


class _Stream:
    """One named stream and who listens to it: plain, or wrapped in the stream's name."""

    def __init__(self, name: str, kind: str, symbol: str) -> None:
        self.name = name
        self.kind = kind
        self.symbol = symbol
        self.listeners: dict[Connection, None] = {}


class _KlineStream(_Stream):
    """A stream of klines: when it last told of the running one, and whether it has more to tell."""

    def __init__(self, name: str, symbol: str, interval: str) -> None:
        super().__init__(name, "kline", symbol)
        self.interval = interval
        self.timeframe: Timeframe = BINANCE[interval]
        self.told_us = 0
        self.waiting = False


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
        super().__init__(tapes, clock)
        self._limited = limited
        self._symbols = {market_id(symbol): symbol for symbol in tapes}
        self._weight = WeightBudget(_WEIGHT_A_MINUTE)
        self._clients: dict[Connection, _Client] = {}
        self._streams: dict[str, _Stream] = {}
        self._symbol_streams: dict[str, dict[str, _Stream]] = {}

    def routes(self) -> Mapping[str, Handler]:
        """Return the handlers of every public address."""
        answered = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/klines": self._klines,
            "/api/v3/aggTrades": self._agg_trades,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._historical_trades,
            "/fapi/v1/exchangeInfo": self._no_symbols,
            "/dapi/v1/exchangeInfo": self._no_symbols,
        }
        sockets = dict.fromkeys(
            ("/ws", "/ws/{rest:.*}", "/stream", "/stream/ws/{rest:.*}"), self.serve_socket
        )
        return {path: partial(self._answer, handler) for path, handler in answered.items()} | sockets

    # --- REST

    async def check(self, request: web.Request) -> web.StreamResponse | None:
        """Return 429, later 418, with `Retry-After`, once the weight of the minute is used up."""
        refusal = self._weight.take(_WEIGHTS.get(request.path, 1), self.clock.now_us())
        if refusal is None or not self._limited:
            return None
        body = {
            "code": -1003,
            "msg": "Too much request weight used; please use WebSocket Streams for live updates.",
        }
        headers = {"Retry-After": str(refusal.retry_after_s), **self._used()}
        return web.json_response(body, status=refusal.status, headers=headers)

    def _used(self) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT": str(self._weight.used), "X-MBX-USED-WEIGHT-1M": str(self._weight.used)}

    async def _answer(self, handler: _Query, request: web.Request) -> web.StreamResponse:
        try:
            return web.Response(
                text=handler(request.query), content_type="application/json", headers=self._used()
            )
        except _Refused as refused:
            return web.json_response(refused.body, status=400, headers=self._used())

    def _ping(self, query: Mapping[str, str]) -> str:
        return "{}"

    def _time(self, query: Mapping[str, str]) -> str:
        return json.dumps({"serverTime": self.clock.now_us() // 1000})

    def _exchange_info(self, query: Mapping[str, str]) -> str:
        now_us = self.clock.now_us()
        if "symbol" in query:
            tapes = [self._tape(query)]
        else:
            tapes = self.listed(now_us)
        limit = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": _WEIGHT_A_MINUTE,
        }
        info = {"timezone": "UTC", "serverTime": now_us // 1000, "rateLimits": [limit], "exchangeFilters": []}
        return json.dumps(info | {"symbols": [symbol_entry(tape.spec) for tape in tapes]})

    def _no_symbols(self, query: Mapping[str, str]) -> str:
        info = {
            "timezone": "UTC",
            "serverTime": self.clock.now_us() // 1000,
            "rateLimits": [],
            "exchangeFilters": [],
        }
        return json.dumps(info | {"symbols": []})

    def _klines(self, query: Mapping[str, str]) -> str:
        tape, interval = self._tape(query), _required(query, "interval")
        timeframe = BINANCE.get(interval)
        if timeframe is None:
            raise _Refused(-1120, "Invalid interval.")
        start_ms, end_ms, limit = _number(query, "startTime"), _number(query, "endTime"), _limit(query)
        now_us = self.clock.now_us()
        last_us = timeframe.floor(now_us if end_ms is None else min(end_ms * 1000, now_us))
        first_us = timeframe.floor(tape.spec.listed_at_us)
        if start_ms is None:
            first_us = max(first_us, timeframe.back(last_us, limit - 1))
        elif start_ms * 1000 > first_us:
            first_us = timeframe.floor(start_ms * 1000 - 1)
            first_us = timeframe.next(first_us)
        open_us = []
        while first_us <= last_us and len(open_us) < limit:
            open_us.append(first_us)
            first_us = timeframe.next(first_us)
        if not open_us:
            return "[]"
        found = klines(
            tape.spec,
            tape.fold(open_us[0], min(first_us, now_us), timeframe),
            open_us,
            _last_price(tape, open_us[0]),
        )
        return (
            f"[{','.join(kline_row(k, t, timeframe.next(t)) for k, t in zip(found, open_us, strict=True))}]"
        )

    def _agg_trades(self, query: Mapping[str, str]) -> str:
        tape, limit = self._tape(query), _limit(query)
        from_id, start_ms, end_ms = (_number(query, name) for name in ("fromId", "startTime", "endTime"))
        now_us = self.clock.now_us()
        stop = tape.aggregate_position(now_us)
        if from_id is not None:
            if start_ms is not None or end_ms is not None:
                raise _Refused(-1128, "Combination of optional parameters invalid.")
            start = max(0, from_id - 1)
        else:
            if end_ms is not None:
                stop = tape.aggregate_position(min((end_ms + 1) * 1000, now_us))
            start = max(0, stop - limit) if start_ms is None else tape.aggregate_position(start_ms * 1000)
        return f"[{aggregate_rows(tape.spec, tape.read_aggregates(start, min(start + limit, stop)))}]"

    def _trades(self, query: Mapping[str, str]) -> str:
        tape, limit = self._tape(query), _limit(query)
        stop = tape.position(self.clock.now_us())
        return f"[{trade_rows(tape.spec, tape.read(max(0, stop - limit), stop))}]"

    def _historical_trades(self, query: Mapping[str, str]) -> str:
        tape, limit, from_id = self._tape(query), _limit(query), _number(query, "fromId")
        stop = tape.position(self.clock.now_us())
        start = max(0, stop - limit) if from_id is None else tape.position_of_id(from_id)
        return f"[{trade_rows(tape.spec, tape.read(start, min(start + limit, stop)))}]"

    def _tape(self, query: Mapping[str, str]) -> Tape:
        tape = self.tapes.get(self._symbols.get(_required(query, "symbol"), ""))
        if tape is None or tape.spec.listed_at_us >= self.clock.now_us():
            raise _Refused(-1121, "Invalid symbol.")
        return tape

    # --- streams

    def opened(self, connection: Connection, request: web.Request) -> None:
        """Subscribe to the streams named in the address and promise pings."""
        now_us = self.clock.now_us()
        client = self._clients[connection] = _Client(combined=request.path == "/stream")
        named = request.query.get("streams", "") if client.combined else request.match_info.get("rest", "")
        for name in named.split("/"):
            if _STREAM.fullmatch(name):
                self._subscribe(connection, client, name, now_us)
        self.schedule.at(now_us + _PING_US, partial(self._ping_client, connection))

    def left(self, connection: Connection) -> None:
        """Forget a client and its streams."""
        client = self._clients.pop(connection, None)
        for name in client.streams if client else ():
            self._drop(connection, name)

    def heard(self, connection: Connection, now_us: int) -> None:
        """Count a message; a client that sends more than five a second is cut."""
        client = self._clients.get(connection)
        if self._limited and client is not None and not client.messages.take(now_us):
            connection.close(1008, "Too many requests")

    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY and GET_PROPERTY."""
        client = self._clients[connection]
        try:
            request = json.loads(text)
        except ValueError:
            self._fail(connection, None, 3, f"Invalid JSON: {text[:60]}", now_us)
            return
        number = request.get("id") if isinstance(request, dict) else None
        try:
            result = self._do(connection, client, request, now_us)
        except _Refused as refused:
            self._fail(connection, number, refused.body["code"], refused.body["msg"], now_us)
        else:
            self.send(connection, Frame(_dump({"result": result, "id": number})), now_us)

    def _do(self, connection: Connection, client: _Client, request: Any, now_us: int) -> Any:
        if not isinstance(request, dict) or not isinstance(method := request.get("method"), str):
            raise _Refused(2, "Invalid request: request must be an object with a method")
        params = request.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return list(client.streams)
        if method == "GET_PROPERTY" and params == ["combined"]:
            return client.combined
        if method == "SET_PROPERTY" and isinstance(params, list) and params[:1] == ["combined"]:
            client.combined = params[1:] == [True]
            return None
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            raise _Refused(2, f"Invalid request: unknown method {method}")
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise _Refused(2, "Invalid request: params must be a list of streams")
        for name in params:
            match = _STREAM.fullmatch(name)
            if match is None or (match["interval"] is not None and match["interval"] not in BINANCE):
                raise _Refused(2, "Invalid request: invalid stream")
        if method == "UNSUBSCRIBE":
            for name in [name for name in params if name in client.streams]:
                del client.streams[name]
                self._drop(connection, name)
            return None
        if len(client.streams.keys() | set(params)) > _STREAMS_MAX:
            raise _Refused(2, f"Invalid request: more than {_STREAMS_MAX} streams in one connection")
        for name in params:
            self._subscribe(connection, client, name, now_us)
        return None

    def _fail(self, connection: Connection, number: Any, code: int, message: str, now_us: int) -> None:
        self.send(connection, Frame(_dump({"error": {"code": code, "msg": message}, "id": number})), now_us)

    def _subscribe(self, connection: Connection, client: _Client, name: str, now_us: int) -> None:
        if name in client.streams:
            return
        client.streams[name] = None
        self.counters.subscriptions += 1
        match = _STREAM.fullmatch(name)
        symbol = self._symbols.get(match["name"].upper()) if match else None
        if match is None or symbol is None:
            return
        self.follow(symbol, now_us)
        stream = self._streams.get(name)
        if stream is None:
            interval = match["interval"]
            stream = (
                _KlineStream(name, symbol, interval) if interval else _Stream(name, match["kind"], symbol)
            )
            self._streams[name] = self._symbol_streams.setdefault(symbol, {})[name] = stream
            if isinstance(stream, _KlineStream):
                open_us = stream.timeframe.floor(now_us)
                self.schedule.at(stream.timeframe.next(open_us), partial(self._close_kline, stream, open_us))
        stream.listeners[connection] = None

    def _drop(self, connection: Connection, name: str) -> None:
        stream = self._streams.get(name)
        if stream is None:
            return
        self.unfollow(stream.symbol)
        del stream.listeners[connection]
        if not stream.listeners:
            del self._streams[name]
            del self._symbol_streams[stream.symbol][name]

    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send new trades and aggregates, and let the klines they change follow soon."""
        start, stop = feed.aggregate_position, feed.tape.aggregate_position(now_us)
        feed.aggregate_position = stop
        for stream in self._symbol_streams.get(feed.symbol, {}).values():
            if stream.kind == "trade":
                self._broadcast(stream, trade_events(feed.tape.spec, rows, now_us // 1000), now_us)
            elif stream.kind == "aggTrade":
                aggregates = feed.tape.read_aggregates(start, stop)
                self._broadcast(stream, aggregate_events(feed.tape.spec, aggregates, now_us // 1000), now_us)
            elif isinstance(stream, _KlineStream) and not stream.waiting:
                stream.waiting = True
                self.schedule.at(max(now_us, stream.told_us + _KLINE_US), partial(self._tell_kline, stream))

    def _tell_kline(self, stream: _KlineStream, now_us: int) -> None:
        """Send the running kline if anything was traded in it."""
        stream.waiting = False
        if self._streams.get(stream.name) is not stream:
            return
        stream.told_us = now_us
        open_us = stream.timeframe.floor(now_us)
        if self.tapes[stream.symbol].position(now_us) > self.tapes[stream.symbol].position(open_us):
            self._send_kline(stream, open_us, now_us, closed=False)

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
        (kline,) = klines(tape.spec, candles, [open_us], _last_price(tape, open_us))
        text = kline_event(
            tape.spec, kline, stream.interval, timeframe, open_us, now_us // 1000, closed=closed
        )
        self._broadcast(stream, [text], now_us)

    def _broadcast(self, stream: _Stream, payloads: list[str], now_us: int) -> None:
        """Send every payload to every listener, encoded once plain and once wrapped."""
        for payload in payloads:
            plain = Frame(payload, stream.kind, stream.symbol)
            wrapped = Frame(f'{{"stream":"{stream.name}","data":{payload}}}', stream.kind, stream.symbol)
            for connection in stream.listeners:
                combined = self._clients[connection].combined
                self.send(connection, wrapped if combined else plain, now_us)

    def _ping_client(self, connection: Connection, now_us: int) -> None:
        """Ping a client every 20 s; one that has been silent for a minute of real time is cut."""
        if connection not in self.connections:
            return
        if connection.silent_s() > _PONG_TIMEOUT_S:
            connection.close(1008, "Pong timeout")
            return
        connection.ping()
        self.schedule.at(now_us + _PING_US, partial(self._ping_client, connection))


def _last_price(tape: Tape, time_us: int) -> int:
    """Return the price of the last trade before `time_us`, 0 where there is none."""
    position = tape.position(time_us)
    return int(tape.read(position - 1, position).price[0]) if position else 0


def _required(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise _Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return query[name]


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 16:
        raise _Refused(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        )
    return int(text)


def _limit(query: Mapping[str, str]) -> int:
    limit = _number(query, "limit")
    if limit == 0:
        raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit or _ROWS_DEFAULT, _ROWS_MAX)


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
