"""Remove rows that are older than they are to be kept, every few minutes, also of symbols no longer collected.

How long is a setting of the service and, before that, one of each symbol in the database. What was removed is
unavailable in the ledger, and what is older than would be kept is not fetched in the first place.
"""

import asyncio

from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import Series
from fullon_ohlcv.retention import Keep
from fullon_ohlcv.timeframe import DAY_US, TRADES
from fullon_ohlcv_service.config.database_config import KeepDays, load_keep_days
from fullon_ohlcv_service.runtime import Runtime
from fullon_orm.errors import OrmError

EVERY_S = 600.0
"""Seconds of the clock between two passes."""


class Retention:
    """Keeps every series of the store to its age limit."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = get_component_logger("fullon.ohlcv.retention")
        self._last_logged = ""

    async def run(self) -> None:
        """Remove what is too old until cancelled."""
        while True:
            try:
                await self._runtime.store.compress_after(self._runtime.config.compress_after_days or None)
                await self.apply()
                self._last_logged = ""
            except (StorageError, OrmError) as error:
                if str(error) != self._last_logged:
                    self._last_logged = str(error)
                    self._log.warning("old rows not removed now", why=self._last_logged)
            await self._runtime.clock.sleep(EVERY_S)

    async def apply(self) -> int:
        """Remove what is too old now; return the number of rows removed one by one, whole chunks not counted."""
        store = self._runtime.store
        keeps = await self._keeps()
        await store.drop_old_chunks({series: keep for series, keep in keeps.items() if keep.rows_from_us})
        total = 0
        for series, keep in keeps.items():
            began_s = asyncio.get_running_loop().time()
            if removed := await store.remove_old(series, keep):
                self._log.info(
                    "removed old rows",
                    exchange=series.exchange,
                    symbol=series.symbol,
                    channel=series.channel,
                    rows=removed,
                )
                total += removed
            # Half of the time at most: collecting comes first.
            await asyncio.sleep(asyncio.get_running_loop().time() - began_s)
        return total

    async def _keeps(self) -> dict[Series, Keep]:
        rt = self._runtime
        config, now_us = rt.config, rt.clock.now_us()
        of_symbols = await load_keep_days()
        fed_by = {(line.wanted.exchange, line.wanted.symbol): line.kind for line in rt.board.lines()}
        keeps = {}
        for series in await rt.store.all_series():
            own = of_symbols.get((series.exchange, series.symbol), KeepDays(None, None))
            is_trades = series.channel == TRADES
            days = own.trades if is_trades else own.candles
            if days is None:
                days = config.keep_trades_days if is_trades else config.keep_candles_days
            from_us = now_us - days * DAY_US if days else 0
            # Trades are fetched as far back as candles are to be made of them, however briefly they are kept.
            kind = fed_by.get((series.exchange, series.symbol), "")
            is_fetched = kind == "candles" or (kind == "trades" and not is_trades)
            keeps[series] = Keep(from_us, from_us if is_fetched else 0)
        # Candles first: where they are not kept, neither are trades fetched for them.
        return dict(sorted(keeps.items(), key=lambda one: one[0].channel == TRADES))
