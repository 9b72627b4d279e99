"""A wrong clock of this machine records nothing before it is over, is named, and does not end collecting."""

import re
from collections.abc import AsyncIterator

import pytest
from alerting import Alerts, read_rules
from fixed_clock import unix_now_s
from prometheus_client import CollectorRegistry, generate_latest
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_ohlcv.records import CandleWrite, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.health import find_reasons
from fullon_ohlcv_service.metrics import DaemonMetrics
from fullon_orm import init_db
from fullon_simulator import SimulatedMarket, SymbolSpec

EPOCH_S = 1_767_225_600 + 7 * 3600
SPEED = 20.0
AHEAD_S = 300
BINANCE, KRAKEN = WantedSymbol("binance", "BTC/USDT", 1), WantedSymbol("kraken", "BTC/USD", 1)
VENUES = {one.exchange: [SymbolSpec(one.symbol, price=60_000.0, trades_per_day=20_000.0)] for one in (BINANCE, KRAKEN)}


@pytest.fixture
async def market(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    """A market whose clock is right; the environment points at it."""
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "60")
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.5")
    monkeypatch.setenv("FULLON_CLOCK", f"{EPOCH_S}@{unix_now_s()}x{SPEED}")
    async with SimulatedMarket(VENUES, seed=5) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(running, backtest_days=1)
        yield running


def set_ours_ahead(market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the clock of whatever is opened from now on be so far ahead of the market's."""
    clock = market.clock
    monkeypatch.setenv(
        "FULLON_CLOCK", f"{clock.exchange_us / 1e6 + seconds:.6f}@{clock.unix_us / 1e6:.6f}x{clock.speed}"
    )


async def newest_us(store: TimeseriesStore) -> int:
    """The end of the newest that anything is known of."""
    ends = [end for name in ("binance", "kraken") for end in (await store.known_beyond(name, 0)).values()]
    return max(ends, default=0)


async def is_true(store: TimeseriesStore, market: SimulatedMarket, minutes: int) -> bool:
    end_us = floor_minute_us(market.clock.now_us()) - 3 * MINUTE_US
    return (await audit(store, market, [BINANCE, KRAKEN], start_us=end_us - minutes * MINUTE_US, end_us=end_us)).sound


def store_of(daemon: OhlcvServiceDaemon) -> TimeseriesStore:
    assert daemon._runtime is not None
    return daemon._runtime.store


async def test_a_clock_that_is_ahead_covers_nothing_too_early_costs_no_connection_and_is_named(
    market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_ours_ahead(market, monkeypatch, AHEAD_S)
    async with running_daemon() as daemon:
        await eventually(lambda: daemon._condition.collecting is not None, "collecting")
        collecting = daemon._condition.collecting
        assert collecting is not None
        until_us = market.clock.now_us() + 4 * MINUTE_US

        async def goes_on_truly() -> bool:
            assert await newest_us(store_of(daemon)) <= market.clock.now_us()
            return market.clock.now_us() > until_us and await is_true(store_of(daemon), market, 30)

        await eventually(goes_on_truly, "what was published is stored")
        counts = {name: each for live in collecting.live for name, each in live.counts().items()}
        assert {name: each["disconnects"] for name, each in counts.items()} == {"binance": 0, "kraken": 0}
        reasons = find_reasons(daemon._condition)
        assert [one.exchange for one in reasons] == ["binance", "kraken"], reasons
        for one in reasons:
            told = re.match(rf"this machine's clock is (\d+) s ahead of {one.exchange}'s: ", one.reason)
            assert told is not None
            assert AHEAD_S - 30 <= int(told[1]) <= AHEAD_S, one
        registry = CollectorRegistry()
        registry.register(DaemonMetrics(daemon._condition, lambda: 0.0))
        alerts = Alerts([rule for rule in read_rules() if "clock_ahead" in rule.expression])
        for _ in range(10):
            alerts.take(generate_latest(registry).decode())
        assert alerts.firing() == {("OhlcvClockAhead", "binance"), ("OhlcvClockAhead", "kraken")}
    said = capfd.readouterr().err
    assert said.count("s ahead of kraken's") == said.count("s ahead of binance's") == 1


async def test_a_clock_that_is_behind_loses_nothing(market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    set_ours_ahead(market, monkeypatch, -AHEAD_S)
    async with running_daemon() as daemon:
        await eventually(lambda: daemon._condition.collecting is not None, "collecting")

        async def goes_on_truly() -> bool:
            assert await newest_us(store_of(daemon)) <= market.clock.now_us()
            return await is_true(store_of(daemon), market, 30)

        await eventually(goes_on_truly, "what was published is stored")
        assert "behind" in find_reasons(daemon._condition)[0].reason


async def test_what_was_recorded_too_early_is_taken_back_and_repaired(market: SimulatedMarket) -> None:
    now_us = floor_minute_us(market.clock.now_us())
    false = (now_us - 20 * MINUTE_US, now_us + 5 * MINUTE_US)
    async with TimeseriesStore.open(now_us=market.clock.now_us) as store:
        candles = await store.series("binance", "BTC/USDT", "candles1m")
        partial = (now_us - MINUTE_US, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
        await store.write_candles([CandleWrite(candles, [partial], [false], confirmed=[false])])
        trades, folded = (
            await store.series("kraken", "BTC/USD", "trades"),
            await store.series("kraken", "BTC/USD", "candles1m"),
        )
        await store.write_trades([TradeWrite(trades, (), [false], folded)])
        async with running_daemon():

            async def is_repaired() -> bool:
                return market.clock.now_us() > false[1] + 4 * MINUTE_US and await is_true(store, market, 30)

            await eventually(is_repaired, "what was false is true")
