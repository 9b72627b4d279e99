"""Our pagers and sessions against the simulated market: they return exactly its truth.

The simulator shares no code with this package: two readings of the same wire formats check each other.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest

from fullon_exchange import Clock, Exchange, open_exchange
from fullon_exchange.history import reasons
from fullon_exchange.live.session import NativeSession
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Subscribed,
    Trade,
    Trades,
    Watermark,
)

simulator: Any = pytest.importorskip("fullon_simulator")

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
START_US = 1_767_225_600_000_000
SPEED = 60.0
LISTED_US = START_US - 30 * HOUR_US - 17_500_000

SYMBOLS = {
    "kraken": [("BTC/USD", 200_000, None), ("DOGE/USD", 900, None), ("SOL/USD", 20_000, LISTED_US)],
    "binance": [("BTC/USDT", 200_000, None), ("DOGE/USDT", 900, None), ("SOL/USDT", 20_000, LISTED_US)],
}
VENUES = sorted(SYMBOLS)


def markets(name: str) -> list[Any]:
    return [
        simulator.SymbolSpec(symbol, per_day, **({} if listed_us is None else {"listed_at_us": listed_us}))
        for symbol, per_day, listed_us in SYMBOLS[name]
    ]


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    clock = simulator.MarketClock.starting_at(START_US, speed=SPEED)
    async with simulator.SimulatedMarket({name: markets(name) for name in VENUES}, seed=11, clock=clock) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        yield market


def truth(market: Any, name: str, symbol: str, start_us: int, end_us: int) -> list[tuple[Any, ...]]:
    told = market.truth(name, symbol)
    trades = (told.trades if name == "kraken" else told.aggregates)(start_us, end_us)
    return [(trade.timestamp_us, trade.price, trade.volume, trade.side, str(trade.trade_id)) for trade in trades]


def plain(trades: Iterable[Trade]) -> list[tuple[Any, ...]]:
    return [(trade.timestamp_us, trade.price, trade.volume, trade.side, trade.trade_id) for trade in trades]


def plain_candle(candle: Any) -> tuple[Any, ...]:
    return (
        candle.timestamp_us, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades,
    )  # fmt: skip


@pytest.mark.parametrize("name", VENUES)
async def test_history_of_trades_is_the_truth_page_by_page(market: Any, name: str) -> None:
    async with open_exchange(name) as exchange:
        for symbol, _, _ in SYMBOLS[name][:2]:
            start_us, end_us = START_US - 2 * HOUR_US - 12_345_678, START_US - MINUTE_US - 1
            trades: list[Trade] = []
            position = start_us
            async for page in exchange.fetch_trades(symbol, start_us, end_us):
                assert page.interval[0] == position
                assert not page.unavailable
                trades += page.records
                position = page.interval[1]
            assert position == end_us
            assert plain(trades) == truth(market, name, symbol, start_us, end_us)
            assert trades


@pytest.mark.parametrize("name", VENUES)
async def test_before_the_listing_nothing_is_served_and_that_is_said(market: Any, name: str) -> None:
    symbol = SYMBOLS[name][2][0]
    first_us = market.truth(name, symbol).trades(LISTED_US, START_US)[0].timestamp_us
    begin_us = first_us - first_us % MINUTE_US
    async with open_exchange(name) as exchange:
        start_us, end_us = LISTED_US - DAY_US, LISTED_US + HOUR_US
        pages = [page async for page in exchange.fetch_trades(symbol, start_us, end_us)]
        named = [(interval, why.split(":")[0]) for page in pages for interval, why in page.unavailable]
        assert named == [((start_us, begin_us), reasons.LISTED_LATER)]
        assert plain(row for page in pages for row in page.records) == truth(market, name, symbol, start_us, end_us)


async def test_history_of_candles_is_the_truth_with_quiet_minutes_as_flat_rows(market: Any) -> None:
    symbol = "DOGE/USDT"
    async with open_exchange("binance") as exchange:
        start_us, end_us = START_US - 40 * HOUR_US, START_US + HOUR_US
        pages = [page async for page in exchange.fetch_candles(symbol, "1m", start_us, end_us)]
    candles = [row for page in pages for row in page.records]
    assert [row.timestamp_us for row in candles] == list(range(start_us, pages[-1].interval[1], MINUTE_US))
    assert pages[-1].interval[1] >= START_US - MINUTE_US
    assert not any(page.unavailable for page in pages)
    told = market.truth("binance", symbol).candles(start_us, pages[-1].interval[1])
    assert [plain_candle(row) for row in candles if row.trades] == [plain_candle(row) for row in told]
    assert 0 < len(told) < len(candles), "some minutes are quiet"


async def test_kraken_candles_reach_720_minutes_back_and_the_rest_is_retention(market: Any) -> None:
    async with open_exchange("kraken") as exchange:
        start_us = START_US - DAY_US
        pages = [page async for page in exchange.fetch_candles("BTC/USD", "1m", start_us, START_US)]
        hours = [page async for page in exchange.fetch_candles("BTC/USD", "1h", start_us, START_US)]
    ((lost, reason),) = [one for page in pages for one in page.unavailable]
    assert reason.startswith(reasons.RETENTION)
    assert lost[0] == start_us
    candles = [row for page in pages for row in page.records]
    assert 715 <= len(candles) <= 720
    told = market.truth("kraken", "BTC/USD").candles(lost[1], pages[-1].interval[1])
    assert [plain_candle(row) for row in candles if row.trades] == [plain_candle(row) for row in told]
    told_hours = market.truth("kraken", "BTC/USD").candles(start_us, hours[-1].interval[1], 3600)
    assert [plain_candle(row) for page in hours for row in page.records] == [plain_candle(row) for row in told_hours]


@pytest.mark.parametrize("name", VENUES)
async def test_markets_are_listed_and_the_venues_clock_is_told(market: Any, name: str) -> None:
    async with open_exchange(name) as exchange:
        listings = await exchange.fetch_listings()
        assert {symbol for symbol, _, _ in SYMBOLS[name]} <= set(listings)
        assert abs(await exchange.fetch_time() - market.clock.now_us()) < 60_000_000


class Stretches:
    """What a connection proved of each symbol: from `Subscribed` to its last watermark."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.since: dict[tuple[str, str], int] = {}
        self.proved: dict[str, int] = {}
        self.rows: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self.disconnects = 0

    def feed(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Subscribed) and event.channel == self.channel:
                self.since[event.connection, event.symbol] = event.timestamp_us
            elif isinstance(event, Watermark):
                self.proved[event.connection] = event.timestamp_us
            elif isinstance(event, Trades if self.channel == "trades" else Candles):
                for row in event.records:
                    assert row.timestamp_us >= self.proved.get(event.connection, 0) or isinstance(row, Candle), (
                        "a watermark has claimed what was not delivered yet"
                    )
                    self.rows[event.connection, row.symbol].append(row)
            elif isinstance(event, Disconnected):
                self.disconnects += 1


