"""One batch into one transaction: rows, derived candles and coverage together.

Every writer first locks the coverage rows of its series, in the order of their ids: two writers never deadlock, and
what is read after that (which rows are stored, what is covered) stays true until the commit. Rows that lie where a
series holds nothing yet are copied straight into the table; the others go through a staging table and one INSERT.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING

from fullon_ohlcv.batches import SAME_TRADE_US, Batch, CandleBatch, Hull, TradeBatch
from fullon_ohlcv.bounds import Span, bounds, close_together, moment
from fullon_ohlcv.copy_format import CANDLE_COLUMNS, TRADE_COLUMNS, copy_document
from fullon_ohlcv.errors import RowsLost, StorageContended, StorageError
from fullon_ohlcv.intervals import subtract
from fullon_ohlcv.ledger import Wanted, read_gaps, read_runs
from fullon_ohlcv.records import Interval, Series, State, WriteResult
from fullon_ohlcv.statements import statement
from fullon_ohlcv.tallies import REMOVED, RETENTION, DayDifference, Tally, day_of, read_differences, settle
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection = Connection[Record] | PoolConnectionProxy[Record]

Spans = Sequence[Span]


async def store_candles(connection: "AnyConnection", batch: CandleBatch) -> WriteResult:
    """Store the batch; the caller holds the transaction open and commits."""
    await lock_series(connection, batch.series)
    result = WriteResult(unchanged=batch.repeated, rejected=batch.rejected, void=batch.void)
    occupied = await _occupied_by_candles(connection, batch.hulls())
    fresh = [row for series_id, rows in batch.rows.items() if series_id not in occupied for row in rows.values()]
    doubtful = [row for series_id in occupied for row in batch.rows[series_id].values()]
    tally = Tally()
    if fresh:
        await _copy(connection, "candles", CANDLE_COLUMNS, fresh)
        for series_id, rows in batch.rows.items():
            if series_id not in occupied:
                tally.add_rows(series_id, rows)
    result.inserted = len(fresh)
    if doubtful:
        await _copy(connection, "staged_candles", CANDLE_COLUMNS, doubtful)
        near = [hull for hull in batch.hulls() if hull.series_id in occupied]
        await _merge_candles(connection, near, tally, result)
        result.unchanged += len(fresh) + len(doubtful) - result.inserted - result.updated
    surplus = await _surplus_candles(connection, batch, occupied)
    await _remove_candles(connection, surplus, tally)
    result.updated += len(surplus)
    await tally.store(connection)
    await record_coverage(connection, batch)
    return result


async def store_trades(connection: "AnyConnection", batch: TradeBatch) -> WriteResult:
    """Store the batch and derive its candles; the caller holds the transaction open and commits."""
    await lock_series(connection, {*batch.series, *batch.candles.values()})
    result = WriteResult(unchanged=batch.repeated, rejected=batch.rejected, void=batch.void)
    occupied = await _occupied_by_trades(connection, batch.hulls())
    tally = Tally()
    fresh, doubtful, touched = _apart(batch, occupied, tally)
    if fresh:
        await _copy(connection, "trades", TRADE_COLUMNS, fresh)
    result.inserted = len(fresh)
    if doubtful:
        await _copy(connection, "staged_trades", TRADE_COLUMNS, doubtful)
        near = [hull for hull in batch.hulls() if hull.series_id in occupied]
        for series_id, minute_us, inserted in await _merge_trades(connection, near):
            touched.append((series_id, minute_us))
            tally.add(series_id, day_of(minute_us), inserted)
            result.inserted += inserted
        result.unchanged += len(fresh) + len(doubtful) - result.inserted
    derived = await _derive(connection, batch, touched, tally, result)
    await tally.store(connection)
    batch.covered += derived
    await record_coverage(connection, batch)
    return result


async def lock_series(connection: "AnyConnection", series_ids: Collection[int]) -> None:
    """Exclude other writers of these series until the transaction ends."""
    found = await connection.fetch(statement("lock_series"), list(series_ids))
    if len(found) != len(series_ids):
        missing = sorted(set(series_ids) - {row[0] for row in found})
        raise StorageError(f"series {missing[:5]} are not in this database; ask its own store for the series")


async def lock_with_derived(connection: "AnyConnection", series: Series) -> int | None:
    """Exclude other writers of the series and of the candles derived from it; return the id of these."""
    candles_id: int | None = await connection.fetchval(statement("derived_candles"), series.series_id)
    await lock_series(connection, {series.series_id, *([candles_id] if candles_id else [])})
    if candles_id != await connection.fetchval(statement("derived_candles"), series.series_id):
        raise StorageContended(f"{series} began to derive candles at this moment; the same call works now")
    return candles_id


async def uncover_span(
    connection: "AnyConnection", series_id: int, candles_id: int | None, start_us: int, end_us: int
) -> None:
    """Make the span unknown, and with it the candles that were derived from it.

    Candles stay that were made of more trades than are stored now: they could not be made again. What retention has
    removed stays unavailable.
    """
    freed = [(series_id, start_us, end_us)]
    if candles_id is not None:
        await _undo_derived(connection, series_id, candles_id, (start_us, end_us))
        freed.append((candles_id, *minutes_around(start_us, end_us)))
    await connection.execute(statement("uncover"), series_id, start_us, end_us)
    await connection.execute(statement("free_unavailable"), *_columns(freed, 3), RETENTION)


async def _undo_derived(connection: "AnyConnection", trades_id: int, candles_id: int, interval: Interval) -> None:
    lost = [tuple(row) for row in await connection.fetch(statement("derived_minutes"), trades_id, *interval)]
    if not lost:
        return
    span = moment(lost[0][0]), moment(lost[-1][1])
    lacking = await connection.fetch(statement("lacking_candles"), trades_id, candles_id, *span)
    lost = subtract(lost, [(minute_us, minute_us + MINUTE_US) for (minute_us,) in lacking])
    tally = Tally()
    for first_us, last_us in lost:
        span = moment(first_us), moment(last_us)
        for day, removed in await connection.fetch(statement("remove_candles_between"), candles_id, *span):
            tally.add(candles_id, day, -removed)
    if lost:
        await tally.store(connection)
        await connection.execute(statement("uncover_candles"), candles_id, *_columns(lost, 2))


async def settle_series(connection: "AnyConnection", series: Series, span: Interval) -> list[DayDifference]:
    """Make the days of a span unknown that do not add up, or unavailable; make candles again where their trades are.

    Locks the series, and the trades that it is derived from.
    """
    found = await connection.fetchrow(statement("deriving_trades"), series.series_id)
    trades = None if found is None else Series(*found)
    await lock_series(connection, {series.series_id, *([trades.series_id] if trades else [])})
    settled = await settle(connection, await read_differences(connection, series, span))
    if trades is not None:
        for one in settled:
            await settle(connection, await read_differences(connection, trades, one.interval))
        await _derive_again(connection, trades, series, settled)
    return [await _give_up(connection, one, trades) for one in settled]


async def _derive_again(
    connection: "AnyConnection", trades: Series, candles: Series, days: Sequence[DayDifference]
) -> None:
    """Fold the minutes of days that lack candles wherever the trades are all there."""
    due = []
    for one in days:
        spans = await connection.fetch(statement("foldable"), trades.series_id, candles.series_id, *one.interval)
        due += [(trades.series_id, start_us, end_us) for start_us, end_us in spans]
    if due:
        tally = Tally()
        await _fold(connection, {trades.series_id: candles.series_id}, due, tally)
        await tally.store(connection)
        covered = [(candles.series_id, start_us, end_us) for _, start_us, end_us in due]
        await connection.execute(statement("cover"), *_columns(covered, 3), *_columns([], 3))


async def _give_up(connection: "AnyConnection", one: DayDifference, trades: Series | None) -> DayDifference:
    """Name unavailable what nothing can bring back of a day; return it with what the ledger says of it now."""
    series_id = one.series.series_id
    spans: list[Interval] = []
    if one.state is State.UNAVAILABLE:
        spans = [one.interval]
    elif trades is not None:
        rows = await connection.fetch(statement("underivable"), trades.series_id, *one.interval, RETENTION)
        spans = [(start_us, end_us) for start_us, end_us in rows]
    if spans:
        await mark_spans(
            connection,
            [(series_id, *span) for span in spans],
            f"{REMOVED}: {one.stored} of {one.written} rows were left",
        )
    [gaps] = (await read_gaps(connection, Wanted({one.series: one.interval}))).values()
    if gaps:
        return one._replace(state=State.UNKNOWN)
    [runs] = (await read_runs(connection, Wanted({one.series: one.interval}))).values()
    lost = any(run.state is State.UNAVAILABLE for run in runs)
    return one._replace(state=State.UNAVAILABLE if lost else State.COVERED)


async def record_coverage(connection: "AnyConnection", batch: Batch) -> None:
    """Write what the batch says of the ledger: covered first, for covered wins."""
    if batch.covered or batch.confirmed:
        await connection.execute(statement("cover"), *_columns(batch.covered, 3), *_columns(batch.confirmed, 3))
    by_reason: dict[str, list[tuple[int, int, int]]] = {}
    for series_id, reason, start_us, end_us in batch.unavailable:
        by_reason.setdefault(reason, []).append((series_id, start_us, end_us))
        candles_id = batch.candles.get(series_id) if isinstance(batch, TradeBatch) else None
        if candles_id is not None:
            by_reason[reason].append((candles_id, *minutes_around(start_us, end_us)))
    for reason, spans in by_reason.items():
        await mark_spans(connection, spans, reason)


async def doubt(connection: "AnyConnection", batch: Batch) -> None:
    """Let nothing of what the batch covers be confirmed."""
    if batch.covered:
        await connection.execute(statement("doubt"), *_columns(batch.covered, 3))


async def mark_spans(connection: "AnyConnection", spans: Spans, reason: str) -> None:
    """Make what is not covered of these spans unavailable for this reason alone."""
    columns = _columns(spans, 3)
    await connection.execute(statement("free_unavailable"), *columns, reason)
    await connection.execute(statement("mark_unavailable"), *columns, reason)


def minutes_around(start_us: int, end_us: int) -> tuple[int, int]:
    """Return the interval of whole minutes around `[start_us, end_us)`."""
    return start_us - start_us % MINUTE_US, -(-end_us // MINUTE_US) * MINUTE_US


async def _derive(
    connection: "AnyConnection",
    batch: TradeBatch,
    touched: Sequence[tuple[int, int]],
    tally: Tally,
    result: WriteResult,
) -> list[Span]:
    """Fold the minutes that are due; return the spans that the candle series are covered for.

    Minutes that lack trades become unknown, unless the batch covers them itself.
    """
    pairs = batch.candles
    if not pairs:
        return []
    columns = list(pairs), list(pairs.values()), *_columns(batch.covered, 3), *_columns(touched, 2)
    rows = await connection.fetch(statement("minutes_to_derive"), *columns, RETENTION)
    due: list[Span] = [(row["trades_id"], row["start_us"], row["end_us"]) for row in rows]
    new = {row["trades_id"] for row in rows if row["is_new"]}
    if new:
        await tally.store(connection)
    for trades_id in new:
        due = await _leave_out_losses(connection, batch, trades_id, due)
    changed, lacking = await _fold(connection, pairs, due, tally, new)
    result.derived += changed
    for trades_id, minute_us in lacking:
        await connection.execute(statement("uncover"), trades_id, minute_us, minute_us + MINUTE_US)
    return [(pairs[trades_id], start_us, end_us) for trades_id, start_us, end_us in due]


async def _fold(
    connection: "AnyConnection", pairs: Mapping[int, int], due: Spans, tally: Tally, new: Collection[int] = ()
) -> tuple[int, list[tuple[int, int]]]:
    """Fold spans of trades; return the number of candles that changed, and the minutes that lack trades.

    `pairs` are the candles by their trades; those of `new` trades were not derived from them until now.
    """
    derived = 0
    lacking: list[tuple[int, int]] = []
    for group in close_together(due):
        ids, starts_us, ends_us = _columns(group, 3)
        candles_ids = [pairs[trades_id] for trades_id in ids]
        [(changed, written, surplus_ids, surplus_us, lacks, added)] = await connection.fetch(
            statement("fold_trades"), ids, *bounds(group), candles_ids, starts_us, ends_us, list(new)
        )
        if written != changed:
            raise RowsLost("candles", expected=changed, written=written)
        for series_id, day, count in added:
            tally.add(series_id, day, count)
        surplus = list(zip(surplus_ids or (), surplus_us or (), strict=True))
        await _remove_candles(connection, surplus, tally)
        derived += changed + len(surplus)
        lacking += [(trades_id, minute_us) for trades_id, minute_us in lacks]
    return derived, lacking


async def _leave_out_losses(
    connection: "AnyConnection", batch: TradeBatch, trades_id: int, due: Sequence[Span]
) -> list[Span]:
    """Return what is due without the days of one series of trades that lack rows, unless the batch covers them."""
    spans = [(start_us, end_us) for series_id, start_us, end_us in due if series_id == trades_id]
    days = spans[0][0] // DAY_US * DAY_US, -(-spans[-1][1] // DAY_US) * DAY_US
    found = await read_differences(connection, batch.series[trades_id], days)
    await settle(connection, found)
    claimed = [(start_us, end_us) for series_id, start_us, end_us in batch.covered if series_id == trades_id]
    lost = [minutes_around(*span) for span in subtract([one.interval for one in found], claimed)]
    others = [span for span in due if span[0] != trades_id]
    return others + [(trades_id, start_us, end_us) for start_us, end_us in subtract(spans, lost)]


async def _occupied_by_candles(connection: "AnyConnection", hulls: Sequence[Hull]) -> set[int]:
    """Return the series that hold a candle inside their hull."""
    occupied: set[int] = set()
    for group in close_together(hulls):
        rows = await connection.fetch(statement("occupied_candles"), *_columns(group, 3), *bounds(group))
        occupied |= {row[0] for row in rows}
    return occupied


async def _occupied_by_trades(connection: "AnyConnection", hulls: Sequence[Hull]) -> dict[int, Interval]:
    """Return when the first and the last trade inside the hull happened, of the series that hold any there."""
    occupied: dict[int, Interval] = {}
    for group in close_together(hulls):
        rows = await connection.fetch(statement("occupied_trades"), *_columns(group, 3), *bounds(group))
        occupied |= {series_id: (oldest_us, newest_us) for series_id, oldest_us, newest_us in rows}
    return occupied


async def _merge_candles(connection: "AnyConnection", hulls: Sequence[Hull], tally: Tally, result: WriteResult) -> None:
    """Store what differs of the staged candles, which lie in these hulls."""
    for group in close_together(hulls):
        rows = await connection.fetch(statement("merge_candles"), _ids(group), *bounds(group))
        for row in rows:
            tally.add(row["series_id"], row["day"], row["inserted"])
            result.inserted += row["inserted"]
            result.updated += row["updated"]
        merged = sum(row["inserted"] + row["updated"] for row in rows)
        if rows and rows[0]["written"] != merged:
            raise RowsLost("candles", expected=merged, written=rows[0]["written"])


async def _merge_trades(connection: "AnyConnection", hulls: Sequence[Hull]) -> "list[Record]":
    """Store those of the staged trades, which lie in these hulls, that are new; return their number by minute."""
    merged: list[Record] = []
    for group in close_together(hulls):
        merged += await connection.fetch(statement("merge_trades"), _ids(group), *bounds(group))
    return merged


async def _surplus_candles(
    connection: "AnyConnection", batch: CandleBatch, occupied: Collection[int]
) -> list[tuple[int, int]]:
    """Return the stored candles that contradict the batch: of empty buckets, and in confirmed spans without a row."""
    spans = [(series_id, at_us, at_us + 1) for series_id, buckets in batch.empty.items() for at_us in buckets]
    spans += [span for span in batch.confirmed if span[0] in occupied or not batch.rows[span[0]]]
    given = [(series_id, timestamp_us) for series_id, rows in batch.rows.items() for timestamp_us in rows]
    surplus: set[tuple[int, int]] = set()
    for group in close_together(spans):
        found = await connection.fetch(
            statement("surplus_candles"), *_columns(group, 3), *_columns(given, 2), *bounds(group)
        )
        surplus |= {(series_id, timestamp_us) for series_id, timestamp_us in found}
    return sorted(surplus)


async def _remove_candles(connection: "AnyConnection", candles: Iterable[tuple[int, int]], tally: Tally) -> None:
    """Remove stored candles, given by series and time.

    One statement per series and day, though one for all would do: a DELETE that joins makes TimescaleDB decompress
    every chunk of every series.
    """
    by_series: dict[int, list[Span]] = {}
    for series_id, timestamp_us in candles:
        by_series.setdefault(series_id, []).append((series_id, timestamp_us, timestamp_us))
    for series_id, points in by_series.items():
        for group in close_together(points):
            times = [moment(timestamp_us) for _, timestamp_us, _ in group]
            status = await connection.execute(statement("remove_candles"), series_id, times, *bounds(group))
            removed = int(status.split()[-1])
            if removed != len(times):
                raise RowsLost("candles", expected=len(times), written=removed)
        tally.add_rows(series_id, [timestamp_us for _, timestamp_us, _ in points], sign=-1)


def _apart(
    batch: TradeBatch, occupied: Mapping[int, Interval], tally: Tally
) -> tuple[list[bytes], list[bytes], list[tuple[int, int]]]:
    """Return the rows that cannot be stored yet, those that may be, and the minutes of the former by series.

    The former are counted.
    """
    fresh: list[bytes] = []
    doubtful: list[bytes] = []
    touched: list[tuple[int, int]] = []
    for series_id, rows in batch.rows.items():
        times_us = batch.times_us[series_id]
        if series_id in occupied:
            oldest_us, newest_us = occupied[series_id]
            first_us, last_us = oldest_us - SAME_TRADE_US, newest_us + SAME_TRADE_US
            near = [first_us <= at_us <= last_us for at_us in times_us]
            far = list(map(not_, near))
            doubtful += compress(rows, near)
            fresh += compress(rows, far)
            times_us = list(compress(times_us, far))
        else:
            fresh += rows
        tally.add_rows(series_id, times_us)
        touched += [(series_id, minute * MINUTE_US) for minute in {at_us // MINUTE_US for at_us in times_us}]
    return fresh, doubtful, touched


async def _copy(connection: "AnyConnection", table: str, columns: Sequence[str], rows: Sequence[bytes]) -> None:
    async def document() -> AsyncIterator[bytes]:
        for piece in copy_document(rows):
            yield piece

    status = await connection.copy_to_table(table, source=document(), columns=columns, format="binary")
    written = int(status.split()[-1])
    if written != len(rows):
        raise RowsLost(table, expected=len(rows), written=written)


def _ids(spans: Iterable[Span]) -> list[int]:
    return sorted({series_id for series_id, _, _ in spans})


def _columns(rows: "Iterable[Sequence[int] | Record]", count: int) -> list[list[int]]:
    """Turn rows into arrays that stand side by side."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
