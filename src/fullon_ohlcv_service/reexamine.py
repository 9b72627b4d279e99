"""Ask again, ever more rarely, for what an exchange did not serve although it should have.

Candles beyond the exchange's retention stay unavailable. A row that could not be read or a candle that was not
published may be there an hour later, and an exchange that was ill may have been wrong about when a market began: such
stretches become gaps again, and history decides anew. So do those before a start that an exchange refused as too old.
"""

from collections.abc import Collection
from dataclasses import dataclass

from fullon_exchange.clock import floor_minute_us
from fullon_exchange.history.reasons import LISTED_LATER, NOT_PUBLISHED, START_IGNORED, TOO_OLD, UNREADABLE
from fullon_log import get_component_logger
from fullon_ohlcv.records import Interval, Series, State
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.history import DAY_US, UNUSABLE, HistoricCollector
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.wanted_range import find_starts

EVERY_S = 300.0
"""Seconds of the clock between two looks at the ledger."""
FIRST_US = 600_000_000
LAST_US = DAY_US
"""The first and the longest time between two questions about the same stretch."""
DOUBTFUL = (LISTED_LATER, NOT_PUBLISHED, START_IGNORED, TOO_OLD, UNREADABLE, UNUSABLE)


@dataclass(slots=True)
class _Doubt:
    due_us: int
    pause_us: int


class Reexaminer:
    """Makes doubtful stretches gaps again when their time has come."""

    def __init__(self, runtime: Runtime, historic: Collection[HistoricCollector]) -> None:
        self._runtime = runtime
        self._historic = historic
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._doubts: dict[tuple[Series, int], _Doubt] = {}
        self._log = get_component_logger("fullon.ohlcv.historic")

    async def run(self) -> None:
        """Look until cancelled; what is wanted is told with `want()`."""
        while True:
            await self._runtime.clock.sleep(EVERY_S)
            for name in list(self._wanted):
                await self._look(name)

    async def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make the symbols that are looked at exactly these."""
        self._wanted = by_exchange(wanted)

    async def _look(self, name: str) -> None:
        rt = self._runtime
        exchange = await rt.exchanges.get(name)
        now_us = exchange.clock.now_us()
        for collector in self._historic:
            if not collector.serves(exchange):
                continue
            end_us = floor_minute_us(now_us)
            starts = await find_starts(rt, self._wanted[name], collector.channel)
            ranges = {series: (min(end_us, start_us), end_us) for series, start_us in starts.values()}
            asked = 0
            for series, runs in (await rt.store.coverage_maps(ranges)).items():
                for run in runs:
                    if run.state is State.UNAVAILABLE and (run.reason or "").startswith(DOUBTFUL):
                        asked += await self._ask_again(series, run.interval, now_us)
            if asked:
                self._log.info("asking again for what was not served", exchange=name, stretches=asked)
                collector.wake(name)

    async def _ask_again(self, series: Series, interval: Interval, now_us: int) -> bool:
        key = (series, interval[0])
        doubt = self._doubts.setdefault(key, _Doubt(now_us + FIRST_US, FIRST_US))
        if doubt.due_us > now_us:
            return False
        doubt.pause_us = min(LAST_US, doubt.pause_us * 2)
        doubt.due_us = now_us + doubt.pause_us
        await self._runtime.store.uncover(series, interval, why="asked for again")
        return True
