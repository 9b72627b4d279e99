"""Hyperliquid and BitMEX through the daemon: other conventions on the wire, the same truth in the store."""

from collections.abc import AsyncIterator

import pytest
from fixed_clock import set_market_clock
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.config.database_config import load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.demo import seed_database
from fullon_orm import init_db
from fullon_simulator import SimulatedMarket

SPEED = 20.0


@pytest.fixture
async def wide_market(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    set_market_clock(monkeypatch, SPEED)
    async with SimulatedMarket({"hyperliquid": 4, "bitmex": 3}, seed=5) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=1)
        yield market


async def test_history_and_live_of_both_venues_equal_the_markets_truth(wide_market: SimulatedMarket) -> None:
    clock = Clock.from_env()
    wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
    assert len(wanted) == 7
    async with running_daemon() as daemon:

        async def all_claimed() -> bool:
            runtime = daemon._runtime
            return runtime is not None and sum(
                len(runtime.claims.of(name, "candles1m")) for name in ("hyperliquid", "bitmex")
            ) == len(wanted)

        await eventually(all_claimed, "all seven symbols live")
        assert daemon._runtime is not None
        store = daemon._runtime.store
        live_from_us = floor_minute_us(clock.now_us()) + MINUTE_US
        end_us = live_from_us + 4 * MINUTE_US
        start_us = end_us - 20 * 60 * MINUTE_US
        ranges = {await store.series(one.exchange, one.symbol, "candles1m"): (start_us, end_us) for one in wanted}

        async def complete() -> bool:
            return clock.now_us() > end_us and not any((await store.gaps(ranges)).values())

        await eventually(complete, "history and four live minutes")
        found = await audit(store, wide_market, wanted, start_us=start_us, end_us=end_us)
        revisions = [row for series in ranges for row in await store.read_revisions(series, ranges[series])]
    assert found.sound, (str(found), found.examples, revisions[:5])
    assert found.minutes["traded"] > 100
    assert found.minutes["verified_empty"] > 0
