"""Candles of any timeframe, rolled up by the database from the finest that is stored, and what is known of each."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

from fullon_ohlcv.bounds import moment
from fullon_ohlcv.edges import read_oldest, windows_before
from fullon_ohlcv.errors import IncompleteCandles
from fullon_ohlcv.intervals import intersect, subtract, union
from fullon_ohlcv.ledger import Stretches
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv.relation_names import is_name
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import (
    CANDLES_1M,
    DAY_US,
    MINUTE_US,
    TRADES,
    Timeframe,
    from_us,
    timeframe_of_channel,
    to_us,
)

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

_MINUTE = Timeframe(1, "minute")

Row = tuple[datetime, float, float, float, float, float]
"""timestamp (open time, aware UTC), open, high, low, close, volume."""

Incomplete = Literal["drop", "keep", "raise"]
"""What becomes of a bucket of which not every minute is known to be traded or empty."""


class Window(NamedTuple):
    """The buckets that are asked for: of a timeframe, beginning in `[start_us, end_us)`."""

    timeframe: Timeframe
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Source:
    """One stored channel that buckets can be made of, from its first instant on."""

    series_id: int
    timeframe: Timeframe
    first_us: int
    has_ledger: bool
    trades_id: int | None = None
    """Of 1m candles: the trades that are not stored as candles yet."""


class Known(NamedTuple):
    """What the ledgers of all sources know of a window."""

    covered: list[list[Interval]]
    """Of each source."""
    unavailable: list[Interval]
    """Of all sources together; what another source covers is among it."""
    stretches: Stretches
    """What any of them covers."""


class Piece(NamedTuple):
    """An interval of the window and the source whose rows stand for it."""

    start_us: int
    end_us: int
    source: Source


class Buckets(NamedTuple):
    """Rows, oldest first, with what is known of each, and what of the window is not wholly known."""

    rows: list[Row]
    known_minutes: list[int]
    complete: list[bool]
    filled: list[bool]
    incomplete: list[Interval]
    """Buckets of which a minute is unknown or unavailable, is yet to come or lies behind the window's end."""
    gaps: list[Interval]
    """What of the window is unknown: neither covered nor unavailable."""


async def read_sources(connection: "AnyConnection", exchange: str, symbol: str, wanted: Timeframe) -> list[Source]:
    """Return what buckets of `wanted` can be made of, finest first; [] for an unknown symbol."""
    if not (is_name(exchange) and is_name(symbol)):
        return []
    channels = {row["channel"]: row for row in await connection.fetch(statement("channels"), exchange, symbol)}
    oldest = await read_oldest(
        connection,
        [
            Series(row["series_id"], exchange, symbol, channel)
            for channel, row in channels.items()
            if not row["is_derived"]
        ],
    )
    first_row_us = {series.channel: at_us for series, at_us in oldest.items()}
    trades = channels.pop(TRADES, None)
    if trades is not None and TRADES not in first_row_us:
        trades = None
    sources = []
    for channel, row in channels.items():
        timeframe = timeframe_of_channel(channel)
        speaking = trades if channel == CANDLES_1M else None
        firsts = [row["covered_from_us"], first_row_us.get(channel), speaking and first_row_us[TRADES]]
        first_us = min((first for first in firsts if first is not None), default=None)
        if timeframe is None or first_us is None or not timeframe.divides(wanted):
            continue
        has_ledger = row["has_ledger"] or (speaking is not None and speaking["has_ledger"])
        trades_id = None if speaking is None else speaking["series_id"]
        sources.append(Source(row["series_id"], timeframe, first_us, has_ledger, trades_id))
    return sorted(sources, key=lambda source: _fineness(source.timeframe))


async def read_known(connection: "AnyConnection", sources: Sequence[Source], window: Window, now_us: int) -> Known:
    """Return what is known of the window; without any ledger, everything up to now."""
    if not any(source.has_ledger for source in sources):
        everything = [(min(window.start_us, now_us), now_us)]
        return Known([[(source.first_us, now_us)] for source in sources], [], Stretches(everything if sources else []))
    owners = {source.series_id: at for at, source in enumerate(sources)}
    owners |= {source.trades_id: at for at, source in enumerate(sources) if source.trades_id is not None}
    spans = [window.start_us] * len(owners), [max(window.start_us, window.end_us)] * len(owners)
    covered: list[list[Interval]] = [[] for _ in sources]
    unavailable: list[Interval] = []
    for series_id, start_us, end_us, reason in await connection.fetch(statement("ledger"), list(owners), *spans):
        at = owners[series_id]
        if reason is not None:
            unavailable.append((start_us, end_us))
            continue
        folded = series_id == sources[at].trades_id
        covered[at].append((_MINUTE.ceil(start_us), _MINUTE.floor(end_us)) if folded else (start_us, end_us))
    return Known(list(map(union, covered)), union(unavailable), Stretches(chain.from_iterable(covered)))


