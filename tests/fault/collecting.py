"""A daemon in this process behind two fault proxies, on a simulated market, and what its store says meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from fault.proxy import FaultProxy

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.audit import Audit, audit
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.history import DAY_US
from fullon_simulator import SimulatedMarket

PATIENCE_S = 90.0
TASKS_PER_LINK = 3
MARGIN_US = 120 * MINUTE_US
"""The back-fill's beginning moves on with the clock: what is compared begins so much later."""


@dataclass
class Collecting:
    """What a test of an outage works with. The store is reached past the proxies."""

    market: SimulatedMarket
    clock: Clock
    store: TimeseriesStore
    wanted: set[WantedSymbol]
    postgres: FaultProxy
    redis: FaultProxy
    start_us: int

    async def audit(self, minutes: int | None = None) -> Audit:
        """Compare the store with the market up to the minute before the last: all of it, or only so many minutes."""
        end_us = floor_minute_us(self.clock.now_us()) - MINUTE_US
        start_us = self.start_us if minutes is None else end_us - minutes * MINUTE_US
        return await audit(self.store, self.market, self.wanted, start_us=start_us, end_us=end_us)

    async def is_true(self) -> None:
        """Fail unless all that is stored and claimed of the last minutes is right, whatever is unknown."""
        found = await self.audit(minutes=15)
        assert found.true, (str(found), found.examples)

    async def is_repaired(self, after: str) -> None:
        """Wait until the store equals the market and nothing is unknown; fail with what differs."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not (found := await self.audit()).sound:
            assert time.monotonic() < give_up_s, f"not repaired after {after}: {found} {found.examples}"
            await asyncio.sleep(0.1)

    def tasks(self) -> int:
        """Return how many tasks there are besides those of the proxies."""
        return len(asyncio.all_tasks()) - TASKS_PER_LINK * (self.postgres.links + self.redis.links)

    async def pass_minutes(self, count: float) -> None:
        """Let minutes of the market pass; the ledger is true all the while."""
        until_us = self.clock.now_us() + round(count * MINUTE_US)
        while self.clock.now_us() < until_us:
            await self.is_true()
            await self.clock.sleep(5.0)


@asynccontextmanager
async def proxied(market: SimulatedMarket, clock: Clock) -> AsyncIterator[Collecting]:
    """Point what is started from here on at a proxy before PostgreSQL and one before Redis."""
    wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
    async with (
        TimeseriesStore.open(now_us=clock.now_us) as store,
        FaultProxy.postgres() as postgres,
        FaultProxy.redis() as redis,
    ):
        start_us = floor_minute_us(clock.now_us() - DAY_US) + MARGIN_US
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (postgres.environment() | redis.environment()).items():
                patch.setenv(name, value)
            yield Collecting(market, clock, store, wanted, postgres, redis, start_us)
