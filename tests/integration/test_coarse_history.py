"""Coarser candles where an exchange no longer serves those of a minute: Hyperliquid keeps 5,000 of each timeframe."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import pytest
from fixed_clock import set_market_clock

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.records import CoverageRun, Interval, State
from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_orm import init_db
from fullon_simulator import SimulatedMarket, SymbolSpec

SYMBOL = "BTC/USDC:USDC"
DAYS = 300
SERVED = 5_000
HELD_MINUTES = {"5m": 5, "15m": 15, "1h": 60, "4h": 240}
SPEED = 5.0


@pytest.fixture
async def perpetual(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    # Minutes end meanwhile, no bucket of any other timeframe.
    set_market_clock(monkeypatch, SPEED)
    spec = SymbolSpec(SYMBOL, trades_per_day=400, price=60_000.0)
    async with SimulatedMarket({"hyperliquid": [spec]}, seed=5) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=DAYS)
        yield market


def as_datetime(timestamp_us: int) -> datetime:
    return datetime.fromtimestamp(timestamp_us / 1e6, UTC)


def as_us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def intervals_of(runs: list[CoverageRun], state: State) -> list[Interval]:
    return [run.interval for run in runs if run.state is state]


async def read_ledger(store: TimeseriesStore, asked: Interval) -> Mapping[str, list[CoverageRun]]:
    ledger: dict[str, list[CoverageRun]] = {}
    for timeframe in ("1m", *HELD_MINUTES, "1d"):
        series = await store.find_series("hyperliquid", SYMBOL, f"candles{timeframe}")
        ledger[timeframe] = [] if series is None else await store.coverage_intervals(series, asked)
    return ledger


async def test_what_minutes_do_not_reach_is_there_in_the_finest_timeframe_that_does(
    perpetual: SimulatedMarket,
) -> None:
    now_us = Clock.from_env().now_us()
    asked = (floor_minute_us(now_us) - DAYS * DAY_US, floor_minute_us(now_us))
    assert sum((await HistoricOHLCVCollector().start_collection()).values()) > SERVED
    requests = perpetual.requests("hyperliquid").paths["/info"]
    async with TimeseriesStore.open(test=OhlcvServiceConfig.from_env().test_mode) as store:
        ledger = await read_ledger(store, asked)
        ((lost_from_us, lost_until_us),) = intervals_of(ledger["1m"], State.UNAVAILABLE)
        assert (lost_from_us, asked[1]) == (asked[0], intervals_of(ledger["1m"], State.COVERED)[0][1])
        assert abs(asked[1] - lost_until_us - SERVED * MINUTE_US) <= 2 * MINUTE_US
        assert [run.reason.split(":")[0] for run in ledger["1m"] if run.reason] == ["retention"]

        until_us = lost_until_us
        for timeframe, minutes in HELD_MINUTES.items():
            ((from_us, to_us),) = intervals_of(ledger[timeframe], State.COVERED)
            assert 0 <= to_us - until_us < minutes * MINUTE_US, "it meets the finer one, in a whole bucket"
            until_us = from_us
            series = await store.series("hyperliquid", SYMBOL, f"candles{timeframe}")
            truth = perpetual.truth("hyperliquid", SYMBOL).candles(from_us, to_us, minutes * 60)
            rows = [row[:6] for row in await store.read_candles(series, (from_us, to_us))]
            assert rows == [tuple(candle)[:6] for candle in truth]
            assert len(rows) > 100
        assert until_us <= asked[0], "nothing of the 300 days is left out"
        assert ledger["1d"] == []

        await HistoricOHLCVCollector().start_collection()
        asked_again = perpetual.requests("hyperliquid").paths["/info"] - requests
        assert asked_again <= 5, "the clock, the list of markets, the minutes that have ended since"
        assert await read_ledger(store, asked) == ledger
    async with TimeseriesRepository("hyperliquid", SYMBOL) as repo:
        read = await repo.fetch_ohlcv(4, "hours", as_datetime(asked[0]), as_datetime(asked[1]))
    first_us = asked[0] - asked[0] % (240 * MINUTE_US)
    truth = perpetual.truth("hyperliquid", SYMBOL).candles(first_us, asked[1], 14_400)
    assert [(as_us(row[0]), *row[1:5]) for row in read] == [candle[:5] for candle in truth]
    assert [row[5] for row in read] == pytest.approx([candle.volume for candle in truth])
