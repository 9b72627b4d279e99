"""Every kind of fault does on the wire what it says, seen by plain clients of all four venues; healing ends it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import aiohttp
import pytest

from fullon_simulator import KINDS, Episode, MarketClock, SimulatedMarket, SymbolSpec, Tape
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


def _tapes(name: str) -> list[SymbolSpec | Tape]:
    first, second = VENUES[name].symbols
    step = 100 if name == "bitmex" else 1
    specs = [
        SymbolSpec(first, 100_000, price=100_000, price_decimals=1, volume_step=step),
        SymbolSpec(second, 60_000, price=3_500, price_decimals=2, volume_step=step),
    ]
    return [Tape(7, name, spec, history=_history(name, spec)) for spec in specs]


@pytest.fixture
async def market() -> AsyncIterator[SimulatedMarket]:
    """Four venues with two busy symbols each; a minute takes half a second."""
    venues = {name: _tapes(name) for name in VENUES}
    clock = MarketClock.starting_at(NOON_US, speed=SPEED)
    async with SimulatedMarket(venues, clock=clock, rate_limits=False) as running:
        yield running


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


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, json_serialize=json.dumps) as session:
        yield session


@pytest.fixture
def client(market: SimulatedMarket, http: aiohttp.ClientSession) -> Callable[[str], Client]:
    return lambda name: Client(market, name, http)


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


# --- sockets


@rows_or_single
async def test_drop_ends_every_socket_at_once_and_new_ones_live(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as first, one.connect() as second:
        await until(lambda: len(one.market.venue(name).connections) == 2, "two sockets")
        episode = one.begin("drop")
        assert (await ended(first), await ended(second)) == (1006, 1006)
        assert (episode.struck, episode.active) == (2, False)
    await one.is_well()


async def test_drop_closes_with_a_code_and_again_and_again(client: Clients) -> None:
    one = client("binance")
    episode = one.begin("drop", code=1013, again_s=30.0, for_s=600.0)
    for _ in range(3):
        async with one.connect() as socket:
            assert await ended(socket) == 1013
    assert episode.struck == 3
    one.market.faults.heal(episode)
    await one.is_well()


@rows_or_single
async def test_accept_and_close_lets_nobody_stay(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("accept_and_close", code=1011)
    for _ in range(3):
        async with one.connect() as socket:
            assert await ended(socket) == 1011
    assert episode.struck == 3
    one.market.faults.heal(episode)
    await one.is_well()


async def test_refuse_sockets_answers_an_http_error(client: Clients) -> None:
    one = client("kraken")
    episode = one.begin("refuse_sockets", status=429, retry_after_s=7)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await one.connect()
    assert caught.value.status == 429
    assert caught.value.headers is not None
    assert caught.value.headers["Retry-After"] == "7"
    assert episode.struck == 1
    one.market.faults.heal()
    await one.is_well()


@rows_or_single
async def test_hang_is_dead_both_ways_though_the_socket_is_open(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1)
        episode = one.begin("hang")
        before = one.market.requests(name).subscriptions
        await one.subscribe(socket, "trades", one.second)
        await socket.ping()
        await dead(socket)
        assert episode.struck > 1
        assert one.market.requests(name).subscriptions == before
        one.market.faults.heal(episode)
        await one.stream(socket, "trades", 1)
    await one.is_well()


async def test_cut_at_age_says_farewell_and_cuts_the_old_and_not_the_young(client: Clients) -> None:
    one = client("binance")
    async with one.connect() as old:
        await until(lambda: len(one.market.venue("binance").connections) == 1, "connected")
        episode = one.begin("cut_at_age", age_s=60.0, notice_s=30.0)
        assert (await one.message(old, lambda body: body.get("e") == "serverShutdown"))["E"] > NOON_US // 1000
        async with one.connect() as young:
            assert await ended(old) == 1006
            assert episode.struck == 1
            assert not young.closed
            one.market.faults.heal(episode)
            await asyncio.sleep(0.6)  # its age limit
            await one.subscribe(young, "trades", one.first)
            await one.stream(young, "trades", 1)


# --- subscriptions


@every_venue
async def test_ignore_subscriptions_neither_acknowledges_nor_serves(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("ignore_subscriptions", symbol=one.first)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.message(socket, one.venue.is_ack)
        rows = await one.stream(socket, "trades", 20)
        assert {row.symbol for row in rows} == {one.second}
        assert episode.done == {one.first: 1}
        assert one.market.requests(name).subscriptions == 1
        one.market.faults.heal()
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1, one.first)


@every_venue
async def test_refuse_subscriptions_says_so_in_the_venues_words(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("refuse_subscriptions", symbol=one.first, times=1)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        refusal = await one.message(socket, one.venue.is_refusal)
        if name == "binance":  # one bad stream refuses the whole request
            assert refusal["id"] == 1
            await one.silence(socket, 0.3)
        else:
            assert {row.symbol for row in await one.stream(socket, "trades", 20)} == {one.second}
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1, one.first)


@every_venue
async def test_never_acknowledge_serves_without_a_word(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("never_acknowledge", channel="trades", symbol=one.first)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        text = ""
        while not text or not one.venue.rows(json.loads(text)):
            text = await one.text(socket)
            assert not one.venue.is_ack(json.loads(text))
        assert episode.done == {one.first: 1}
        await one.subscribe(socket, "candles", one.first)
        await one.message(socket, one.venue.is_ack)


@every_venue
async def test_lose_subscription_silences_one_until_it_is_asked_for_again(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("lose_subscription", symbol=one.first)
        assert episode.done == {one.first: 1}
        ack = len([1 async for text in _texts(one, socket, 0.3) if one.venue.is_ack(json.loads(text))])
        assert ack <= 2  # those of the beginning, and no answer to what nobody asked
        rows = await one.stream(socket, "trades", 20)
        assert {row.symbol for row in rows} == {one.second}
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1, one.first)


async def _texts(one: Client, socket: Any, seconds: float) -> AsyncIterator[str]:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        yield await one.text(socket)


# --- frames


@every_venue
async def test_stall_silences_one_symbol_while_others_and_rest_go_on(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("stall", symbol=one.first)
        await until(lambda: episode.struck > 3, "it has struck")
        assert await one.after(socket, one.second, one.market.clock.now_us()) == {one.second}
        assert list(episode.done) == [one.first]
        assert await one.page("trades", one.first)
        one.market.faults.heal()
        await one.stream(socket, "trades", 1, one.first)


async def test_stall_keeps_heartbeats_or_not(client: Clients) -> None:
    one = client("kraken")
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1)
        one.begin("stall")
        await one.message(socket, lambda body: body.get("channel") == "heartbeat")
        await socket.ping()
        while (await socket.receive(timeout=PATIENCE_S)).type is not aiohttp.WSMsgType.PONG:
            pass
        one.begin("stall", heartbeats=False)
        await socket.ping()
        await socket.send_json({"method": "ping", "req_id": 3})
        await dead(socket)
        one.market.faults.heal()
        await one.stream(socket, "trades", 1)


async def test_stall_finds_one_symbol_in_frames_of_several(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US, speed=SPEED)
    venues = {name: _tapes(name) for name in ("kraken", "bitmex")}
    async with SimulatedMarket(venues, clock=clock, rate_limits=False, mixed_frames=True) as market:
        for name in venues:
            one = Client(market, name, http)
            async with one.connect() as socket:
                one.begin("stall", symbol=one.first)
                await one.subscribe(socket, "trades", one.first, one.second)
                assert {row.symbol for row in await one.stream(socket, "trades", 30)} == {one.second}


@rows_or_single
async def test_late_delivers_in_order_after_the_delay(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("late", delay_s=20.0)
    since_us = one.market.clock.now_us()
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        rows = await one.stream(socket, "trades", 15)  # Hyperliquid begins with ten, the newest first
        assert one.market.clock.now_us() - since_us >= 20_000_000
        times = [one.venue.time_us(row.raw) for row in rows[-3:]]
        assert times == sorted(times)
        assert one.market.clock.now_us() - times[-1] >= 19_000_000
        one.market.faults.heal(episode)
        held = await one.stream(socket, "trades", 5)  # what was held comes at once
        assert len(held) >= 5


async def test_late_can_grow(client: Clients) -> None:
    one = client("binance")
    one.begin("late", delay_s=0.0, growth=1.0)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        lags = []
        for _ in range(60):
            (row,) = await one.stream(socket, "trades", 1)
            lags.append(one.market.clock.now_us() - one.venue.time_us(row.raw))
    assert lags[-1] > lags[0] + 5_000_000


@rows_or_single
async def test_repeat_sends_every_trade_more_than_once(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("repeat", copies=2)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        seen: Counter[str] = Counter()
        while 3 not in seen.values():
            seen.update(one.venue.trade_id(row.raw) for row in await one.stream(socket, "trades", 1))
        assert max(seen.values()) == 3
        assert episode.struck
        one.market.faults.heal()
    await one.is_well()


async def test_repeat_comes_later_and_over_rest(client: Clients) -> None:
    one = client("kraken")
    one.begin("repeat", later_s=15.0)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        seen: dict[str, int] = {}
        lag_us = 0
        while not lag_us:
            (row, *_) = await one.stream(socket, "trades", 1)
            again = seen.setdefault(one.venue.trade_id(row.raw), one.market.clock.now_us())
            lag_us = one.market.clock.now_us() - again if one.market.clock.now_us() - again > 1_000_000 else 0
    assert lag_us >= 14_000_000
    one.market.faults.heal()
    one.begin("repeat", where="rest", copies=1)
    ids = [one.venue.trade_id(row) for row in await one.page("trades", limit=10)]
    assert ids[::2] == ids[1::2]


@rows_or_single
async def test_reorder_mixes_and_loses_nothing(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("reorder", window=4, wait_s=60.0)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        rows = await one.stream(socket, "trades", 60)
        one.market.faults.heal()
        rows += await one.stream(socket, "trades", 40)
    times = [one.venue.time_us(row.raw) for row in rows[12:]]
    assert times != sorted(times)
    first_us, last_us = sorted(times)[8], sorted(times)[-1]
    truth = one.market.truth(name, one.first).trades(first_us, last_us)
    assert {trade.trade_id for trade in truth} <= {one.venue.trade_id(row.raw) for row in rows}


async def test_reorder_over_rest_mixes_the_rows_of_a_page(client: Clients) -> None:
    one = client("binance")
    one.begin("reorder", where="rest")
    ids = [int(one.venue.trade_id(row)) for row in await one.page("trades", limit=50)]
    assert ids != sorted(ids)
    assert sorted(ids) == list(range(min(ids), min(ids) + 50))


@rows_or_single
@pytest.mark.parametrize("kind", ["corrupt", "truncate"])
async def test_mangled_texts_are_no_json_and_neighbours_are_kept(client: Clients, name: str, kind: str) -> None:
    one = client(name)
    episode = one.begin(kind, channel="trades", share=0.3, where="both")
    whole = broken = 0
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        while not (whole > 5 and broken > 2):
            try:
                json.loads(await one.text(socket))
                whole += 1
            except ValueError:
                broken += 1
    assert episode.struck >= broken
    with pytest.raises(ValueError):  # noqa: PT012 - the first that is struck
        for _ in range(100):
            await one.page("trades")
    one.market.faults.heal()
    await one.is_well()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("prose", lambda message: not message.data.startswith("{")),
        ("empty", lambda message: message.data == ""),
        ("wrong_type", lambda message: json.loads(message.data) in (None, [], 42, "text", True, {}, [[]])),
        ("unknown_channel", lambda message: "unheard" in message.data),
        ("malformed", lambda message: json.loads(message.data)["channel"] in ("trade", "ohlc")),
        ("deep", lambda message: len(message.data) > 2_000),
        ("huge", lambda message: len(message.data) > 2**20),
        ("binary", lambda message: message.data == b"\xff\x80\x81"),
    ],
)
async def test_garbage_arrives_in_every_form(client: Clients, form: str, expected: Callable[[Any], bool]) -> None:
    one = client("kraken")
    async with one.connect() as socket:
        assert "status" in await one.text(socket)
        episode = one.begin("garbage", form=form)
        assert expected(await socket.receive(timeout=PATIENCE_S))
        await until(lambda: episode.struck > 3, "more of it")
    one.market.faults.heal()
    await one.is_well()


async def test_garbage_may_be_no_utf8(client: Clients) -> None:
    one = client("kraken")
    async with one.connect() as socket:
        await one.text(socket)
        one.begin("garbage", form="not_utf8")
        assert await ended(socket) in (1006, 1007)


# --- rows


@rows_or_single
async def test_omit_leaves_trades_out_that_rest_and_the_truth_have(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("omit", channel="trades", share=0.5)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        rows = (await one.stream(socket, "trades", 40))[12:]
    times = [one.venue.time_us(row.raw) for row in rows]
    truth = {trade.trade_id for trade in one.market.truth(name, one.first).trades(min(times), max(times))}
    missing = truth - {one.venue.trade_id(row.raw) for row in rows}
    assert 0.2 * len(truth) < len(missing) < 0.8 * len(truth)
    assert episode.struck >= len(missing)
    one.market.faults.heal()
    await one.is_well()


async def test_omit_can_strike_once_and_over_rest(client: Clients) -> None:
    one = client("binance")
    episode = one.begin("omit", channel="trades", where="rest", share=1.0, times=1)
    ids = [int(one.venue.trade_id(row)) for row in await one.page("trades", limit=20)]
    assert len(ids) == 19
    assert (episode.struck, episode.done) == (1, {one.first: 1})
    assert len(await one.page("trades", limit=20)) == 20


def _spoiled(one: Client, row: Any) -> str:
    """Say what is wrong with a row, as a plain client sees it."""
    prices = {
        "kraken": ("price", "open", "high", "low", "close", 0, 1, 2, 3, 4),
        "binance": ("p", "o", "h", "l", "c", 1, 2, 3, 4),
    }[one.venue.name]
    items = row.items() if isinstance(row, dict) else enumerate(row)
    price = [value for key, value in items if key in prices]
    texts = [str(value) for value in price]
    try:
        time_us, values = one.venue.time_us(row), one.venue.values(row)
    except (KeyError, IndexError):
        return "missing"
    except (TypeError, ValueError):
        if None in price:
            return "null"
        return "word" if "cheap" in texts else "wrong_unit"
    if any(value != value for value in values):
        return "nan"
    if float("inf") in values:
        return "infinity"
    if min(values[:-1]) < 0:
        return "negative_price"
    if values[-1] <= 0:
        return "zero_volume" if values[-1] == 0 else "negative_volume"
    if abs(time_us) < 1_000:
        return "time_1970"
    if time_us > NOON_US + 300 * 86_400_000_000 and time_us < NOON_US * 2:
        return "time_next_year"
    return "wrong_unit" if abs(time_us - NOON_US) > 86_400_000_000 else ""


FORMS = (
    *("nan", "infinity", "null", "word", "negative_price", "zero_volume", "negative_volume"),
    *("time_1970", "time_next_year", "wrong_unit", "missing"),
)


@pytest.mark.parametrize("name", ["kraken", "binance"])
async def test_bad_values_come_in_every_form_on_streams_and_over_rest(client: Clients, name: str) -> None:
    """Kraken writes numbers, Binance strings."""
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        await one.stream(socket, "trades", 1)
        usual = await one.page("candles", since_us=NOON_US - 10 * MINUTE_US, limit=5)
        traded = [at for at, row in enumerate(usual[:5]) if one.venue.values(row)[-1]]
        assert traded
        for form in FORMS:
            episode = one.begin("bad_values", form=form, share=1.0, where="both")
            for _ in range(1_000):
                (row, *_) = await one.stream(socket, "trades", 1)
                if _spoiled(one, row.raw):
                    break
            assert _spoiled(one, row.raw) == form
            for channel in ("trades", "candles"):
                rows = await one.page(channel, since_us=NOON_US - 10 * MINUTE_US, limit=5)
                rows = [rows[at] for at in traded if at < len(rows)]
                if form == "missing" and isinstance(rows[0], list):
                    assert len({len(each) for each in rows} & {6, 7, 11}) == 1  # of 7, 8 and 12
                else:
                    assert {_spoiled(one, each) for each in rows} == {form}
            assert episode.struck
            one.market.faults.heal()
            await until(lambda: _clean(one, socket), "no bad value any more")


async def _clean(one: Client, socket: Any) -> bool:
    return not any(_spoiled(one, row.raw) for row in await one.stream(socket, "trades", 1))


@every_venue
async def test_shift_times_stamps_candles_an_interval_late(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        one.begin("shift_times")
        await one.subscribe(socket, "candles", one.first)
        (row, *_) = await one.stream(socket, "candles", 1)
        shifted_us, now_us = one.venue.time_us(row.raw), one.market.clock.now_us()
        assert shifted_us == now_us // MINUTE_US * MINUTE_US + (0 if name == "bitmex" else MINUTE_US)
        one.market.faults.heal()
        one.begin("shift_times", where="rest", intervals=-1)
        moved = {one.venue.time_us(each): one.venue.values(each)[:4] for each in await one.page("candles", limit=20)}
        one.market.faults.heal()
        right = {one.venue.time_us(each): one.venue.values(each)[:4] for each in await one.page("candles", limit=20)}
        common = sorted(right.keys() & {time_us + MINUTE_US for time_us in moved})[:5]
        assert [right[time_us] for time_us in common] == [moved[time_us - MINUTE_US] for time_us in common]


@every_venue
async def test_wrong_candles_differ_on_the_stream_and_not_over_rest(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        episode = one.begin("wrong_candles", share=1.0)
        await one.subscribe(socket, "candles", one.first)
        last: dict[int, tuple[float, ...]] = {}
        while len(last) < 3:  # the first may be one that was closed before
            for row in await one.stream(socket, "candles", 1):
                last[one.venue.time_us(row.raw)] = one.venue.values(row.raw)
    open_us = sorted(last)[1]
    (candle,) = one.market.truth(name, one.first).candles(open_us, open_us + MINUTE_US)
    open_, high, low, close, volume = last[open_us]
    assert (open_, low, close) == (candle.open, candle.low, candle.close)
    assert high > candle.high
    assert volume < candle.volume
    assert episode.struck
    await one.is_well()


@every_venue
async def test_wrong_candles_over_rest_settle_with_age(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("wrong_candles", share=1.0, where="rest", settled_s=600.0)
    closed_us = one.market.clock.now_us() // MINUTE_US * MINUTE_US
    since_us = closed_us - 30 * MINUTE_US
    rows = {one.venue.time_us(row): one.venue.values(row) for row in await one.page("candles", since_us=since_us)}
    truth = {each.timestamp_us: each for each in one.market.truth(name, one.first).candles(since_us, closed_us)}
    wrong = {time_us for time_us, each in truth.items() if rows[time_us][1:] != each[2:6]}
    assert wrong
    assert min(wrong) >= closed_us - 11 * MINUTE_US
    assert len(truth) > len(wrong) + 5


# --- REST


@pytest.mark.parametrize(
    ("name", "status", "retry_after_s"),
    [("kraken", 503, None), ("binance", 418, 7), ("binance", 429, None), ("hyperliquid", 429, 3), ("bitmex", 500, 1)],
)
async def test_status_answers_with_and_without_retry_after(
    client: Clients, name: str, status: int, retry_after_s: int | None
) -> None:
    one = client(name)
    episode = one.begin("status", status=status, retry_after_s=retry_after_s, channel="candles", times=2)
    for _ in range(2):
        async with one.ask("candles") as answer:
            assert answer.status == status
            assert answer.headers.get("Retry-After") == (None if retry_after_s is None else str(retry_after_s))
    assert await one.page("candles")
    assert await one.page("trades")
    assert episode.struck == 2


@every_venue
async def test_refusal_speaks_the_venues_words(client: Clients, name: str) -> None:
    one = client(name)
    words = {
        "kraken": {"unavailable": "EService:Unavailable", "too_many_requests": "EGeneral:Too many requests"},
        "binance": {"unavailable": "-1001", "too_many_requests": "-1003"},
        "hyperliquid": {"unavailable": "null", "too_many_requests": "null"},
        "bitmex": {"unavailable": "overloaded", "too_many_requests": "RateLimitError"},
    }[name]
    for reason, word in words.items():
        one.begin("refusal", reason=reason, times=1)
        async with one.ask("candles") as answer:
            assert word in await answer.text()
            assert answer.status == (200 if name == "kraken" else answer.status)
    assert await one.page("candles")


@rows_or_single
async def test_html_comes_with_status_200(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("html", symbol=one.first)
    async with one.ask("candles") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "<html>" in await answer.text()
    assert await one.page("candles", one.second)


@rows_or_single
async def test_half_a_body_ends_in_the_middle(client: Clients, name: str) -> None:
    one = client(name)
    one.begin("half_body", times=1)
    async with one.ask("candles") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert await one.page("candles")


async def test_slow_body_drips_until_it_is_healed(client: Clients) -> None:
    one = client("binance")
    async with one.ask("candles", limit=500) as answer:
        whole = await answer.read()
    one.begin("slow_body", bytes_per_s=2_000)
    began = time.monotonic()
    async with one.ask("candles", limit=10) as answer:
        assert len(await answer.read()) > 800
    assert time.monotonic() - began > 0.4
    async with one.ask("candles", limit=500) as answer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await answer.content.readexactly(len(whole) // 2)
        one.market.faults.heal()
        assert (await answer.read()).endswith(b"]")
    assert len(await one.page("candles", limit=500)) == 500


async def test_hang_answers_waits_until_it_is_healed(client: Clients) -> None:
    one = client("bitmex")
    episode = one.begin("hang_answers")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await one.page("candles")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(one.page("candles"))
        await until(lambda: episode.struck == 2, "the second request has come")
        one.market.faults.heal()
    assert waiting.result()


@rows_or_single
async def test_reset_answers_cuts_the_connection(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("reset_answers")
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await one.page("candles")
    assert episode.struck
    one.market.faults.heal()
    assert await one.page("candles")


@every_venue
async def test_short_pages_lead_to_everything_though_they_are_short(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("short_pages", rows=5)
    channel = "candles" if name == "hyperliquid" else "trades"  # it has no history of trades
    since_us = NOON_US - (30 if channel == "candles" else 1) * MINUTE_US
    truth = one.market.truth(name, one.first)
    want = (truth.candles if channel == "candles" else truth.trades)(since_us, NOON_US)
    seen: list[int] = []
    while since_us <= want[-1].timestamp_us:
        rows = await one.page(channel, since_us=since_us)
        assert 1 <= len(rows) <= 5
        times = [one.venue.time_us(row) for row in rows]
        seen += times
        since_us = times[-1] + 1_000
        if name == "bitmex":
            since_us += 1_000_000  # the client of this test asks in whole seconds
    assert episode.struck == len(seen) // 5 or episode.struck >= len(seen) / 5
    if channel == "candles":
        assert {each.timestamp_us for each in want} <= set(seen)
    elif name == "kraken":
        wanted_ms = {each.timestamp_us // 1000 for each in want}
        assert len(wanted_ms & {each // 1000 for each in seen}) > 0.9 * len(wanted_ms)
    one.market.faults.heal()
    assert len(await one.page(channel, since_us=NOON_US - 30 * MINUTE_US)) > 5


@every_venue
async def test_ignore_since_answers_the_newest_page(client: Clients, name: str) -> None:
    one = client(name)
    old_us = NOON_US - 300 * MINUTE_US
    usual = [one.venue.time_us(row) for row in await one.page("candles", since_us=old_us, limit=50)]
    assert usual[0] == old_us
    one.begin("ignore_since")
    times = [one.venue.time_us(row) for row in await one.page("candles", since_us=old_us, limit=50)]
    assert times == sorted(times)
    assert times[-1] >= NOON_US - 2 * MINUTE_US
    assert times[0] != old_us
    one.market.faults.heal()
    (first, *_) = await one.page("candles", since_us=old_us, limit=50)
    assert one.venue.time_us(first) == old_us


@every_venue
async def test_stuck_pages_never_advance(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("stuck_pages", channel="candles")
    starts = [NOON_US - minutes * MINUTE_US for minutes in (300, 250, 200)]
    pages = [await one.page("candles", since_us=since_us, limit=20) for since_us in starts]
    assert pages[0] == pages[1] == pages[2]
    assert episode.struck == 2
    one.market.faults.heal()
    assert await one.page("candles", since_us=starts[1], limit=20) != pages[0]


@every_venue
async def test_none_rows_stand_among_true_ones(client: Clients, name: str) -> None:
    one = client(name)
    episode = one.begin("none_rows", share=0.4)
    rows = await one.page("candles", limit=50)
    assert len(rows) >= 50
    assert 0 < rows.count(None) < len(rows)
    assert rows.count(None) == episode.struck
    one.market.faults.heal()
    assert None not in await one.page("candles", limit=50)


@every_venue
@pytest.mark.parametrize("other", ["repeat", "reorder", "omit", "bad_values"])
async def test_another_fault_leaves_none_rows_as_they_are(client: Clients, name: str, other: str) -> None:
    one = client(name)
    one.begin("none_rows", share=0.4)
    one.begin(other, channel="candles")
    assert None in await one.page("candles", limit=50)


@every_venue
async def test_without_running_makes_a_full_page_look_short(client: Clients, name: str) -> None:
    one = client(name)
    recent_us = one.market.clock.now_us() // MINUTE_US * MINUTE_US - 10 * MINUTE_US
    one.begin("without_running")
    times = [one.venue.time_us(row) for row in await one.page("candles", since_us=recent_us)]
    assert max(times) + MINUTE_US <= one.market.clock.now_us()
    one.market.faults.heal()
    running = one.market.clock.now_us() // MINUTE_US * MINUTE_US
    assert max(one.venue.time_us(row) for row in await one.page("candles", since_us=recent_us)) >= running


# --- the venue and its markets


@rows_or_single
async def test_down_refuses_connections_and_comes_back_on_its_port(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        origin = one.market.origin(name)
        episode = one.begin("down")
        assert await ended(socket) == 1006
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorError):
                await one.page("candles")
    one.market.faults.heal(episode)
    await until(lambda: _reachable(one), "it is back")
    assert one.market.origin(name) == origin
    await one.is_well()


async def _reachable(one: Client) -> bool:
    try:
        await one.page("candles", since_us=NOON_US - 5 * MINUTE_US)
    except aiohttp.ClientConnectorError:
        return False
    return True


async def test_two_reasons_to_be_down_are_both_waited_for(client: Clients) -> None:
    one = client("kraken")
    first, second = one.begin("down"), one.begin("down")
    one.market.faults.heal(first)
    await asyncio.sleep(0.3)
    assert not await _reachable(one)
    one.market.faults.heal(second)
    await until(lambda: _reachable(one), "it is back")


async def test_skew_sets_the_venues_clock_wrong_and_right_again(client: Clients, http: aiohttp.ClientSession) -> None:
    one = client("binance")
    kraken = client("kraken")

    async def told_us() -> int:
        async with http.get(one.market.origin("binance") + "/api/v3/time") as answer:
            return int((await answer.json())["serverTime"]) * 1000

    episode = one.begin("skew", seconds=300.0)
    assert await told_us() - one.market.clock.now_us() > 290_000_000
    async with http.get(kraken.market.origin("kraken") + "/0/public/Time") as answer:
        told = (await answer.json())["result"]["unixtime"] * 1_000_000
    assert abs(told - one.market.clock.now_us()) < 20_000_000
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first)
        (row, *_) = await one.stream(socket, "trades", 1)
        assert one.venue.time_us(row.raw) > one.market.clock.now_us() + 200_000_000
    fast_us = await told_us()
    one.market.faults.heal(episode)
    assert await told_us() >= fast_us  # it stands still and never runs backwards
    one.begin("skew", seconds=-3_600.0)
    stood_us = await told_us()
    await asyncio.sleep(0.1)
    assert await told_us() == stood_us


@every_venue
async def test_halt_is_a_fact_nothing_is_traded_and_ids_go_on_without_a_hole(client: Clients, name: str) -> None:
    one = client(name)
    truth = one.market.truth(name, one.first)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("halt", symbol=one.first)
        halted_us = one.market.clock.now_us()
        async with one.ask("listings") as answer:
            status = one.venue.status_of(json.loads(await answer.text()), one.first)
        assert status == {"kraken": "cancel_only", "binance": "HALT", "hyperliquid": False, "bitmex": "Closed"}[name]
        await asyncio.sleep(1.1)
        assert await one.stream(socket, "trades", 20, one.second)
        one.market.faults.heal(episode)
        ((from_us, until_us),) = truth.pauses
        assert until_us is not None
        assert until_us - from_us > 2 * MINUTE_US
        times: list[int] = []
        while not times or max(times) < until_us:
            times += [one.venue.time_us(row.raw) for row in await one.stream(socket, "trades", 1, one.first)]
        assert not [each for each in times if halted_us + 1_000 < each < until_us - 1_000]
    assert truth.trades(from_us, until_us) == []
    minute_us = from_us // MINUTE_US * MINUTE_US + MINUTE_US
    assert truth.candles(minute_us, minute_us + MINUTE_US) == []
    trades = truth.trades(from_us - 5 * MINUTE_US, one.market.clock.now_us())
    assert trades[-1].timestamp_us >= until_us
    if name in ("kraken", "binance"):
        ids = [int(trade.trade_id) for trade in trades]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len({trade.trade_id for trade in trades}) == len(trades)
    page = await one.page("candles", since_us=minute_us)
    flat = next(row for row in page if one.venue.time_us(row) == minute_us)
    assert one.venue.values(flat)[-1] == 0
    await one.is_well()


@every_venue
async def test_a_list_of_markets_that_another_fault_has_spoiled_bears_a_halt_beside_it(
    client: Clients, name: str
) -> None:
    one = client(name)
    one.begin("corrupt", where="rest")
    one.begin("halt", symbol=one.first)
    async with one.ask("listings") as answer:
        assert answer.status == 200
        with pytest.raises(ValueError, match=r"."):
            json.loads(await answer.text())


@every_venue
async def test_delist_ends_one_market_and_the_others_go_on(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await one.subscribe(socket, "trades", one.first, one.second)
        await one.subscribe(socket, "candles", one.first)
        await one.stream(socket, "trades", 1, one.first)
        episode = one.begin("delist", symbol=one.first)
        now_us = one.market.clock.now_us()
        truth = one.market.truth(name, one.first)
        assert truth.ended_at_us is not None
        assert abs(truth.ended_at_us - now_us) < 5_000_000
        async with one.ask("listings") as answer:
            status = one.venue.status_of(json.loads(await answer.text()), one.first)
        assert status == {"kraken": None, "binance": "BREAK", "hyperliquid": True, "bitmex": None}[name]
        assert await one.after(socket, one.second, now_us + MINUTE_US) == {one.second}
        await one.subscribe(socket, "trades", one.first)
    assert one.market.truth(name, one.second).ended_at_us is None
    one.market.faults.heal(episode)
    assert truth.ended_at_us is None
    await one.is_well()


async def test_a_delisted_market_may_be_forgotten_or_not(client: Clients) -> None:
    one = client("binance")
    episode = one.begin("delist", symbol=one.first, listed="no")
    async with one.ask("candles") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, -1121)
    one.market.faults.heal(episode)
    one.begin("delist", symbol=one.first, listed="yes")
    assert await one.page("candles")


@rows_or_single
async def test_close_ends_the_venue_for_good(client: Clients, name: str) -> None:
    one = client(name)
    async with one.connect() as socket:
        await until(lambda: len(one.market.venue(name).connections) == 1, "connected")
        one.begin("close")
        assert await ended(socket) == 1001
    async with one.ask("candles") as answer:
        assert (answer.status, await answer.text()) == (410, f"{name} is closed.")
    with pytest.raises(aiohttp.WSServerHandshakeError, match="410"):
        await one.connect()
    for symbol in one.venue.symbols:
        truth = one.market.truth(name, symbol)
        assert truth.ended_at_us is not None
        assert truth.trades(truth.ended_at_us, one.market.clock.now_us() + MINUTE_US) == []
        assert truth.trades(NOON_US - MINUTE_US, truth.ended_at_us)
    one.market.faults.heal()
    await one.is_well()


# --- all of them


async def test_every_kind_can_be_begun_and_healed_and_leaves_nothing_behind(
    market: SimulatedMarket, client: Clients
) -> None:
    clients = [client(name) for name in VENUES]
    for kind in KINDS:
        episode = market.faults.begin(kind)
        assert list(episode.faults) == list(VENUES)
        await asyncio.sleep(0.05)
        market.faults.heal()
        assert not market.faults.active
        await until(lambda: _all_reachable(clients), "all are back")
    for one in clients:
        await one.is_well()


async def _all_reachable(clients: list[Client]) -> bool:
    return all([await _reachable(one) for one in clients])