async def read_candles(
    connection: "AnyConnection", sources: Sequence[Source], window: Window, known: Known | None = None
) -> list[Row]:
    """Return the window's buckets, oldest first, made of everything that is stored before its end.

    The finest source serves what it covers; what it does not, the next coarser one serves in whole candles. A bucket
    that they share is made of both. `known` may be left out where there is one source only.
    """
    window = window._replace(start_us=window.timeframe.ceil(window.start_us))
    if window.start_us >= window.end_us or not sources:
        return []
    pieces = share(sources, [[] for _ in sources] if known is None else known.covered, window)
    return await _read_pieces(connection, pieces, sources[0], window.timeframe) if pieces else []


def share(sources: Sequence[Source], covered: Sequence[Sequence[Interval]], window: Window) -> list[Piece]:
    """Share the window among its sources, which come finest first (pure); only candles that end in it serve.

    A coarser candle serves where the finer do not cover all of it, if it is covered itself. What nobody covers is
    left to the finest, and before its first row to what has rows without a ledger.
    """
    _, start_us, end_us = window
    finest, *coarser = sources
    parts = [(finest, subtract([(start_us, finest.timeframe.floor(end_us))], []))]
    served = list(covered[0]) if finest.has_ledger else [(finest.first_us, end_us)]
    for source, own in zip(coarser, covered[1:], strict=True):
        grid = source.timeframe
        holes = subtract([(start_us, grid.floor(end_us))], served)
        asked = union((grid.floor(from_us), grid.ceil(until_us)) for from_us, until_us in holes)
        offered = own if source.has_ledger else [(source.first_us, end_us)]
        taken = intersect(asked, [(grid.ceil(a), grid.floor(b)) for a, b in offered])
        served = union([*served, *taken])
        parts = [(other, subtract(spans, taken)) for other, spans in parts] + [(source, taken)]
    pieces = (Piece(*span, source) for source, spans in parts for span in spans)
    return sorted(pieces, key=lambda piece: piece.start_us)


async def _read_pieces(
    connection: "AnyConnection", pieces: Sequence[Piece], finest: Source, wanted: Timeframe
) -> list[Row]:
    series_ids = [piece.source.series_id for piece in pieces]
    starts_us, ends_us = [piece.start_us for piece in pieces], [piece.end_us for piece in pieces]
    around = moment(starts_us[0]), moment(max(ends_us))
    given: list[object] = [series_ids, *around, starts_us, ends_us]
    rows = statement("candles_in_spans")
    if finest.trades_id is not None:
        given += [finest.series_id, finest.trades_id]
        rows = statement("candles_and_trades_in_spans")
    elif len(pieces) == 1 and pieces[0].source.timeframe == wanted:
        given = [series_ids[0], *around]
        rows = statement("candles")
    if all(piece.source.timeframe == wanted for piece in pieces):
        query = f"{rows}\nORDER BY timestamp"
    else:
        query = statement("rolled_candles").format(bucket=_bucket(wanted), source=rows)
    return list(map(tuple, await connection.fetch(query, *given)))


def _bucket(timeframe: Timeframe) -> str:
    if timeframe.width_us is None:
        return statement("bucket_of_months").format(count=timeframe.count)
    return statement("bucket_of_width").format(width_us=timeframe.width_us, origin_us=timeframe.origin_us)


def _fineness(timeframe: Timeframe) -> int:
    return timeframe.width_us or timeframe.count * 28 * DAY_US


