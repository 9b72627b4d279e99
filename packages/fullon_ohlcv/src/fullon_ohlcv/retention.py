"""Remove rows that are too old to keep: rows, tallies and ledger of a bounded span in one transaction.

What is removed is *unavailable: removed by retention*: it is accounted for, it is not wanted again, and nothing is
derived from it. Candles that were folded from trades stay when the trades go, and trades go only once the candles of
their minutes are accounted for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from fullon_ohlcv.bounds import moment
from fullon_ohlcv.intervals import subtract
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv.statements import statement, timescale
from fullon_ohlcv.tallies import RETENTION, day_of, interval_of
from fullon_ohlcv.timeframe import DAY_US, TRADES, to_us

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

BATCH_ROWS = 50_000
"""One transaction removes whole days of about so many rows, and at least one day."""


class Keep(NamedTuple):
    """What need not be kept of a series: its rows before `rows_from_us`; and what is missing before
    `missing_from_us` need not be had.
    """

    rows_from_us: int
    missing_from_us: int = 0

    def whole(self, series: Series) -> "Keep":
        """Return the same for whole UTC days and whole candles, none of them younger."""
        rows_from_us, missing_from_us = (max(0, at_us) // DAY_US * DAY_US for at_us in self)
        if series.timeframe is not None:
            rows_from_us, missing_from_us = map(series.timeframe.floor, (rows_from_us, missing_from_us))
        return Keep(max(0, rows_from_us), max(0, missing_from_us))


async def find_removable(connection: "AnyConnection", series: Series, before_us: int) -> list[Interval]:
    """Return what may be removed before `before_us`, oldest first: one interval for each transaction."""
    if not await connection.fetchval(statement("has_removable"), series.series_id, before_us, day_of(before_us)):
        return []
    blocked = await _blocked(connection, series, before_us)
    days = await connection.fetch(statement("tallied_rows"), series.series_id, day_of(before_us))
    rows = {interval_of(day)[0]: count for day, count in days}
    return list(in_batches(subtract([(0, before_us)], blocked), rows))


def in_batches(spans: Sequence[Interval], rows: Mapping[int, int]) -> Iterator[Interval]:
    """Cut spans between days, so that each piece has few rows (pure); `rows` are those of each day, by its start."""
    days = sorted(rows)
    for start_us, end_us in spans:
        at_us, count = start_us, 0
        for day_us in days:
            if not start_us <= day_us < end_us:
                continue
            if count and count + rows[day_us] > BATCH_ROWS:
                yield at_us, day_us
                at_us, count = day_us, 0
            count += rows[day_us]
        yield at_us, end_us


async def remove_span(connection: "AnyConnection", series: Series, span: Interval) -> int:
    """Remove and record what is stored of a span; return the number of rows. The caller holds the series' lock."""
    bounds = [moment(at_us) for at_us in span]
    await connection.execute(statement("say_why"), RETENTION)
    await record_removed(connection, [series.series_id], span)
    if series.channel == TRADES:
        status = await connection.execute(statement("remove_trades_between"), series.series_id, *bounds)
        return int(status.split()[-1])
    await connection.execute(statement("remove_old_revisions"), series.series_id, *bounds)
    days = await connection.fetch(statement("remove_candles_between"), series.series_id, *bounds)
    return sum(row["removed"] for row in days)


async def record_removed(connection: "AnyConnection", series_ids: Sequence[int], span: Interval) -> None:
    """Call unavailable what was covered of a span whose rows are removed in the same transaction."""
    await connection.execute(statement("remove_tallies"), series_ids, day_of(span[0]), day_of(span[1]))
    await connection.execute(statement("mark_removed"), series_ids, *span, RETENTION)
    await connection.execute(statement("forget_removed"), series_ids, *span)


async def find_chunk_end(
    connection: "AnyConnection", table: str, keeps: Mapping[Series, Keep], others: Collection[Series]
) -> int | None:
    """Return up to when whole chunks of a hypertable may go, of every series; None where there are none, or no chunks.

    Of the `others` everything is kept.
    """
    if not await connection.fetchval(timescale("is_used")):
        return None
    limits = []
    for series, keep in keeps.items():
        blocked = await _blocked(connection, series, keep.rows_from_us)
        limits.append(min([keep.rows_from_us, *(start_us for start_us, _ in blocked)]))
    firsts = await connection.fetchval(statement("first_tallied"), [one.series_id for one in others])
    if firsts is not None:
        limits.append(interval_of(firsts)[0])
    if not limits:
        return None
    end: datetime | None = await connection.fetchval(timescale("last_chunk_end"), table, moment(min(limits)))
    return None if end is None else to_us(end)


async def _blocked(connection: "AnyConnection", series: Series, before_us: int) -> list[Interval]:
    """Return the days of trades that candles are still to be made of."""
    if series.channel != TRADES:
        return []
    spans = await connection.fetch(statement("underived"), series.series_id, before_us)
    return [(start_us // DAY_US * DAY_US, -(-end_us // DAY_US) * DAY_US) for start_us, end_us in spans]
