"""The referee: what BitMEX really sent, field by field; no current ccxt knows it any more."""

import gzip
import json
import re
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec
from fullon_simulator.bitmex_wire import gross_values
from fullon_simulator.columns import NO_TRADES

NOON_US = 1_767_268_800_000_000
RECORDED = Path(__file__).parents[4] / "shared" / "data" / "bitmex"
STREAM = "cryptofeed/2021-07-22_BITMEX.ws.1.0.gz"
INSTRUMENTS = "cryptofeed/2021-07-22_BITMEX.0.gz"
DAY = "codler_1m_XBTUSD/dev/2021-07-22.json.gz"
FIRST_DAY = "codler_1m_XBTUSD/dev/2015-09-25.json.gz"

SPECS = [
    SymbolSpec("BTC/USD:BTC", 60_000, price=32_000,
               price_decimals=1, price_step=5, volume_decimals=0, volume_step=100),
    SymbolSpec("UNI/USDT:USDT", 20_000, price=17, price_decimals=3, volume_decimals=1, volume_step=1),
]  # fmt: skip
IDENTICAL = (
    "rootSymbol", "state", "typ", "positionCurrency", "underlying", "quoteCurrency", "underlyingSymbol", "lotSize",
    "tickSize", "multiplier", "settlCurrency", "underlyingToSettleMultiplier", "isQuanto", "isInverse",
)  # fmt: skip
"""Fields of XBTUSD that do not change with time."""


def lines(name: str) -> Iterator[str]:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"the recorded data bitmex/{name} is not here")
    with gzip.open(path, "rt") as file:
        yield from file


def messages() -> list[dict[str, Any]]:
    """Return what the client of the recorded session received."""
    found = []
    for line in lines(STREAM):
        match = re.match(r"\d+\.\d+: (.*)", line)
        if match:
            found.append(json.loads(match[1]))
    return found


