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
from fullon_ohlcv.records import Interval, Series, WriteResult
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import MINUTE_US

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection = Connection[Record] | PoolConnectionProxy[Record]

Spans = Sequence[Span]


async def store_candles(connection: "AnyConnection", batch: CandleBatch) -> WriteResult:
    """Store the batch; the caller holds the transaction open and commits."""
    await lock_series(connection, batch.series)
    result = WriteResult(unchanged=batch.repeated, rejected=batch.rejected)
    occupied = await _occupied_by_candles(connection, batch.hulls())
    fresh = [row for series_id, rows in batch.rows.items() if series_id not in occupied for row in rows.values()]
    doubtful = [row for series_id in occupied for row in batch.rows[series_id].values()]
    if fresh:
        await _copy(connection, "candles", CANDLE_COLUMNS, fresh)
    result.inserted = len(fresh)
    if doubtful:
        await _copy(connection, "staged_candles", CANDLE_COLUMNS, doubtful)
        await _merge_candles(connection, [hull for hull in batch.hulls() if hull.series_id in occupied], result)
        result.unchanged += len(fresh) + len(doubtful) - result.inserted - result.updated
    surplus = await _surplus_candles(connection, batch, occupied)
    await _remove_candles(connection, surplus)
    result.updated += len(surplus)
    await record_coverage(connection, batch)
    return result


async def store_trades(connection: "AnyConnection", batch: TradeBatch) -> WriteResult:
    """Store the batch and derive its candles; the caller holds the transaction open and commits."""
    await lock_series(connection, {*batch.series, *batch.candles.values()})
    result = WriteResult(unchanged=batch.repeated, rejected=batch.rejected)
    occupied = await _occupied_by_trades(connection, batch.hulls())
    fresh, doubtful, touched = _apart(batch, occupied)
    if fresh:
        await _copy(connection, "trades", TRADE_COLUMNS, fresh)
    result.inserted = len(fresh)
    if doubtful:
        await _copy(connection, "staged_trades", TRADE_COLUMNS, doubtful)
        near = [hull for hull in batch.hulls() if hull.series_id in occupied]
        for series_id, minute_us, inserted in await _merge_trades(connection, near):
            touched.append((series_id, minute_us))
            result.inserted += inserted
        result.unchanged += len(fresh) + len(doubtful) - result.inserted
    derived = await _derive(connection, batch.candles, batch.covered, touched, result)
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
    """Make the span unknown, and with it the candles that were derived from it."""
    freed = [(series_id, start_us, end_us)]
    if candles_id is not None:
        lost = await connection.fetch(statement("derived_minutes"), series_id, start_us, end_us)
        for first_us, last_us in lost:
            span = moment(first_us), moment(last_us)
            await connection.execute(statement("remove_candles_between"), candles_id, *span)
        if lost:
            await connection.execute(statement("uncover_candles"), candles_id, *_columns(lost, 2))
        freed.append((candles_id, *minutes_around(start_us, end_us)))
    await connection.execute(statement("uncover"), series_id, start_us, end_us)
    await connection.execute(statement("free_unavailable"), *_columns(freed, 3), None)


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
    pairs: dict[int, int],
    covered: Spans,
    touched: Sequence[tuple[int, int]],
    result: WriteResult,
) -> list[tuple[int, int, int]]:
    """Fold the minutes that are due; return the spans that the candle series are covered for."""
    if not pairs:
        return []
    trades_ids, candles_ids = list(pairs), list(pairs.values())
    due = await connection.fetch(
        statement("minutes_to_derive"), trades_ids, candles_ids, *_columns(covered, 3), *_columns(touched, 2)
    )
    if not due:
        return []
    for group in close_together((trades_id, start_us, end_us) for trades_id, _, start_us, end_us in due):
        ids, starts_us, ends_us = _columns(group, 3)
        [(changed, written, surplus_ids, surplus_us)] = await connection.fetch(
            statement("fold_trades"), ids, *bounds(group), [pairs[trades_id] for trades_id in ids], starts_us, ends_us
        )
        if written != changed:
            raise RowsLost("candles", expected=changed, written=written)
        surplus = list(zip(surplus_ids or (), surplus_us or (), strict=True))
        await _remove_candles(connection, surplus)
        result.derived += changed + len(surplus)
    return [(candles_id, start_us, end_us) for _, candles_id, start_us, end_us in due]


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


async def _merge_candles(connection: "AnyConnection", hulls: Sequence[Hull], result: WriteResult) -> None:
    """Store what differs of the staged candles, which lie in these hulls."""
    for group in close_together(hulls):
        [(inserted, updated, written)] = await connection.fetch(statement("merge_candles"), _ids(group), *bounds(group))
        if written != inserted + updated:
            raise RowsLost("candles", expected=inserted + updated, written=written)
        result.inserted += inserted
        result.updated += updated


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


async def _remove_candles(connection: "AnyConnection", candles: Iterable[tuple[int, int]]) -> None:
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


def _apart(
    batch: TradeBatch, occupied: Mapping[int, Interval]
) -> tuple[list[bytes], list[bytes], list[tuple[int, int]]]:
    """Return the rows that cannot be stored yet, those that may be, and the minutes of the former by series."""
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
