"""Compare this machine's clock with the exchanges', and take back what was recorded of a time that is still to come.

Collecting asks each exchange's own clock for what is over (`fullon_exchange.exchange_clock`), so a wrong clock here
covers nothing too early. What an exchange without a clock was thought to have published, or what a store holds from
before, is found by the one thing that gives it away: it is known of a time that the exchange has not reached.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.errors import ExchangeError, NotSupported
from fullon_exchange.interface import Exchange
from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageUnavailable
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.health import SYNCHRONISE, describe_offset, find_clocks_off
from fullon_ohlcv_service.runtime import Runtime

EVERY_S = 60.0
"""Seconds of the clock between two comparisons."""
FIRST_S = 1.0
SLACK_US = MINUTE_US
"""What is known of so short a time ahead is the inaccuracy of comparing clocks."""
SUSPECT_US = DAY_US
"""Since when a clock has been wrong is not recorded: so much before the present is read again too."""
BEYOND_MAX_US = 2 * DAY_US
"""A greater difference is an error of the exchange's clock or of ours that nobody can judge: nothing is taken back."""
WHY = "recorded before it was over"


class ClockGuard:
    """Watches the clocks of the exchanges that are open."""

    def __init__(self, runtime: Runtime, *, on_gap: Callable[[str], None] = lambda exchange: None) -> None:
        """Build one; `on_gap(exchange)` is called when something has become unknown again."""
        self._runtime = runtime
        self._on_gap = on_gap
        self._off: set[str] = set()
        self._log = get_component_logger("fullon.ohlcv.daemon")

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            opened = list(self._runtime.exchanges.opened().values())
            async with asyncio.TaskGroup() as group:
                for exchange in opened:
                    group.create_task(self._compare(exchange))
            self._log_differences()
            await self._runtime.clock.sleep(EVERY_S if opened else FIRST_S)

    async def _compare(self, exchange: Exchange) -> None:
        try:
            await self._look_at(exchange)
        except (ExchangeError, StorageUnavailable) as error:
            self._log.debug("clocks not compared now", exchange=exchange.name, why=str(error))

    async def _look_at(self, exchange: Exchange) -> None:
        with suppress(NotSupported):  # then its clock is ours
            await exchange.fetch_time()
        now_us = exchange.clock.latest_us()
        found = await self._runtime.store.known_beyond(exchange.name, now_us + SLACK_US)
        beyond_us = max(found.values(), default=now_us) - now_us
        if beyond_us > BEYOND_MAX_US:
            self._log.error(
                "more is recorded than can have happened; nothing is taken back",
                exchange=exchange.name,
                ahead_s=beyond_us // 1_000_000,
                remedy=f"compare this machine's clock with the exchange's: {SYNCHRONISE}",
            )
            return
        for series, end_us in found.items():
            await self._runtime.store.uncover(series, (floor_minute_us(now_us - SUSPECT_US), end_us), why=WHY)
        if found:
            self._log.warning(
                "a clock was ahead: what was recorded too early, and the day before it, is read again",
                exchange=exchange.name,
                series=len(found),
                ahead_s=beyond_us // 1_000_000,
            )
            self._on_gap(exchange.name)

    def _log_differences(self) -> None:
        """Log a clock that has come to be off, and one that is right again."""
        off = find_clocks_off(self._runtime.board)
        for name in sorted(off.keys() - self._off):
            self._log.error(describe_offset(name, off[name]))
        for name in sorted(self._off - off.keys()):
            self._log.info("this machine's clock agrees again", exchange=name)
        self._off = set(off)
