"""Plain clients of all four venues, which know nothing of the simulator but its addresses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import aiohttp
import pytest

from fullon_simulator import Episode, SimulatedMarket, SymbolSpec, Tape
from fullon_simulator.columns import Block
from fullon_simulator.conventions import CONVENTIONS
from fullon_simulator.generator import GeneratedHistory

NOON_US = 1_767_268_800_000_000
MINUTE_US = 60_000_000
SPEED = 120
"""A minute takes half a second."""
PATIENCE_S = 10.0


class Row(NamedTuple):
    """A trade or candle as a client reads it; what it cannot read stays as it came."""

    symbol: str
    raw: Any


class Venue:
    """How a plain client talks to one venue: its first symbol is busy, its second too."""

    name: str
    symbols: tuple[str, str]
    path: str

    def subscribe(self, channel: str, symbols: tuple[str, ...]) -> list[Any]:
        raise NotImplementedError

    def rows(self, message: Any) -> list[tuple[str, Row]]:
        """Return (channel, row) of a message of data."""
        raise NotImplementedError

    def is_ack(self, message: Any) -> bool:
        raise NotImplementedError

    def is_refusal(self, message: Any) -> bool:
        raise NotImplementedError

    def ask(self, channel: str, symbol: str, since_us: int | None = None, limit: int = 500) -> dict[str, Any]:
        """Return the request for a page as arguments of aiohttp."""
        raise NotImplementedError

    def page(self, body: Any) -> list[Any]:
        return body  # type: ignore[no-any-return]

    def time_us(self, row: Any) -> int:
        raise NotImplementedError

    def values(self, row: Any) -> tuple[float, ...]:
        """Return price and volume of a trade, or open, high, low, close and volume of a candle."""
        raise NotImplementedError

    def trade_id(self, row: Any) -> str:
        raise NotImplementedError

    def status_of(self, listings: Any, symbol: str) -> Any:
        """Return what a list of markets says of one; None where it is not there."""
        raise NotImplementedError


def _iso_us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


class Kraken(Venue):
    name, symbols, path = "kraken", ("BTC/USD", "ETH/USD"), "/v2"

    def subscribe(self, channel: str, symbols: tuple[str, ...]) -> list[Any]:
        name = {"trades": "trade", "candles": "ohlc"}[channel]
        params = {"channel": name, "symbol": list(symbols), "snapshot": False}
        return [{"method": "subscribe", "params": params, "req_id": 1}]

    def rows(self, message: Any) -> list[tuple[str, Row]]:
        channel = {"trade": "trades", "ohlc": "candles"}.get(message.get("channel"))
        return [(channel, Row(row["symbol"], row)) for row in message["data"]] if channel else []

    def is_ack(self, message: Any) -> bool:
        return message.get("method") == "subscribe" and message["success"] is True

    def is_refusal(self, message: Any) -> bool:
        return message.get("method") == "subscribe" and message["success"] is False

    def ask(self, channel: str, symbol: str, since_us: int | None = None, limit: int = 500) -> dict[str, Any]:
        pair = {"BTC/USD": "XBTUSD", "ETH/USD": "ETHUSD"}[symbol]
        if channel == "listings":
            return {"url": "/0/public/AssetPairs"}
        method = "Trades" if channel == "trades" else "OHLC"
        params = {"pair": pair} | ({"count": limit} if channel == "trades" else {"interval": 1})
        if since_us is not None:
            params["since"] = since_us * 1000 - 1 if channel == "trades" else since_us // 1_000_000 - 1
        return {"url": f"/0/public/{method}", "params": params}

    def page(self, body: Any) -> list[Any]:
        assert body["error"] == [], body
        (rows,) = (rows for name, rows in body["result"].items() if name != "last")
        return rows  # type: ignore[no-any-return]

    def time_us(self, row: Any) -> int:
        if isinstance(row, dict):
            return _iso_us(row["interval_begin"] if "interval_begin" in row else row["timestamp"])
        return round(float(row[2] if len(row) == 7 else row[0]) * 1e6)

    def values(self, row: Any) -> tuple[float, ...]:
        if isinstance(row, dict):
            names = ("open", "high", "low", "close", "volume") if "open" in row else ("price", "qty")
            return tuple(float(row[name]) for name in names)
        return tuple(float(row[at]) for at in ((0, 1) if len(row) == 7 else (1, 2, 3, 4, 6)))

    def trade_id(self, row: Any) -> str:
        return str(row["trade_id"] if isinstance(row, dict) else row[6])

    def status_of(self, listings: Any, symbol: str) -> Any:
        found = [
            pair["status"] for pair in listings["result"].values() if pair["wsname"].replace("XBT", "BTC") == symbol
        ]
        return found[0] if found else None


class Binance(Venue):
    name, symbols, path = "binance", ("BTC/USDT", "ETH/USDT"), "/ws"

    def subscribe(self, channel: str, symbols: tuple[str, ...]) -> list[Any]:
        kind = {"trades": "trade", "candles": "kline_1m"}[channel]
        return [
            {
                "method": "SUBSCRIBE",
                "params": [f"{symbol.replace('/', '').lower()}@{kind}" for symbol in symbols],
                "id": 1,
            }
        ]

    def rows(self, message: Any) -> list[tuple[str, Row]]:
        if message.get("e") == "trade":
            return [("trades", Row(self._symbol(message["s"]), message))]
        return [("candles", Row(self._symbol(message["s"]), message["k"]))] if message.get("e") == "kline" else []

    def _symbol(self, name: str) -> str:
        return f"{name[:-4]}/USDT"

    def is_ack(self, message: Any) -> bool:
        return "result" in message and message["result"] is None

    def is_refusal(self, message: Any) -> bool:
        return "error" in message

    def ask(self, channel: str, symbol: str, since_us: int | None = None, limit: int = 500) -> dict[str, Any]:
        if channel == "listings":
            return {"url": "/api/v3/exchangeInfo"}
        name = "aggTrades" if channel == "trades" else "klines"
        params: dict[str, Any] = {"symbol": symbol.replace("/", ""), "limit": limit}
        params |= {"interval": "1m"} if channel == "candles" else {}
        params |= {"startTime": since_us // 1000} if since_us is not None else {}
        return {"url": f"/api/v3/{name}", "params": params}

    def time_us(self, row: Any) -> int:
        if isinstance(row, list):
            return int(row[0]) * 1000
        return int(row["t" if "k" in row or "i" in row else "T"]) * 1000

    def values(self, row: Any) -> tuple[float, ...]:
        if isinstance(row, list):
            return tuple(float(each) for each in row[1:6])
        return tuple(float(row[name]) for name in (("o", "h", "l", "c", "v") if "i" in row else ("p", "q")))

    def trade_id(self, row: Any) -> str:
        return str(row["t"] if "t" in row else row["a"])

    def status_of(self, listings: Any, symbol: str) -> Any:
        found = [each["status"] for each in listings["symbols"] if each["symbol"] == symbol.replace("/", "")]
        return found[0] if found else None


class Hyperliquid(Venue):
    name, symbols, path = "hyperliquid", ("BTC/USDC:USDC", "ETH/USDC:USDC"), "/ws"

    def subscribe(self, channel: str, symbols: tuple[str, ...]) -> list[Any]:
        more = {"trades": {"type": "trades"}, "candles": {"type": "candle", "interval": "1m"}}[channel]
        coins = [symbol.partition("/")[0] for symbol in symbols]
        return [{"method": "subscribe", "subscription": {**more, "coin": coin}} for coin in coins]

    def rows(self, message: Any) -> list[tuple[str, Row]]:
        if message["channel"] == "trades":
            return [("trades", Row(f"{row['coin']}/USDC:USDC", row)) for row in message["data"]]
        if message["channel"] == "candle":
            return [("candles", Row(f"{message['data']['s']}/USDC:USDC", message["data"]))]
        return []

    def is_ack(self, message: Any) -> bool:
        return bool(message["channel"] == "subscriptionResponse")

    def is_refusal(self, message: Any) -> bool:
        return bool(message["channel"] == "error")

    def ask(self, channel: str, symbol: str, since_us: int | None = None, limit: int = 500) -> dict[str, Any]:
        coin = symbol.partition("/")[0]
        if channel == "listings":
            return {"method": "POST", "url": "/info", "json": {"type": "meta"}}
        if channel == "trades":
            return {"method": "POST", "url": "/info", "json": {"type": "recentTrades", "coin": coin}}
        wanted = {
            "coin": coin,
            "interval": "1m",
            "startTime": (since_us or NOON_US - 60 * MINUTE_US) // 1000,
            "endTime": 2 * 10**12,
        }
        return {"method": "POST", "url": "/info", "json": {"type": "candleSnapshot", "req": wanted}}

    def time_us(self, row: Any) -> int:
        return int(row["t"] if "t" in row else row["time"]) * 1000

    def values(self, row: Any) -> tuple[float, ...]:
        return tuple(float(row[name]) for name in (("o", "h", "l", "c", "v") if "o" in row else ("px", "sz")))

    def trade_id(self, row: Any) -> str:
        return str(row["tid"])

    def status_of(self, listings: Any, symbol: str) -> Any:
        coin = symbol.partition("/")[0]
        found = [each.get("isDelisted", False) for each in listings["universe"] if each["name"] == coin]
        return found[0] if found else None


class Bitmex(Venue):
    name, symbols, path = "bitmex", ("BTC/USD:BTC", "ETH/USDT:USDT"), "/realtime"
    _IDS: ClassVar[dict[str, str]] = {"BTC/USD:BTC": "XBTUSD", "ETH/USDT:USDT": "ETHUSDT"}

    def subscribe(self, channel: str, symbols: tuple[str, ...]) -> list[Any]:
        table = {"trades": "trade", "candles": "tradeBin1m"}[channel]
        return [{"op": "subscribe", "args": [f"{table}:{self._IDS[symbol]}" for symbol in symbols]}]

    def rows(self, message: Any) -> list[tuple[str, Row]]:
        if message.get("action") != "insert":
            return []
        channel = "trades" if message["table"] == "trade" else "candles"
        names = {name: symbol for symbol, name in self._IDS.items()}
        return [(channel, Row(names[row["symbol"]], row)) for row in message["data"]]

    def is_ack(self, message: Any) -> bool:
        return message.get("success") is True

    def is_refusal(self, message: Any) -> bool:
        return "error" in message

    def ask(self, channel: str, symbol: str, since_us: int | None = None, limit: int = 500) -> dict[str, Any]:
        if channel == "listings":
            return {"url": "/api/v1/instrument/active"}
        params: dict[str, Any] = {"symbol": self._IDS[symbol], "count": limit}
        if since_us is not None:
            second = (since_us + (MINUTE_US if channel == "candles" else 0)) // 1_000_000
            params["startTime"] = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.000Z"
        else:
            params["reverse"] = "true"
        if channel == "candles":
            return {"url": "/api/v1/trade/bucketed", "params": {**params, "binSize": "1m", "partial": "true"}}
        return {"url": "/api/v1/trade", "params": params}

    def time_us(self, row: Any) -> int:
        return _iso_us(row["timestamp"]) - (MINUTE_US if "open" in row else 0)

    def values(self, row: Any) -> tuple[float, ...]:
        names = ("open", "high", "low", "close", "volume") if "open" in row else ("price", "size")
        return tuple(float(row[name]) for name in names)

    def trade_id(self, row: Any) -> str:
        return str(row["trdMatchID"])

    def status_of(self, listings: Any, symbol: str) -> Any:
        found = [each["state"] for each in listings if each["symbol"] == self._IDS[symbol]]
        return found[0] if found else None


VENUES: dict[str, Venue] = {venue.name: venue for venue in (Kraken(), Binance(), Hyperliquid(), Bitmex())}
every_venue = pytest.mark.parametrize("name", list(VENUES))
rows_or_single = pytest.mark.parametrize("name", ["kraken", "binance"])
"""A venue that puts many rows into a frame, and one that never does: enough for faults that know no venue."""


class Remembered(GeneratedHistory):
    """A history whose days are made once for all tests of a process."""

    @lru_cache(maxsize=64)  # noqa: B019 - there are eight of them, for as long as the tests run
    def block(self, day: int) -> Block:
        return super().block(day)


@lru_cache
def _history(name: str, spec: SymbolSpec) -> Remembered:
    return Remembered(7, name, spec, time_step_us=CONVENTIONS[name].time_step_us)


def tapes(name: str) -> list[SymbolSpec | Tape]:
    first, second = VENUES[name].symbols
    step = 100 if name == "bitmex" else 1
    specs = [
        SymbolSpec(first, 100_000, price=100_000, price_decimals=1, volume_step=step),
        SymbolSpec(second, 60_000, price=3_500, price_decimals=2, volume_step=step),
    ]
    return [Tape(7, name, spec, history=_history(name, spec)) for spec in specs]


class Client:
    """A plain client of one venue."""

    def __init__(self, market: SimulatedMarket, name: str, http: aiohttp.ClientSession) -> None:
        self.market = market
        self.venue = VENUES[name]
        self.first, self.second = self.venue.symbols
        self._http = http
        self._origin = market.origin(name)

    def begin(self, kind: str, *, for_s: float | None = None, **arguments: Any) -> Episode:
        return self.market.faults.begin(kind, venue=self.venue.name, for_s=for_s, **arguments)

    def connect(self) -> Any:
        return self._http.ws_connect(self._origin + self.venue.path, autoping=False, max_msg_size=0)

    async def subscribe(self, socket: Any, channel: str, *symbols: str) -> None:
        for order in self.venue.subscribe(channel, symbols):
            await socket.send_json(order)

    async def text(self, socket: Any) -> str:
        """Return the next text message."""
        while True:
            message = await socket.receive(timeout=PATIENCE_S)
            if message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data)
            if message.type not in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                pytest.fail(f"the socket ended: {message}")

    async def message(self, socket: Any, wanted: Callable[[Any], Any]) -> Any:
        """Return the first message that is wanted."""
        while True:
            text = await self.text(socket)
            body = {} if text == "pong" else json.loads(text)
            if wanted(body):
                return body

    async def stream(self, socket: Any, channel: str, count: int, symbol: str | None = None) -> list[Row]:
        """Return the next rows of a channel."""
        found: list[Row] = []
        while len(found) < count:
            text = await self.text(socket)
            if text != "pong":
                found += [row for each, row in self.venue.rows(json.loads(text)) if each == channel]
                found = [row for row in found if symbol in (None, row.symbol)]
        return found

    async def after(self, socket: Any, symbol: str, since_us: int) -> set[str]:
        """Read until a trade of `symbol` is newer than `since_us`; return the symbols of all that were."""
        newer: set[str] = set()
        while symbol not in newer:
            rows = await self.stream(socket, "trades", 1)
            newer |= {row.symbol for row in rows if self.venue.time_us(row.raw) > since_us}
        return newer

    async def silence(self, socket: Any, seconds: float = 0.5) -> None:
        """Fail if any data comes within so many seconds."""
        give_up = time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            try:
                message = await socket.receive(timeout=left)
            except TimeoutError:
                return
            if message.type is aiohttp.WSMsgType.TEXT and message.data != "pong":
                assert not self.venue.rows(json.loads(message.data)), message.data

    def ask(self, channel: str, symbol: str | None = None, since_us: int | None = None, limit: int = 500) -> Any:
        request = {"method": "GET"} | self.venue.ask(channel, symbol or self.first, since_us, limit)
        return self._http.request(request.pop("method"), self._origin + request.pop("url"), **request)

    async def page(self, channel: str, symbol: str | None = None, since_us: int | None = None, limit: int = 500) -> Any:
        """Return the rows of a page, None rows and all."""
        async with self.ask(channel, symbol, since_us, limit) as answer:
            assert answer.status == 200
            return self.venue.page(json.loads(await answer.text()))

    async def is_well(self) -> None:
        """Assert that a new client gets what is true: candles over REST, trades on a new socket."""
        truth = self.market.truth(self.venue.name, self.first)
        since_us = NOON_US - 30 * MINUTE_US
        candles = {candle.timestamp_us: candle for candle in truth.candles(since_us, NOON_US)}
        rows = await self.page("candles", since_us=since_us)
        read = {self.venue.time_us(row): self.venue.values(row) for row in rows}
        assert {time_us: read.get(time_us) for time_us in candles} == {
            time_us: (each.open, each.high, each.low, each.close, each.volume) for time_us, each in candles.items()
        }
        async with self.connect() as socket:
            await self.subscribe(socket, "trades", self.first)
            for row in (await self.stream(socket, "trades", 12))[-2:]:
                time_us = self.venue.time_us(row.raw)
                trades = {each.trade_id: each for each in truth.trades(time_us, time_us + 1000)}
                trade = trades[self.venue.trade_id(row.raw)]
                assert self.venue.values(row.raw) == (trade.price, trade.volume)


Clients = Callable[[str], Client]


async def ended(socket: Any) -> int | None:
    """Read a socket to its end and return the code it was closed with."""
    while (await socket.receive(timeout=PATIENCE_S)).type not in (
        aiohttp.WSMsgType.CLOSE,
        aiohttp.WSMsgType.CLOSED,
        aiohttp.WSMsgType.CLOSING,
        aiohttp.WSMsgType.ERROR,
    ):
        pass
    return socket.close_code  # type: ignore[no-any-return]


async def dead(socket: Any) -> None:
    """Fail unless nothing comes for a while, what is still on its way aside."""
    give_up = time.monotonic() + 2
    while time.monotonic() < give_up:
        try:
            message = await socket.receive(timeout=0.3)
        except TimeoutError:
            return
        assert message.type is aiohttp.WSMsgType.TEXT
    pytest.fail("something is still sent")


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait until a condition holds."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        held = condition()
        if await held if isinstance(held, Awaitable) else held:
            return
        assert time.monotonic() < give_up, what
        await asyncio.sleep(0.02)


async def texts(one: Client, socket: Any, seconds: float) -> AsyncIterator[str]:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        yield await one.text(socket)