def shape(value: Any, *, loose: tuple[type, ...] = (int, float)) -> Any:
    """Return names and types all the way down; whole numbers and others are one, of a list the first entry counts."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return "number" if isinstance(value, loose) and not isinstance(value, bool) else type(value).__name__


def of(found: list[dict[str, Any]], table: str, action: str, symbol: str) -> dict[str, Any]:
    return next(
        message
        for message in found
        if (message.get("table"), message.get("action")) == (table, action) and message["data"][0]["symbol"] == symbol
    )


@pytest.fixture
async def market() -> AsyncIterator[SimulatedMarket]:
    clock = MarketClock.starting_at(NOON_US, speed=240)
    async with SimulatedMarket({"bitmex": SPECS}, clock=clock, rate_limits=False) as market:
        yield market


async def simulated(market: SimulatedMarket, http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """Return what a client of the simulated market receives until both symbols have traded."""
    topics = ["trade:XBTUSD", "trade:UNIUSDT", "tradeBin1m:XBTUSD"]
    found: list[dict[str, Any]] = []
    async with http.ws_connect(market.origin("bitmex").replace("http", "ws") + "/realtime") as socket:
        await socket.send_json({"op": "subscribe", "args": topics})
        wanted = {("trade", "XBTUSD"), ("trade", "UNIUSDT"), ("tradeBin1m", "XBTUSD")}
        while wanted:
            message = await socket.receive_json(timeout=10)
            found.append(message)
            if message.get("action") == "insert":
                wanted.discard((message["table"], message["data"][0]["symbol"]))
    return found


async def rows(market: SimulatedMarket, http: aiohttp.ClientSession, path: str, **query: str) -> Any:
    async with http.get(f"{market.origin('bitmex')}/api/v1/{path}", params=query) as answer:
        return await answer.json()


async def test_welcome_and_acknowledgement(market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
    real, ours = messages(), await simulated(market, http)
    assert shape(ours[0]) == shape(real[0])
    assert (ours[0]["info"], ours[0]["docs"]) == (real[0]["info"], real[0]["docs"])
    assert ours[0]["limit"]["remaining"] in (39, 40)
    assert shape(ours[1]) == shape(real[1])
    assert {message["subscribe"] for message in ours if "success" in message} == set(ours[1]["request"]["args"])


@pytest.mark.parametrize("symbol", ["XBTUSD", "UNIUSDT"])
async def test_partial_and_insert_of_trades(market: SimulatedMarket, http: aiohttp.ClientSession, symbol: str) -> None:
    real, ours = messages(), await simulated(market, http)
    for action in ("partial", "insert"):
        theirs, mine = of(real, "trade", action, symbol), of(ours, "trade", action, symbol)
        assert list(mine) == list(theirs)
        assert [list(row) for row in mine["data"][:1]] == [list(row) for row in theirs["data"][:1]]
        assert shape(mine) == shape(theirs)
    theirs, mine = of(real, "trade", "partial", symbol), of(ours, "trade", "partial", symbol)
    for name in ("keys", "types", "foreignKeys", "attributes", "filter"):
        assert mine[name] == theirs[name]
    assert len(mine["data"]) == len(theirs["data"]) == 1


async def test_trades_over_rest_are_those_of_the_stream(market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
    (mine,) = await rows(market, http, "trade", symbol="XBTUSD", count="1", reverse="true")
    theirs = of(messages(), "trade", "insert", "XBTUSD")["data"][0]
    assert shape(mine) == shape(theirs)
    assert len(mine["timestamp"]) == len(theirs["timestamp"])
    inserts = [message for message in messages() if message.get("table") == "trade"]
    directions = {row["tickDirection"] for message in inserts for row in message["data"]}
    assert directions <= {"PlusTick", "ZeroPlusTick", "MinusTick", "ZeroMinusTick"}


async def test_instruments(market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
    text = next(lines(INSTRUMENTS))
    real = {row["symbol"]: row for row in json.loads(text[text.index("[") :])}
    ours = {row["symbol"]: row for row in await rows(market, http, "instrument/active")}
    for name in ("XBTUSD", "UNIUSDT"):
        assert ours[name].keys() == real[name].keys()
    assert shape(ours["XBTUSD"]) == shape(real["XBTUSD"]) | {"indicativeTaxRate": "NoneType"}
    for field in IDENTICAL:
        assert ours["XBTUSD"][field] == real["XBTUSD"][field]


async def test_buckets(market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
    """Fields, and what they mean: the end as time, the close before as open, a flat row where nothing was traded."""
    (real,) = (json.loads(line) for line in lines(DAY))
    ours = await rows(market, http, "trade/bucketed", symbol="XBTUSD", binSize="1m", count="1000", reverse="true")
    for found, whole in ((real, real), (ours, ours[::-1])):
        assert all(after["open"] == before["close"] for before, after in pairwise(whole))
        traded = [row for row in found if row["trades"]]
        assert list(traded[0]) == list(real[0])
        outside = sum(not row["low"] <= row["open"] <= row["high"] for row in traded) / len(traded)
        assert 0.03 < outside < 0.5
    for quiet in (True, False):
        mine, theirs = (next(row for row in found if quiet is not bool(row["trades"])) for found in (ours, real))
        assert shape(mine) == shape(theirs)
    assert real[0]["timestamp"] == "2021-07-22T00:00:00.000Z"


async def test_buckets_of_the_stream_are_those_of_rest(market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
    (real,) = (json.loads(line) for line in lines(DAY))
    ours = await simulated(market, http)
    for action in ("partial", "insert"):
        mine = of(ours, "tradeBin1m", action, "XBTUSD")["data"][0]
        assert list(mine) == list(real[0])


async def test_rows_before_the_first_trade(http: aiohttp.ClientSession) -> None:
    """The first minutes of XBTUSD: listed at the full hour, traded for the first time half an hour later."""
    (real,) = (json.loads(line) for line in lines(FIRST_DAY))
    first = next(number for number, row in enumerate(real) if row["trades"])
    spec = SymbolSpec("BTC/USD:BTC", 50, listed_at_us=NOON_US - 26 * 60_000_000, volume_decimals=0, volume_step=100)
    async with SimulatedMarket({"bitmex": [spec]}, clock=MarketClock.starting_at(NOON_US)) as market:
        ours = await rows(market, http, "trade/bucketed", symbol="XBTUSD", binSize="1m")
    assert first == ours.index(next(row for row in ours if row["trades"])) == 34
    assert [shape(row) for row in ours[:first]] == [shape(row) for row in real[:first]]
    assert (real[first]["open"], ours[first]["open"] in (ours[first]["low"], ours[first]["high"])) == (239.99, True)


def test_what_trades_are_worth() -> None:
    """A lot at its price, in satoshis and rounded, times the lots: exact for every recorded trade of XBTUSD."""
    import numpy as np

    recorded = [
        row
        for message in messages()
        if message.get("table") == "trade"
        for row in message["data"]
        if row["symbol"] == "XBTUSD"
    ]
    assert recorded
    columns = NO_TRADES._replace(
        price=np.array([round(row["price"] * 10) for row in recorded]),
        volume=np.array([row["size"] for row in recorded]),
    )
    assert gross_values(SPECS[0], columns).tolist() == [row["grossValue"] for row in recorded]
    assert all(row["homeNotional"] == row["grossValue"] / 1e8 for row in recorded)
    assert all(row["foreignNotional"] == row["size"] for row in recorded)
