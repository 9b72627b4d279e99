"""The store, and what is counted of it: how long writes take, what was there already, what was corrected or doubted."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fullon_exchange.clock import MINUTE_US
from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import CandleWrite, Interval, Series, TradeWrite, WriteResult
from fullon_ohlcv.store import TimeseriesStore

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

SUSPECT = "suspect"
_log = get_component_logger("fullon.ohlcv.store")


def _ignore(series: Series, elapsed_s: float) -> None:
    """Be told of a write and do nothing."""


class MeasuredStore(TimeseriesStore):
    """A store that counts what it is given; it stores exactly what `TimeseriesStore` would."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.on_flush: Callable[[Series, float], None] = _ignore
        """Is told of every write that was committed: one of its series, and how many seconds it took."""
        self.duplicates: Counter[tuple[str, str]] = Counter()
        """By exchange and channel: rows that were stored already, those that were read again on purpose left out."""
        self.corrections: Counter[tuple[str, str]] = Counter()
        """By exchange and symbol: rows that were changed, added or withdrawn when they were read again."""
        self.suspect_minutes: Counter[tuple[str, str]] = Counter()
        """By exchange and symbol: minutes that were taken back because their stream had gone wrong."""
        self.database_errors: Counter[str] = Counter()
        """By class, one of `fullon_ohlcv.errors.KINDS`: calls that failed."""

    @asynccontextmanager
    async def connection(self, action: str) -> "AsyncIterator[PoolConnectionProxy[Record]]":
        """Lend a connection as `TimeseriesStore.connection`."""
        try:
            async with super().connection(action) as connection:
                yield connection
        except StorageError as error:
            self.database_errors[error.kind] += 1
            raise

    async def write_candles(self, writes: Sequence[CandleWrite], *, why: str = "") -> WriteResult:
        """Store candles as `TimeseriesStore.write_candles`."""
        began_s = time.perf_counter()
        result = await super().write_candles(writes, why=why)
        self._count([write.series for write in writes], result, time.perf_counter() - began_s, why)
        return result

    async def write_trades(self, writes: Sequence[TradeWrite], *, why: str = "") -> WriteResult:
        """Store trades as `TimeseriesStore.write_trades`."""
        began_s = time.perf_counter()
        result = await super().write_trades(writes, why=why)
        self._count([write.series for write in writes], result, time.perf_counter() - began_s, why)
        return result

    async def uncover(self, series: Series, interval: Interval, *, why: str = SUSPECT) -> None:
        """Take back what is known of an interval as `TimeseriesStore.uncover`."""
        await super().uncover(series, interval, why=why)
        if why == SUSPECT:
            minutes = -(-(interval[1] - interval[0]) // MINUTE_US)
            self.suspect_minutes[series.exchange, series.symbol] += max(0, minutes)

    def _count(self, written: Sequence[Series], result: WriteResult, elapsed_s: float, why: str) -> None:
        """Count one write; all of it is of one exchange and channel, and what is read again is of one series."""
        if not written:
            return
        series = written[0]
        self.on_flush(series, elapsed_s)
        _log.debug(
            "stored", exchange=series.exchange, channel=series.channel, series=len(written), inserted=result.inserted,
            updated=result.updated, unchanged=result.unchanged, elapsed_ms=round(elapsed_s * 1000, 1),
        )  # fmt: skip
        if why:
            self.corrections[series.exchange, series.symbol] += result.inserted + result.updated
        else:
            self.duplicates[series.exchange, series.channel] += result.unchanged
