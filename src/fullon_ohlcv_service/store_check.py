"""Compare the rows of the store with their tally, slowly and again and again: what something else removed is found.

A day that does not add up is unknown from then on and history fills it again; what an exchange no longer serves of it
is unavailable.
"""

import asyncio
from collections.abc import Callable, Iterator

from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import Interval, Series, State
from fullon_ohlcv.tallies import REMOVED, DayDifference
from fullon_ohlcv.timeframe import DAY_US, TRADES
from fullon_ohlcv_service.gap_order import reach_us
from fullon_ohlcv_service.runtime import Runtime

CANDLES_DAYS = 32
TRADES_DAYS = 4
"""So many days of a series are compared at once."""
PAUSE_S = 0.5
"""The least time between two comparisons."""
IDLE_SHARE = 20
"""After a comparison nothing is compared for so many times as long as it took."""
EVERY_S = 3600.0
"""Seconds of the clock between two passes over the whole store."""


class StoreCheck:
    """Looks through the whole store for days from which rows have vanished."""

    def __init__(self, runtime: Runtime, on_gap: Callable[[str], None] = lambda exchange: None) -> None:
        """Build one; `on_gap(exchange)` is called when something is to be filled again."""
        self._runtime = runtime
        self._on_gap = on_gap
        self._log = get_component_logger("fullon.ohlcv.store_check")

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            try:
                await self.look()
            except StorageError as error:
                self._log.warning("store not compared now", why=str(error))
            await self._runtime.clock.sleep(EVERY_S)

    async def look(self, pause_s: float = PAUSE_S) -> list[DayDifference]:
        """Compare everything once; return the days that did not add up."""
        loop = asyncio.get_running_loop()
        found: list[DayDifference] = []
        for series in in_order(await self._runtime.store.all_series()):
            for interval in pieces(series, await self._runtime.store.tallied(series)):
                began_s = loop.time()
                found += [await self._settle(one) for one in await self._runtime.store.check_rows(series, interval)]
                await asyncio.sleep(max(pause_s, (loop.time() - began_s) * IDLE_SHARE if pause_s else 0.0))
        return found

    async def _settle(self, one: DayDifference) -> DayDifference:
        """Log one day, and name unavailable what its exchange no longer serves of it."""
        series = one.series
        reaches_us = self._reach_us(series)
        if one.state is State.UNKNOWN and reaches_us > one.interval[0]:
            lost = one.interval[0], min(one.interval[1], reaches_us)
            reason = f"{REMOVED}: {one.stored} of {one.written} rows were left, and the exchange no longer serves it"
            await self._runtime.store.mark_unavailable(series, lost, reason)
            if lost == one.interval:
                one = one._replace(state=State.UNAVAILABLE)
        self._log.warning(
            "something else has changed the rows of a day",
            exchange=series.exchange,
            symbol=series.symbol,
            channel=series.channel,
            day_us=one.interval[0],
            written=one.written,
            stored=one.stored,
            now=one.state.value,
        )
        if one.state is State.UNKNOWN:
            self._on_gap(series.exchange)
        return one

    def _reach_us(self, series: Series) -> int:
        """Return from when on the exchange serves a series; 0 where that is not known, or from its beginning on."""
        rt = self._runtime
        exchange = rt.exchanges.opened().get(series.exchange)
        if exchange is None or (series.channel != TRADES and exchange.traits.candles_from_trades):
            return 0
        now_us = rt.clock.now_us()
        if series.channel == TRADES:
            return 0 if exchange.traits.trade_history else now_us
        width_us = series.timeframe.width_us if series.timeframe is not None else None
        return reach_us(now_us, exchange.traits.candle_window, width_us or DAY_US) or 0


def in_order(every: list[Series]) -> list[Series]:
    """Return trades before the candles that may be derived from them."""
    return sorted(every, key=lambda series: (series.channel != TRADES, series[1:]))


def pieces(series: Series, interval: Interval | None) -> Iterator[Interval]:
    """Cut an interval of whole days into pieces that are compared at once."""
    if interval is not None:
        width_us = (TRADES_DAYS if series.channel == TRADES else CANDLES_DAYS) * DAY_US
        for at_us in range(*interval, width_us):
            yield at_us, min(interval[1], at_us + width_us)
