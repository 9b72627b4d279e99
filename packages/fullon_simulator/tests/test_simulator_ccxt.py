"""The referee: unmodified ccxt classes, only their addresses replaced, find the truth; each venue and method.

`ccxt.pro.X` is `ccxt.async_support.X` with the `watch_` methods added, so one client does for both.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest

from fullon_simulator import SimulatedMarket, TapeTrade

NOON_US = 1_767_268_800_000_000
HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
WATCHED_S = 3.0
"""Three minutes at the market's pace."""

each_venue = pytest.mark.parametrize(("venue", "quote"), [("kraken", "USD"), ("binance", "USDT")])


@asynccontextmanager
async def client(market: SimulatedMarket, venue: str) -> AsyncIterator[Any]:
    """Yield ccxt.pro's class for `venue`, pointed at the simulated market; it has all of the REST class."""
    exchange = getattr(ccxt.pro, venue)({"enableRateLimit": False})
    origin = market.origin(venue)
    streams = origin.replace("http", "ws")
    addresses = exchange.urls["api"]
    if venue == "kraken":
        addresses |= {"public": origin, "private": origin}
        addresses["ws"]["publicV2"] = f"{streams}/v2"
    else:
        addresses |= {
            "public": f"{origin}/api/v3",
            "fapiPublic": f"{origin}/fapi/v1",
            "dapiPublic": f"{origin}/dapi/v1",
        }
        addresses["ws"]["spot"] = f"{streams}/stream/ws"
    try:
        await exchange.load_markets()
        yield exchange
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
    """Return what ccxt says of a trade that the truth says too; ccxt cuts times to milliseconds."""
    return trade["timestamp"], trade["price"], trade["amount"], trade["side"], trade["id"]


def known(trade: TapeTrade) -> tuple[Any, ...]:
    """Return the same of the truth."""
    return trade.timestamp_us // 1000, trade.price, trade.volume, trade.side, trade.trade_id


def assert_run(seen: list[dict[str, Any]], truth: list[TapeTrade]) -> None:
    """Check that the trades seen are one unbroken run of the truth."""
    expected = [known(trade) for trade in truth]
    first = expected.index(unified(seen[0]))
    assert [unified(trade) for trade in seen] == expected[first : first + len(seen)]


@each_venue
async def test_load_markets(market: SimulatedMarket, venue: str, quote: str) -> None:
    assert issubclass(getattr(ccxt.pro, venue), getattr(ccxt.async_support, venue))
    async with client(market, venue) as exchange:
        assert set(exchange.symbols) == set(market.symbols(venue))
        bitcoin = exchange.market(f"BTC/{quote}")
        assert (bitcoin["active"], bitcoin["spot"], bitcoin["precision"]["price"]) == (True, True, 0.1)
        assert bitcoin["id"] == {"kraken": "XXBTZUSD", "binance": "BTCUSDT"}[venue]