async def follow(
    exchange: Exchange, followed: list[Stretches], symbols: list[str], until_us: int, clock: Clock
) -> None:
    """Read a live session until `until_us`, giving its connections up now and then."""
    async with asyncio.timeout(60), exchange.live() as session:
        for stretches in followed:
            await session.subscribe(stretches.channel, symbols)  # type: ignore[arg-type]
        assert isinstance(session, NativeSession)
        give_up_us = clock.now_us() + 120_000_000
        async for events in session.events():
            for stretches in followed:
                stretches.feed(events)
            if clock.now_us() >= until_us:
                return
            if clock.now_us() >= give_up_us:
                give_up_us += 120_000_000
                for connection in {connection for connection, _ in followed[0].since}:
                    session.reconnect(connection, "the test says so")


def assert_trades_are_the_truth(market: Any, name: str, stretches: Stretches) -> None:
    compared = 0
    for (connection, symbol), since_us in stretches.since.items():
        until_us = max(since_us, stretches.proved.get(connection, 0))
        rows = [row for row in stretches.rows[connection, symbol] if since_us <= row.timestamp_us < until_us]
        assert plain(rows) == truth(market, name, symbol, since_us, until_us)
        ids = [int(row.trade_id) for row in stretches.rows[connection, symbol]]
        assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
        compared += len(rows)
    assert compared > 30


def assert_closed_candles_are_the_truth(market: Any, name: str, stretches: Stretches) -> None:
    compared = 0
    for connection, symbol in stretches.since:
        for row in [row for row in stretches.rows[connection, symbol] if row.closed]:
            told = market.truth(name, symbol).candles(row.timestamp_us, row.timestamp_us + MINUTE_US)
            assert [plain_candle(candle) for candle in told] == ([plain_candle(row)] if row.trades else [])
            compared += 1
    assert compared >= 4


async def test_live_trades_of_kraken_are_the_truth_wherever_the_session_vouches_for_it(market: Any) -> None:
    clock, trades = Clock.from_env(), Stretches("trades")
    async with open_exchange("kraken", clock=clock) as exchange:
        symbols = [symbol for symbol, _, _ in SYMBOLS["kraken"]]
        await follow(exchange, [trades], symbols, START_US + 5 * MINUTE_US, clock)
    assert trades.disconnects >= 1
    assert_trades_are_the_truth(market, "kraken", trades)


async def test_live_trades_and_closed_candles_of_binance_are_the_truth(market: Any) -> None:
    clock, trades, candles = Clock.from_env(), Stretches("trades"), Stretches("candles1m")
    async with open_exchange("binance", clock=clock) as exchange:
        symbols = [symbol for symbol, _, _ in SYMBOLS["binance"]]
        await follow(exchange, [trades, candles], symbols, START_US + 5 * MINUTE_US, clock)
    assert trades.disconnects >= 1
    assert_trades_are_the_truth(market, "binance", trades)
    assert_closed_candles_are_the_truth(market, "binance", candles)


@pytest.mark.parametrize("name", VENUES)
async def test_garbage_between_the_frames_is_counted_and_costs_nothing(market: Any, name: str) -> None:
    rubbish = itertools.cycle(['{"channel":"trade","data":[{"symbol":', "[]", '{"e":"weather"}', "NaN", '{"a":1}'])

    class Noisy(simulator.Outlet):  # type: ignore[misc,name-defined]
        def frames(self, connection: Any, frame: Any) -> Iterable[Any]:
            return (simulator.Frame(next(rubbish)), frame, simulator.Frame(next(rubbish)))

    market.venue(name).outlet = Noisy()
    clock = Clock.from_env()
    stretches = Stretches("trades")
    symbol = SYMBOLS[name][0][0]
    async with asyncio.timeout(60), open_exchange(name, clock=clock) as exchange, exchange.live() as session:
        assert isinstance(session, NativeSession)
        await session.subscribe("trades", [symbol])
        async for events in session.events():
            stretches.feed(events)
            if sum(map(len, stretches.rows.values())) >= 20 and stretches.proved:
                break
        assert session.counters["garbage"] > 0
        assert session.counters["unknown"] > 0
    ((connection, since_us),) = [(key[0], us) for key, us in stretches.since.items()]
    until_us = stretches.proved[connection]
    rows = [row for row in stretches.rows[connection, symbol] if since_us <= row.timestamp_us < until_us]
    assert plain(rows) == truth(market, name, symbol, since_us, until_us)
    assert stretches.disconnects == 0
