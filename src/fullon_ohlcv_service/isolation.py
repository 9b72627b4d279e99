"""A write of many series that one of them makes impossible is done without that one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageDefect
from fullon_ohlcv.records import CandleWrite, Series, TradeWrite, WriteResult

Write = TypeVar("Write", CandleWrite, TradeWrite)


async def write_isolated(
    write: Callable[[Sequence[Write]], Awaitable[WriteResult]], writes: Sequence[Write]
) -> tuple[WriteResult, dict[Series, StorageDefect]]:
    """Write all in one transaction; where a defect prevents that, halve until only those that have it are left out.

    Return what was stored, and the series of which nothing was, each with its defect.

    Raises:
        StorageError: what is no defect; what has been written by then may be written again.
    """
    try:
        return await write(writes), {}
    except StorageDefect as error:
        if len(writes) <= 1:
            return WriteResult(), {one.series: error for one in writes}
    middle = len(writes) // 2
    first, failed = await write_isolated(write, writes[:middle])
    second, also_failed = await write_isolated(write, writes[middle:])
    result = WriteResult(
        first.inserted + second.inserted,
        first.updated + second.updated,
        first.unchanged + second.unchanged,
        first.derived + second.derived,
        first.rejected + second.rejected,
    )
    return result, failed | also_failed


class DefectLog:
    """Logs a defect once per series, and again when it changes or returns after a success."""

    def __init__(self, component: str) -> None:
        self._log = get_component_logger(component)
        self._last_logged: dict[Series, str] = {}

    def report(self, series: Series, error: StorageDefect) -> None:
        """Log the defect at level error unless it was logged already."""
        if self._last_logged.get(series) != str(error):
            self._last_logged[series] = str(error)
            self._log.error(
                "not stored because of a defect; its minutes are gaps, other series go on",
                exchange=series.exchange,
                symbol=series.symbol,
                channel=series.channel,
                why=str(error),
            )

    def forget(self, series: Series) -> None:
        """Take note that the series was stored."""
        self._last_logged.pop(series, None)