@each_venue
async def test_fetch_time(market: SimulatedMarket, venue: str, quote: str) -> None:
    async with client(market, venue) as exchange:
        assert abs(await exchange.fetch_time() - market.clock.now_us() // 1000) < 3_000


@pytest.mark.parametrize("symbol", ["ETH", "DOGE", "NEW"])
async def test_binance_fetch_ohlcv_pages_through_days(market: SimulatedMarket, symbol: str) -> None:
    name = f"{symbol}/USDT"
    start_us, rows = NOON_US - 48 * HOUR_US, []
    async with client(market, "binance") as exchange:
        since = start_us // 1000
        while page := await exchange.fetch_ohlcv(
            name, "1m", since=since, limit=1000, params={"until": NOON_US // 1000}
        ):
            rows += page
            since = page[-1][0] + 60_000
    truth = market.truth("binance", name).candles(start_us, NOON_US)
    assert [row for row in rows if row[5] and row[0] * 1000 < NOON_US] == [
        [candle.timestamp_us // 1000, *candle[1:6]] for candle in truth
    ]


@pytest.mark.parametrize("symbol", ["ETH", "DOGE", "NEW"])
async def test_kraken_fetch_ohlcv_has_the_newest_720_whatever_since(market: SimulatedMarket, symbol: str) -> None:
    name = f"{symbol}/USD"
    async with client(market, "kraken") as exchange:
        rows = await exchange.fetch_ohlcv(name, "1m", since=(NOON_US - 48 * HOUR_US) // 1000)
        newest = await exchange.fetch_ohlcv(name, "1m", since=(NOON_US - 5 * MINUTE_US) // 1000)
    assert newest[0][0] == (NOON_US - 5 * MINUTE_US) // 1000
    assert len(rows) == (181 if symbol == "NEW" else 720)
    start_us, end_us = rows[0][0] * 1000, rows[-1][0] * 1000
    truth = market.truth("kraken", name).candles(start_us, end_us)
    assert [row for row in rows[:-1] if row[5]] == [[candle.timestamp_us // 1000, *candle[1:6]] for candle in truth]


async def test_kraken_fetch_trades_pages_by_the_nanosecond_cursor(market: SimulatedMarket) -> None:
    start_us, trades = NOON_US - 3 * HOUR_US, []
    async with client(market, "kraken") as exchange:
        cursor = str(start_us * 1000 - 1)
        while True:
            page = await exchange.fetch_trades("BTC/USD", params={"since": cursor})
            if not page:
                break
            trades += page
            cursor = page[-1]["info"][-1]
    truth = market.truth("kraken", "BTC/USD").trades(start_us, NOON_US)
    seen = [unified(trade) for trade in trades if trade["timestamp"] * 1000 < NOON_US]
    assert len(seen) > 5_000
    assert seen == [known(trade) for trade in truth]


async def test_binance_fetch_trades_pages_by_id(market: SimulatedMarket) -> None:
    start_us = NOON_US - 3 * HOUR_US
    async with client(market, "binance") as exchange:
        trades = await exchange.fetch_trades("BTC/USDT", since=start_us // 1000, limit=1000)
        while page := await exchange.fetch_trades("BTC/USDT", limit=1000, params={"fromId": int(trades[-1]["id"]) + 1}):
            trades += page
    truth = market.truth("binance", "BTC/USDT").aggregates(start_us, NOON_US)
    seen = [unified(trade) for trade in trades if trade["timestamp"] * 1000 < NOON_US]
    assert len(seen) > 3_000
    assert seen == [known(trade) for trade in truth]


@each_venue
async def test_watch_trades(fast_market: SimulatedMarket, venue: str, quote: str) -> None:
    symbol = f"BTC/{quote}"
    async with client(fast_market, venue) as exchange:
        trades = await collect(lambda: exchange.watch_trades(symbol), WATCHED_S / 2)
    assert len(trades) > 20
    assert_run(trades, fast_market.truth(venue, symbol).trades(NOON_US, NOON_US + HOUR_US))


@each_venue
async def test_watch_trades_for_symbols(fast_market: SimulatedMarket, venue: str, quote: str) -> None:
    symbols = [f"BTC/{quote}", f"ETH/{quote}", f"BAT/{quote}"]
    async with client(fast_market, venue) as exchange:
        trades = await collect(lambda: exchange.watch_trades_for_symbols(symbols), WATCHED_S / 2)
    for symbol in symbols[:2]:
        seen = [trade for trade in trades if trade["symbol"] == symbol]
        assert len(seen) > 5
        assert_run(seen, fast_market.truth(venue, symbol).trades(NOON_US, NOON_US + HOUR_US))


@each_venue
async def test_watch_ticker(fast_market: SimulatedMarket, venue: str, quote: str) -> None:
    symbol = f"BTC/{quote}"
    async with client(fast_market, venue) as exchange:
        ticker = await exchange.watch_ticker(symbol)  # on Binance the mini ticker, unless told otherwise
        whole = await exchange.watch_ticker(symbol, {"name": "ticker"})
    prices = {trade.price for trade in fast_market.truth(venue, symbol).trades(NOON_US - HOUR_US, NOON_US + HOUR_US)}
    assert ticker["last"] in prices
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert whole["bid"] < whole["ask"]


@each_venue
async def test_watch_ohlcv(fast_market: SimulatedMarket, venue: str, quote: str) -> None:
    """The last row of each minute that was watched to its end is the truth."""
    symbol = f"BTC/{quote}"
    async with client(fast_market, venue) as exchange:
        rows = await collect(lambda: exchange.watch_ohlcv(symbol, "1m"), WATCHED_S)
    last = {row[0]: row for row in rows}
    watched = sorted(last)[:-1]
    truth = {
        candle.timestamp_us // 1000: [candle.timestamp_us // 1000, *candle[1:6]]
        for candle in fast_market.truth(venue, symbol).candles(watched[0] * 1000, NOON_US + HOUR_US)
    }
    assert len(watched) >= 2
    assert [last[time_ms] for time_ms in watched] == [truth[time_ms] for time_ms in watched]
