"""What was wanted once stays wanted: nothing slides out of sight while nobody collects it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from fixed_clock import unix_now_s
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock, ceil_minute_us, floor_minute_us
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.commands.session import Ledger, open_ledger
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.health import find_reasons
from fullon_ohlcv_service.runtime import open_runtime
from fullon_ohlcv_service.wanted_range import find_starts
from fullon_orm import DatabaseContext, init_db
from fullon_simulator import SimulatedMarket, SymbolSpec

EPOCH_S = 1_767_225_600 + 7 * 3600
SPEED = 20.0
BINANCE, KRAKEN = ("binance", "ADA/USDT"), ("kraken", "ADA/USD")
MarketAt = Callable[[float], AbstractAsyncContextManager[SimulatedMarket]]
VENUES = {
    "kraken": [SymbolSpec("ADA/USD", kind="quiet", price=0.5)],
    "binance": [SymbolSpec("ADA/USDT", kind="quiet")],
}


@pytest.fixture(autouse=True)
async def _databases(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "60")
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.5")
    await init_db()


@pytest.fixture
def market_at(monkeypatch: pytest.MonkeyPatch) -> MarketAt:
    """The same market as it is so many days after the epoch; the environment points at it."""

    @asynccontextmanager
    async def at(days: float) -> AsyncIterator[SimulatedMarket]:
        monkeypatch.setenv("FULLON_CLOCK", f"{EPOCH_S + days * 86_400}@{unix_now_s()}x{SPEED}")
        async with SimulatedMarket(VENUES, seed=5) as running:
            for name, value in running.environment().items():
                monkeypatch.setenv(name, value)
            yield running

    return at


def is_ready(daemon: OhlcvServiceDaemon) -> bool:
    return not find_reasons(daemon._condition)


def begins_us(ledger: Ledger, key: tuple[str, str]) -> int:
    return ledger.interval(ledger.wanted[key])[0]


async def missing(ledger: Ledger, key: tuple[str, str], interval: Interval) -> list[Interval]:
    series = await ledger.candles(*key)
    return (await ledger.store.gaps({series: interval}))[series]


async def test_what_was_missed_while_nothing_ran_for_longer_than_backtest_is_named_and_filled(
    market_at: MarketAt,
) -> None:
    async with market_at(0) as market:
        await seed_database(market, backtest_days=1)
        async with running_daemon() as daemon:
            await eventually(lambda: is_ready(daemon), "ready")
        async with open_ledger() as ledger:
            began_us = {key: begins_us(ledger, key) for key in (BINANCE, KRAKEN)}
    async with market_at(3) as market:
        async with open_ledger() as ledger:
            for key in (BINANCE, KRAKEN):
                wanted = ledger.interval(ledger.wanted[key])
                assert wanted[0] == began_us[key]
                gaps = await missing(ledger, key, wanted)
                assert sum(end_us - start_us for start_us, end_us in gaps) > 2.9 * DAY_US
        async with running_daemon() as daemon, open_ledger() as ledger:

            async def nothing_is_missing() -> bool:
                end_us = floor_minute_us(Clock.from_env().now_us()) - 5 * MINUTE_US
                return not [
                    gap
                    for key in (BINANCE, KRAKEN)
                    for gap in await missing(ledger, key, (begins_us(ledger, key), end_us))
                ]

            await eventually(nothing_is_missing, "three days filled")
            end_us = floor_minute_us(Clock.from_env().now_us()) - 6 * MINUTE_US
            found = await audit(ledger.store, market, ledger.wanted.values(), end_us=end_us)
            assert found.sound, found.examples
            assert found.minutes.total() > 2 * (4 * 1440 - 20)


async def test_from_now_on_means_from_the_first_sight_on_and_what_a_cut_leaves_is_repaired(market_at: MarketAt) -> None:
    async with market_at(0) as market:
        await seed_database(market, backtest_days=0)
        first_us = ceil_minute_us(Clock.from_env().now_us()) + MINUTE_US
        async with running_daemon() as daemon, open_ledger() as ledger:
            clock = Clock.from_env()
            await eventually(lambda: is_ready(daemon), "ready")
            fault = market.faults.begin("down", venue="binance")
            other = market.faults.begin("down", venue="kraken")
            await clock.sleep(150)
            market.faults.heal(fault)
            market.faults.heal(other)
            until_us = ceil_minute_us(clock.now_us())

            async def nothing_is_missing() -> bool:
                return not [
                    gap for key in (BINANCE, KRAKEN) for gap in await missing(ledger, key, (first_us, until_us))
                ]

            await eventually(nothing_is_missing, "what the cut left is repaired")
            await eventually(lambda: is_ready(daemon), "ready again")


async def test_the_start_is_fixed_when_a_symbol_is_first_seen_and_only_a_longer_backtest_moves_it(
    market_at: MarketAt,
) -> None:
    async def starts(backtest_days: int) -> dict[str, tuple[Series, int]]:
        async with open_runtime() as rt:
            wanted = [WantedSymbol(*BINANCE, backtest_days), WantedSymbol(*KRAKEN, backtest_days)]
            found = await find_starts(rt, wanted, "candles1m")
            return {one.exchange: each for one, each in found.items()}

    async with market_at(0):
        first = await starts(2)
    async with market_at(5):
        assert await starts(2) == first
        assert await starts(0) == first
        back_us = floor_minute_us(Clock.from_env().now_us()) - 9 * DAY_US
        for _, start_us in (await starts(9)).values():
            assert back_us <= start_us <= back_us + MINUTE_US
        async with open_runtime() as rt:
            trades = await rt.store.series(*KRAKEN, "trades")
            candles = await rt.store.series(*KRAKEN, "candles1m")
            since_us = await rt.store.wanted_since([trades, candles])
            assert since_us[trades] == since_us[candles]


async def test_a_symbol_that_was_removed_and_is_added_again_keeps_what_was_wanted_of_it(market_at: MarketAt) -> None:
    async with market_at(0) as market:
        await seed_database(market, backtest_days=1)
        async with running_daemon() as daemon:
            await eventually(lambda: is_ready(daemon), "ready")
        async with open_ledger() as ledger:
            begun = begins_us(ledger, KRAKEN)
    async with market_at(2) as market:
        async with DatabaseContext() as db:
            [gone] = [one for one in await db.symbols.get_by_exchange("kraken") if one.symbol == KRAKEN[1]]
            await db.symbols.delete_symbol(gone)
            await db.commit()
        async with open_ledger() as ledger:
            assert KRAKEN not in ledger.wanted
        await seed_database(market, backtest_days=1)
        async with running_daemon() as daemon, open_ledger() as ledger:
            assert begins_us(ledger, KRAKEN) == begun
            end_us = floor_minute_us(Clock.from_env().now_us())

            async def nothing_is_missing() -> bool:
                return not await missing(ledger, KRAKEN, (begun, end_us))

            await eventually(nothing_is_missing, "the time without it is filled")
