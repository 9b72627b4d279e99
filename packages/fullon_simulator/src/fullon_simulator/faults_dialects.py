"""The dialects of the four venues, by their names."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from aiohttp import web

from fullon_simulator.binance_wire import market_id
from fullon_simulator.bitmex_wire import BINS, instrument_id
from fullon_simulator.faults_dialect import About, Dialect, Order, Topic
from fullon_simulator.faults_message import Message, Shape, read, write
from fullon_simulator.hyperliquid_wire import INTERVALS, coins
from fullon_simulator.kraken_wire import pair_altname, pair_id, pair_wsname
from fullon_simulator.sockets import ASKED, Frame
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.timeframes import BINANCE, KRAKEN
from fullon_simulator.wire import iso_us

_RENAMED = "RENAMED"
_LONG_PRICES = ("open", "high", "low", "close")
_SHORT_PRICES = ("o", "h", "l", "c")


class KrakenDialect(Dialect):
    """Kraken: rows under `data`, an answer for each symbol, errors with HTTP 200."""

    channels: ClassVar[Mapping[str, str]] = {"trade": "trades", "ohlc": "candles", "ticker": "ticker"}
    data_prefix = '{"channel"'
    limit = "count"
    malformed = ('{"channel":"trade","type":"update","data":"none"}', '{"channel":"ohlc","type":"update","data":[{}]}')
    _SHAPES: ClassVar[Mapping[str, Shape]] = {
        "trade": Shape(("price",), "qty", ("timestamp",), "iso"),
        "ohlc": Shape(_LONG_PRICES, "volume", ("interval_begin", "timestamp"), "iso"),
        "Trades": Shape((0,), 1, (2,), "s"),
        "OHLC": Shape((1, 2, 3, 4), 6, (0,), "s"),
    }
    _PATHS: ClassVar[Mapping[str, str]] = {"Trades": "trades", "OHLC": "candles", "AssetPairs": "listings"}

    def names(self, spec: SymbolSpec) -> Sequence[str]:
        return spec.symbol, pair_id(spec), pair_altname(spec), pair_wsname(spec)

    def is_heartbeat(self, frame: Frame) -> bool:
        return frame.channel == "heartbeat" or frame.text.startswith('{"method":"pong"')

    def acknowledges(self, frame: Frame) -> bool:
        return frame.text.startswith('{"method":"subscribe"') and '"success":true' in frame.text

    def rows_of(self, body: Any) -> Message:
        name, rows = body["channel"], body["data"]
        timeframe = KRAKEN[int(rows[0]["interval"])] if name == "ohlc" else None
        return Message(body, rows, self._SHAPES[name], self.channels[name], lambda row: row["symbol"], timeframe)

    def order(self, text: str) -> Order | None:
        match _object(text):
            case {"method": "subscribe" | "unsubscribe" as method, "params": {"symbol": list(symbols), **params}}:
                channel = self.channels.get(str(params.get("channel")), "")
                interval = {"interval": params.get("interval", 1)} if channel == "candles" else {}
                wires = [{"channel": params.get("channel"), "symbol": [symbol], **interval} for symbol in symbols]
                topics = (
                    Topic(channel, self.symbols.get(str(symbol), ""), json.dumps(wire))
                    for symbol, wire in zip(symbols, wires, strict=True)
                )
                return Order(method == "subscribe", tuple(topics))
        return None

    def only(self, text: str, topics: Sequence[Topic]) -> str:
        request = json.loads(text)
        request["params"]["symbol"] = [json.loads(topic.wire)["symbol"][0] for topic in topics]
        return json.dumps(request)

    def refusals(self, text: str, topics: Sequence[Topic], now_us: int) -> list[str]:
        request, stamp = json.loads(text), iso_us(now_us)
        number = {"req_id": request["req_id"]} if "req_id" in request else {}
        return [
            _compact(
                {"method": "subscribe", **number, "time_in": stamp, "time_out": stamp}
                | {"error": f"Currency pair not supported {topic.symbol}", "success": False, "symbol": topic.symbol}
            )
            for topic in topics
        ]

    def unsubscription(self, topic: Topic) -> str:
        return json.dumps({"method": "unsubscribe", "params": json.loads(topic.wire)})

    async def about(self, request: web.Request) -> About:
        query = request.query
        channel = self._PATHS.get(request.path.rpartition("/")[2], "")
        symbol = self.symbols.get(query.get("pair", ""), "")
        return About(channel, symbol, query.get("interval", "1"), query.get("since", ""))

    def rows_answered(self, request: web.Request, about: About, body: Any) -> Message | None:
        method = request.path.rpartition("/")[2]
        if not isinstance(body.get("result"), dict):
            return None
        (rows,) = (rows for name, rows in body["result"].items() if name != "last")
        timeframe = KRAKEN.get(int(about.interval)) if method == "OHLC" else None
        return Message(body, rows, self._SHAPES[method], about.channel, lambda _: about.symbol, timeframe)

    async def newest(self, request: web.Request) -> web.Request:
        return self.without(request, "since")

    def refusal(self, reason: str) -> web.Response:
        errors = {"too_many_requests": "EGeneral:Too many requests", "too_old": "EGeneral:Invalid arguments:since"}
        return web.json_response({"error": [errors.get(reason, "EService:Unavailable")]})

    def mark(self, text: str, symbol: str, state: str) -> str:
        body = read(text)
        for name, pair in body.get("result", {}).items():
            if self.symbols.get(name) == symbol:
                pair["status"] = "limit_only" if state == "limited" else "cancel_only"
        return write(body)

    def listed(self, body: Any) -> list[tuple[str, Any]]:
        return list(body.get("result", {}).items())

    def put_listed(self, body: Any, found: Sequence[tuple[str, Any]]) -> None:
        if found:
            body["result"] = dict(found)

    def malformed_row(self, row: Any) -> Any:
        return row | {"wsname": None}

    def renamed_row(self, body: Any, row: Any) -> Any:
        return row | {"base": _RENAMED, "wsname": f"{_RENAMED}/{row['wsname'].partition('/')[2]}"}

    def namesake_row(self, body: Any, market_id: str, row: Any) -> tuple[str, Any]:
        return f"{market_id}2", row | {"altname": f"{row['altname']}2"}


class BinanceDialect(Dialect):
    """Binance: one record a frame, plain or wrapped; one answer for all streams of a request."""

    channels: ClassVar[Mapping[str, str]] = {
        "trade": "trades",
        "aggTrade": "trades",
        "kline": "candles",
        "ticker": "ticker",
        "miniTicker": "ticker",
    }
    limit = "limit"
    malformed = ('{"e":"trade","s":"BTCUSDT","t":"none"}', '{"stream":"btcusdt@kline_1m","data":{"e":"kline","k":[]}}')
    forgets_delisted = False
    refuses_all = True
    _TRADE: ClassVar[Shape] = Shape(("p",), "q", ("T",), "ms")
    _SHAPES: ClassVar[Mapping[str, Shape]] = {
        "kline": Shape(_SHORT_PRICES, "v", ("t", "T"), "ms"),
        "klines": Shape((1, 2, 3, 4), 5, (0, 6), "ms"),
        "aggTrades": _TRADE,
        "trades": Shape(("price",), "qty", ("time",), "ms"),
        "historicalTrades": Shape(("price",), "qty", ("time",), "ms"),
    }
    _PATHS: ClassVar[Mapping[str, str]] = {
        "klines": "candles",
        "aggTrades": "trades",
        "trades": "trades",
        "historicalTrades": "trades",
        "exchangeInfo": "listings",
    }

    def names(self, spec: SymbolSpec) -> Sequence[str]:
        return (market_id(spec.symbol),)

    def acknowledges(self, frame: Frame) -> bool:
        return frame.text.startswith('{"result":null')

    def rows_of(self, body: Any) -> Message:
        payload = body.get("data", body)
        if payload["e"] == "kline":
            row, shape, timeframe = payload["k"], self._SHAPES["kline"], BINANCE[payload["k"]["i"]]
        else:
            row, shape, timeframe = payload, self._TRADE, None
        channel = self.channels[payload["e"]]
        return Message(body, [row], shape, channel, self._symbol, timeframe, single=True)

    def order(self, text: str) -> Order | None:
        match _object(text):
            case {"method": "SUBSCRIBE" | "UNSUBSCRIBE" as method, "params": list(names)}:
                return Order(method == "SUBSCRIBE", tuple(map(self._topic, map(str, names))))
        return None

    def _topic(self, name: str) -> Topic:
        market, _, kind = name.partition("@")
        return Topic(self.channels.get(kind.partition("_")[0], ""), self.symbols.get(market.upper(), ""), name)

    def only(self, text: str, topics: Sequence[Topic]) -> str:
        return json.dumps(json.loads(text) | {"params": [topic.wire for topic in topics]})

    def refusals(self, text: str, topics: Sequence[Topic], now_us: int) -> list[str]:
        error = {"code": 2, "msg": "Invalid request: invalid stream"}
        return [_compact({"error": error, "id": json.loads(text).get("id")})]

    def unsubscription(self, topic: Topic) -> str:
        return json.dumps({"method": "UNSUBSCRIBE", "params": [topic.wire], "id": 0})

    async def about(self, request: web.Request) -> About:
        query = request.query
        return About(
            self._PATHS.get(request.path.rpartition("/")[2], ""),
            self.symbols.get(query.get("symbol", ""), ""),
            query.get("interval", ""),
            query.get("fromId", query.get("startTime", "")),
        )

    def rows_answered(self, request: web.Request, about: About, body: Any) -> Message | None:
        shape, timeframe = self._SHAPES[request.path.rpartition("/")[2]], BINANCE.get(about.interval)
        if not isinstance(body, list):
            return None
        return Message(body, body, shape, about.channel, lambda _: about.symbol, timeframe)

    async def newest(self, request: web.Request) -> web.Request:
        return self.without(request, "startTime", "endTime", "fromId")

    def refusal(self, reason: str) -> web.Response:
        if reason == "too_many_requests":
            body = {"code": -1003, "msg": "Too much request weight used; please use the websocket for live updates."}
            return web.json_response(body, status=429)
        if reason == "too_old":
            body = {"code": -1130, "msg": "Data sent for parameter 'startTime' is not valid."}
            return web.json_response(body, status=400)
        body = {"code": -1001, "msg": "Internal error; unable to process your request. Please try again."}
        return web.json_response(body, status=503)

    def mark(self, text: str, symbol: str, state: str) -> str:
        body = read(text)
        for market in body.get("symbols", ()):
            if self.symbols.get(market["symbol"]) == symbol:
                market["status"] = {"halted": "HALT", "limited": "TRADING"}.get(state, "BREAK")
        return write(body)

    def listed(self, body: Any) -> list[tuple[str, Any]]:
        return [(market["symbol"], market) for market in body.get("symbols", ())]

    def put_listed(self, body: Any, found: Sequence[tuple[str, Any]]) -> None:
        if found:
            body["symbols"] = [market for _, market in found]

    def malformed_row(self, row: Any) -> Any:
        return row | {"baseAsset": None}

    def renamed_row(self, body: Any, row: Any) -> Any:
        return row | {"baseAsset": _RENAMED}

    def namesake_row(self, body: Any, market_id: str, row: Any) -> tuple[str, Any]:
        return f"{market_id}2", row | {"symbol": f"{market_id}2"}

    def farewell(self, now_us: int) -> str:
        return _compact({"e": "serverShutdown", "E": now_us // 1000})

    def _symbol(self, row: Any) -> str:
        return self.symbols.get(row["s"], "")


class HyperliquidDialect(Dialect):
    """Hyperliquid: trades in lists, one candle a frame; every request is the body of a POST."""

    channels: ClassVar[Mapping[str, str]] = {"trades": "trades", "candle": "candles"}
    malformed = ('{"channel":"trades","data":{}}', '{"channel":"candle","data":[]}')
    forgets_delisted = False
    _TRADE: ClassVar[Shape] = Shape(("px",), "sz", ("time",), "ms")
    _CANDLE: ClassVar[Shape] = Shape(_SHORT_PRICES, "v", ("t", "T"), "ms")
    _TYPES: ClassVar[Mapping[str, str]] = {
        "candleSnapshot": "candles",
        "recentTrades": "trades",
        "meta": "listings",
        "metaAndAssetCtxs": "listings",
        "spotMeta": "listings",
        "spotMetaAndAssetCtxs": "listings",
    }
    _LAST_MS: ClassVar[int] = 10**13 - 1

    def __init__(self, specs: Sequence[SymbolSpec]) -> None:
        self._coins = coins(specs)
        super().__init__(specs)

    def names(self, spec: SymbolSpec) -> Sequence[str]:
        return (self._coins[spec.symbol],)

    def acknowledges(self, frame: Frame) -> bool:
        return frame.channel == "subscriptionResponse" and '"method":"subscribe"' in frame.text

    def rows_of(self, body: Any) -> Message:
        payload = body["data"]
        if body["channel"] == "candle":
            candle = INTERVALS[payload["i"]]
            return Message(body, [payload], self._CANDLE, "candles", self._symbol("s"), candle, single=True)
        return Message(body, payload, self._TRADE, "trades", self._symbol("coin"))

    def order(self, text: str) -> Order | None:
        match _object(text):
            case {"method": "subscribe" | "unsubscribe" as method, "subscription": {"coin": str(coin), **rest} as wire}:
                channel = self.channels.get(str(rest.get("type")), "")
                return Order(method == "subscribe", (Topic(channel, self.symbols.get(coin, ""), json.dumps(wire)),))
        return None

    def only(self, text: str, topics: Sequence[Topic]) -> str:
        return text

    def refusals(self, text: str, topics: Sequence[Topic], now_us: int) -> list[str]:
        return [
            _compact({"channel": "error", "data": f"Invalid subscription {_compact(json.loads(topic.wire))}"})
            for topic in topics
        ]

    def unsubscription(self, topic: Topic) -> str:
        return json.dumps({"method": "unsubscribe", "subscription": json.loads(topic.wire)})

    async def about(self, request: web.Request) -> About:
        body = _object(await _body(request))
        wanted = body.get("req", body)
        wanted = wanted if isinstance(wanted, dict) else {}
        return About(
            self._TYPES.get(str(body.get("type")), ""),
            self.symbols.get(str(wanted.get("coin")), ""),
            str(wanted.get("interval", "")),
            str(wanted.get("startTime", "")),
        )

    def rows_answered(self, request: web.Request, about: About, body: Any) -> Message | None:
        if not isinstance(body, list):
            return None
        shape = self._CANDLE if about.channel == "candles" else self._TRADE
        return Message(body, body, shape, about.channel, lambda _: about.symbol, INTERVALS.get(about.interval))

    async def newest(self, request: web.Request) -> web.Request:
        body = _object(await _body(request))
        if isinstance(body.get("req"), dict):
            body["req"] |= {"startTime": 0, "endTime": self._LAST_MS}
            request.match_info[ASKED] = json.dumps(body)
        return request

    def refusal(self, reason: str) -> web.Response:
        if reason == "too_old":
            return web.Response(text="startTime is too old", status=422)
        status = 429 if reason == "too_many_requests" else 500
        return web.Response(text="null", status=status, content_type="application/json")

    def mark(self, text: str, symbol: str, state: str) -> str:
        body = read(text)
        meta = body[0] if isinstance(body, list) else body
        for market in meta.get("universe", ()) if isinstance(meta, dict) else ():
            if self.symbols.get(market["name"]) == symbol and state == "delisted":
                market["isDelisted"] = True
        return write(body)

    def listed(self, body: Any) -> list[tuple[str, Any]]:
        return [(market["name"], market) for market in _meta(body).get("universe", ())]

    def put_listed(self, body: Any, found: Sequence[tuple[str, Any]]) -> None:
        if found:
            _meta(body)["universe"] = [market for _, market in found]

    def malformed_row(self, row: Any) -> Any:
        return row | {"name": None}

    def renamed_row(self, body: Any, row: Any) -> Any:
        if "tokens" in row:
            return self._with_token(body, row, _RENAMED)
        return row | {"name": f"{row['name']}{_RENAMED}"}  # a perpetual has no id but its name

    def namesake_row(self, body: Any, market_id: str, row: Any) -> tuple[str, Any]:
        if "tokens" not in row:
            return market_id, row
        return f"{market_id}2", self._with_token(body, row, None) | {"name": f"{market_id}2"}

    def _with_token(self, body: Any, row: Any, name: str | None) -> Any:
        """Return a spot market of another token, which has this name or that of the market's own."""
        tokens = _meta(body)["tokens"]
        base, quote = row["tokens"]
        (token,) = (one for one in tokens if one["index"] == base)
        other = token | {"index": max(one["index"] for one in tokens) + 1, "name": name or token["name"]}
        tokens.append(other)
        return row | {"tokens": [other["index"], quote]}

    def _symbol(self, key: str) -> Callable[[Any], str]:
        return lambda row: self.symbols.get(row[key], "")


