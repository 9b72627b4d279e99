"""The referee: unmodified ccxt.pro.hyperliquid, only its addresses replaced, finds the truth; each method."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec, TapeTrade

NOON_US = 1_767_268_800_000_000
HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000

SPECS = [
    SymbolSpec("BTC/USDC:USDC", 60_000, price=90_000, price_decimals=1, volume_decimals=5),
    SymbolSpec("ETH/USDC:USDC", 20_000, price=3_500, price_decimals=1, volume_decimals=4),
    SymbolSpec("KPEPE/USDC:USDC", 40, price=0.004, price_decimals=6, volume_decimals=0),
    SymbolSpec("PURR/USDC", 5_000, price=0.2, price_decimals=5, volume_decimals=0),
    SymbolSpec("BTC/USDC", 500, price=90_000, price_decimals=1, volume_decimals=5),
]


@asynccontextmanager
async def referee(*, speed: float = 1) -> AsyncIterator[tuple[SimulatedMarket, Any]]:
    """Yield a market from noon on and ccxt.pro's class, pointed at it; it has all of the REST class."""
    clock = MarketClock.starting_at(NOON_US, speed=speed)
    async with SimulatedMarket({"hyperliquid": SPECS}, clock=clock, rate_limits=False) as market:
        exchange = ccxt.pro.hyperliquid({"enableRateLimit": False})
        origin = market.origin("hyperliquid")
        exchange.urls["api"] |= {"public": origin, "private": origin}
        exchange.urls["api"]["ws"]["public"] = origin.replace("http", "ws") + "/ws"
        try:
            await exchange.load_markets()
            yield market, exchange
        finally:
            await exchange.close()


async def collect(watch: Callable[[], Awaitable[list[Any]]], seconds: float) -> list[Any]:
    """Call a `watch_` method again and again for real seconds; rows are copied, as ccxt goes on changing them."""
    rows: list[Any] = []
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    while (left_s := end_s - loop.time()) > 0:
        try:
            async with asyncio.timeout(left_s):
                rows += [row.copy() for row in await watch()]
        except TimeoutError:
            break
    return rows


def unified(trade: dict[str, Any]) -> tuple[Any, ...]:
    return trade["timestamp"], trade["price"], trade["amount"], trade["side"], trade["id"]


def known(trade: TapeTrade) -> tuple[Any, ...]:
    return trade.timestamp_us // 1000, trade.price, trade.volume, trade.side, trade.trade_id


async def test_load_markets() -> None:
    assert issubclass(ccxt.pro.hyperliquid, ccxt.async_support.hyperliquid)
    async with referee() as (market, exchange):
        assert set(exchange.symbols) == set(market.symbols("hyperliquid"))
        bitcoin = exchange.market("BTC/USDC:USDC")
        assert (bitcoin["active"], bitcoin["swap"], bitcoin["linear"], bitcoin["id"]) == (True, True, True, "0")
        assert (bitcoin["precision"]["amount"], bitcoin["baseName"]) == (1e-5, "BTC")
        assert exchange.market("KPEPE/USDC:USDC")["baseName"] == "kPEPE"
        assert (exchange.market("PURR/USDC")["id"], exchange.market("BTC/USDC")["id"]) == ("PURR/USDC", "@1")


async def test_fetch_time() -> None:
    async with referee() as (market, exchange):
        assert abs(await exchange.fetch_time() - market.clock.now_us() // 1000) < 3_000


@pytest.mark.parametrize("symbol", ["ETH/USDC:USDC", "KPEPE/USDC:USDC", "PURR/USDC", "BTC/USDC"])
async def test_fetch_ohlcv_pages_through_three_days(symbol: str) -> None:
    start_us, rows = NOON_US - 72 * HOUR_US, []
    async with referee() as (market, exchange):
        since = start_us // 1000
        while since < NOON_US // 1000:
            until = min(since + 999 * 60_000, NOON_US // 1000 - 1)
            page = await exchange.fetch_ohlcv(symbol, "1m", since=since, params={"until": until})
            rows += page
            since = page[-1][0] + 60_000
        truth = market.truth("hyperliquid", symbol).candles(start_us, NOON_US)
    assert len(rows) == 72 * 60
    assert [row for row in rows if row[5]] == [[candle.timestamp_us // 1000, *candle[1:6]] for candle in truth]


async def test_fetch_ohlcv_has_the_newest_5000_whatever_since() -> None:
    async with referee() as (_, exchange):
        rows = await exchange.fetch_ohlcv(
            "ETH/USDC:USDC", "1m", since=NOON_US // 1000 - 10**9, params={"until": NOON_US // 1000 + 5_000}
        )
    assert (len(rows), rows[-1][0]) == (5_000, NOON_US // 1000)


async def test_fetch_ohlcv_of_an_unknown_coin_is_refused() -> None:
    async with referee() as (_, exchange):
        exchange.markets["ETH/USDC:USDC"]["baseName"] = "NOPE"
        with pytest.raises(ccxt.async_support.ExchangeNotAvailable, match="500"):
            await exchange.fetch_ohlcv("ETH/USDC:USDC", "1m")


@pytest.mark.parametrize("symbol", ["BTC/USDC:USDC", "PURR/USDC"])
async def test_watch_trades(symbol: str) -> None:
    """Ten old trades, newest first, and from there on all that happen."""
    async with referee(speed=240) as (market, exchange):
        trades = await collect(lambda: exchange.watch_trades(symbol), 1.0)
        truth = [
            known(trade) for trade in market.truth("hyperliquid", symbol).trades(NOON_US - HOUR_US, NOON_US + HOUR_US)
        ]
    seen = [unified(trade) for trade in [*reversed(trades[:10]), *trades[10:]]]
    assert len(seen) > 12
    first = truth.index(seen[0])
    assert seen == truth[first : first + len(seen)]


async def test_watch_ohlcv() -> None:
    """The last row of each minute that was watched to its end is the truth."""
    async with referee(speed=240) as (market, exchange):
        rows = await collect(lambda: exchange.watch_ohlcv("BTC/USDC:USDC", "1m"), 1.5)
        last = {row[0]: row for row in rows}
        watched = sorted(last)[1:-1]
        truth = {
            candle.timestamp_us // 1000: [candle.timestamp_us // 1000, *candle[1:6]]
            for candle in market.truth("hyperliquid", "BTC/USDC:USDC").candles(watched[0] * 1000, NOON_US + HOUR_US)
        }
    assert len(watched) >= 1
    assert [last[time_ms] for time_ms in watched] == [truth[time_ms] for time_ms in watched]