async def read_buckets(
    connection: "AnyConnection",
    sources: Sequence[Source],
    window: Window,
    now_us: int,
    *,
    fill: bool = False,
    incomplete: Incomplete = "drop",
) -> Buckets:
    """Return the window's buckets, and what becomes of those that are not wholly known.

    A bucket is complete if each of its minutes is traded or verified empty, or a coarser candle that is covered stands
    for it. One that the window's end cuts is not. With `fill` there is a flat row, at the close before it, for every
    complete bucket in which nothing was traded, as long as the price is known: behind one that is not complete it is
    not, up to the next candle.

    Raises:
        IncompleteCandles: with `raise`, any bucket of the window is not complete.
    """
    window = window._replace(start_us=window.timeframe.ceil(window.start_us))
    if window.start_us >= window.end_us:
        return Buckets([], [], [], [], [], [])
    known = await read_known(connection, sources, window, now_us)
    left_out = incomplete_buckets(known.stretches, window)
    gaps = subtract(known.stretches.holes(window.start_us, window.end_us), known.unavailable)
    if left_out and incomplete == "raise":
        raise IncompleteCandles(str(window.timeframe), *left_out[0], len(left_out))
    rows = await read_candles(connection, sources, window, known)
    filled = [False] * len(rows)
    if fill:
        close = await _close_before(connection, sources, window, now_us)
        rows, filled = _flat_filled(rows, window, close, known.stretches.contain)
    if incomplete == "drop":
        kept = _slices_outside(rows, left_out)
        if len(kept) > 1:
            rows = list(chain.from_iterable(rows[part] for part in kept))
            filled = list(chain.from_iterable(filled[part] for part in kept))
        return Buckets(rows, _minutes_of(rows, window.timeframe), [True] * len(rows), filled, left_out, gaps)
    minutes, complete = _minutes_of(rows, window.timeframe), [True] * len(rows)
    for at in _indices_inside(rows, left_out):
        start_us = to_us(rows[at][0])
        end_us = min(window.timeframe.next(start_us), window.end_us)
        minutes[at], complete[at] = known.stretches.length(start_us, end_us) // MINUTE_US, False
    return Buckets(rows, minutes, complete, filled, left_out, gaps)


def incomplete_buckets(known: Stretches, window: Window) -> list[Interval]:
    """Return the buckets of a window that are not wholly known, as intervals of whole ones up to the window's end."""
    wanted, start_us, end_us = window
    cut_us = wanted.floor(end_us)
    spans = [(wanted.floor(from_us), wanted.ceil(until_us)) for from_us, until_us in known.holes(start_us, cut_us)]
    return union([*spans, (max(start_us, cut_us), end_us)])


def _minutes_of(rows: Sequence[Row], timeframe: Timeframe) -> list[int]:
    """Return how many minutes each bucket has."""
    if timeframe.width_us is not None:
        return [timeframe.width_us // MINUTE_US] * len(rows)
    starts_us = [to_us(row[0]) for row in rows]
    return [(timeframe.next(start_us) - start_us) // MINUTE_US for start_us in starts_us]


def _slices_outside(rows: Sequence[Row], intervals: Iterable[Interval]) -> list[slice]:
    """Return where the rows are that lie in none of the intervals, which are in order."""
    slices = []
    at = 0
    for start_us, end_us in intervals:
        stop = bisect_left(rows, start_us, at, key=_time_us)
        slices.append(slice(at, stop))
        at = bisect_left(rows, end_us, stop, key=_time_us)
    return [*slices, slice(at, len(rows))]


def _indices_inside(rows: Sequence[Row], intervals: Iterable[Interval]) -> Iterator[int]:
    for start_us, end_us in intervals:
        yield from range(bisect_left(rows, start_us, key=_time_us), bisect_left(rows, end_us, key=_time_us))


def _time_us(row: Row) -> int:
    return to_us(row[0])


async def _close_before(
    connection: "AnyConnection", sources: Sequence[Source], window: Window, now_us: int
) -> float | None:
    """Return the close before the window; None where something in between may have been traded unseen."""
    for source in sources:
        before = await _last_close(connection, source, window.start_us)
        if before is not None:
            since = Window(window.timeframe, _MINUTE.floor(before[0]), window.start_us)
            known = await read_known(connection, sources, since, now_us)
            return before[1] if known.stretches.contain(since.start_us, since.end_us) else None
    return None


async def _last_close(connection: "AnyConnection", source: Source, before_us: int) -> tuple[int, float] | None:
    for start, end in windows_before(before_us):
        row = await connection.fetchrow(statement("last_close"), source.series_id, source.trades_id, end, start)
        if row is not None:
            return row[0], row[1]
    return None


def _flat_filled(
    rows: Sequence[Row], window: Window, close: float | None, is_known: Callable[[int, int], bool]
) -> tuple[list[Row], list[bool]]:
    wanted, start_us, end_us = window
    all_rows: list[Row] = []
    filled: list[bool] = []

    def flat(at_us: int, stop_us: int) -> Iterator[Row]:
        while close is not None and at_us < stop_us:
            next_us = wanted.next(at_us)
            if not is_known(at_us, min(next_us, end_us)):
                return
            yield from_us(at_us), close, close, close, close, 0.0
            at_us = next_us

    def extend(start_us: int, stop_us: int) -> None:
        all_rows.extend(flat(start_us, stop_us))
        filled.extend([True] * (len(all_rows) - len(filled)))

    for row in rows:
        row_us = to_us(row[0])
        extend(start_us, row_us)
        all_rows.append(row)
        filled.append(False)
        start_us = wanted.next(row_us)
        close = row[4] if is_known(row_us, min(start_us, end_us)) else None
    extend(start_us, end_us)
    return all_rows, filled