class BitmexDialect(Dialect):
    """BitMEX: tables of rows, an answer for each topic, candles named by their end."""

    channels: ClassVar[Mapping[str, str]] = {"trade": "trades", **{f"tradeBin{name}": "candles" for name in BINS}}
    data_prefix = '{"table"'
    limit = "count"
    malformed = ('{"table":"trade","action":"insert","data":[null]}', '{"table":"tradeBin1m","action":"insert"}')
    _TRADE: ClassVar[Shape] = Shape(("price",), "size", ("timestamp",), "iso")
    _BUCKET: ClassVar[Shape] = Shape(_LONG_PRICES, "volume", ("timestamp",), "iso", ends=True)
    _PATHS: ClassVar[Mapping[str, str]] = {
        "/api/v1/trade": "trades",
        "/api/v1/trade/bucketed": "candles",
        "/api/v1/instrument/active": "listings",
    }

    def names(self, spec: SymbolSpec) -> Sequence[str]:
        return (instrument_id(spec),)

    def acknowledges(self, frame: Frame) -> bool:
        return frame.text.startswith('{"success":true,"subscribe"')

    def rows_of(self, body: Any) -> Message:
        return self._message(body, body["data"], self.channels[body["table"]], body["table"].removeprefix("tradeBin"))

    def _message(self, body: Any, rows: list[Any], channel: str, interval: str) -> Message:
        if channel == "trades":
            return Message(body, rows, self._TRADE, channel, self._symbol)
        return Message(body, rows, self._BUCKET, channel, self._symbol, BINS.get(interval))

    def order(self, text: str) -> Order | None:
        match _object(text):
            case {"op": "subscribe" | "unsubscribe" as method, "args": args}:
                names = args if isinstance(args, list) else [args]
                return Order(method == "subscribe", tuple(map(self._topic, map(str, names))))
        return None

    def _topic(self, name: str) -> Topic:
        table, _, market = name.partition(":")
        return Topic(self.channels.get(table, ""), self.symbols.get(market, ""), name)

    def only(self, text: str, topics: Sequence[Topic]) -> str:
        return json.dumps(json.loads(text) | {"args": [topic.wire for topic in topics]})

    def refusals(self, text: str, topics: Sequence[Topic], now_us: int) -> list[str]:
        request = json.loads(text)
        return [
            _compact({"status": 400, "error": f"Unknown or expired symbol: {market}", "meta": {}, "request": request})
            for market in (topic.wire.partition(":")[2] for topic in topics)
        ]

    def unsubscription(self, topic: Topic) -> str:
        return json.dumps({"op": "unsubscribe", "args": [topic.wire]})

    async def about(self, request: web.Request) -> About:
        query = request.query
        return About(
            self._PATHS.get(request.path, ""),
            self.symbols.get(query.get("symbol", ""), ""),
            query.get("binSize", "1m"),
            f"{query.get('startTime', '')} {query.get('start', '')}",
        )

    def rows_answered(self, request: web.Request, about: About, body: Any) -> Message | None:
        return self._message(body, body, about.channel, about.interval) if isinstance(body, list) else None

    async def newest(self, request: web.Request) -> web.Request:
        return self.without(request, "startTime", "endTime", "start", reverse="true")

    def turned(self, request: web.Request) -> bool:
        return request.query.get("reverse", "false").lower() != "true"

    def refusal(self, reason: str) -> web.Response:
        if reason == "too_many_requests":
            error = {"message": "Rate limit exceeded, retry in 1 seconds.", "name": "RateLimitError"}
            return web.json_response({"error": error}, status=429)
        if reason == "too_old":
            error = {"message": "startTime is too old", "name": "ValidationError"}
            return web.json_response({"error": error}, status=400)
        error = {"message": "The system is currently overloaded. Please try again later.", "name": "HTTPError"}
        return web.json_response({"error": error}, status=503)

    def mark(self, text: str, symbol: str, state: str) -> str:
        body = read(text)
        for market in body if isinstance(body, list) else ():
            if self.symbols.get(market["symbol"]) == symbol:
                market["state"] = {"delisted": "Settled", "limited": "Open"}.get(state, "Closed")
        return write(body)

    def listed(self, body: Any) -> list[tuple[str, Any]]:
        return [(market["symbol"], market) for market in body] if isinstance(body, list) else []

    def put_listed(self, body: Any, found: Sequence[tuple[str, Any]]) -> None:
        if found:
            body[:] = [market for _, market in found]

    def malformed_row(self, row: Any) -> Any:
        return row | {"symbol": None}

    def renamed_row(self, body: Any, row: Any) -> Any:
        return row | {"underlying": _RENAMED, "rootSymbol": _RENAMED}

    def namesake_row(self, body: Any, market_id: str, row: Any) -> tuple[str, Any]:
        return f"{market_id}2", row | {"symbol": f"{market_id}2"}

    def _symbol(self, row: Any) -> str:
        return self.symbols.get(row["symbol"], "") if isinstance(row, dict) else ""


DIALECTS: Mapping[str, Callable[[Sequence[SymbolSpec]], Dialect]] = {
    "kraken": KrakenDialect,
    "binance": BinanceDialect,
    "hyperliquid": HyperliquidDialect,
    "bitmex": BitmexDialect,
}


async def _body(request: web.Request) -> str:
    return request.match_info.get(ASKED) or await request.text()


def _meta(body: Any) -> dict[str, Any]:
    meta = body[0] if isinstance(body, list) and body else body
    return meta if isinstance(meta, dict) else {}


def _object(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _compact(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
