"""Candles of any timeframe, rolled up by the database from the finest that is stored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from fullon_ohlcv.bounds import moment
from fullon_ohlcv.edges import read_oldest, windows_before
from fullon_ohlcv.ledger import Stretches
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv.relation_names import is_name
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import (
    CANDLES_1M,
    DAY_US,
    TRADES,
    Timeframe,
    from_us,
    timeframe_of_channel,
    to_us,
)

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

Row = tuple[datetime, float, float, float, float, float]
"""timestamp (open time, aware UTC), open, high, low, close, volume."""


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


async def read_candles(connection: "AnyConnection", sources: Sequence[Source], window: Window) -> list[Row]:
    """Return the window's buckets, oldest first, made of what lies before its end.

    The finest source serves the part that it reaches back to, the next coarser one the older part; a bucket that
    they share is made of both.
    """
    wanted, start_us, end_us = window.timeframe, window.timeframe.ceil(window.start_us), window.end_us
    reaching = _reaching_ever_further(sources)
    rows: list[Row] = []
    for source, coarser in zip_longest(reaching, reaching[1:]):
        if start_us >= end_us:
            break
        from_us = start_us if coarser is None else max(start_us, await _meeting_us(connection, source, coarser, wanted))
        rows = _join(await _read_source(connection, source, Window(wanted, from_us, end_us)), rows)
        end_us = min(end_us, from_us)
    return rows


def _reaching_ever_further(sources: Sequence[Source]) -> list[Source]:
    """Return those that begin before every finer one."""
    reaching: list[Source] = []
    for source in sources:
        if not reaching or source.first_us < reaching[-1].first_us:
            reaching.append(source)
    return reaching


async def _meeting_us(connection: "AnyConnection", source: Source, coarser: Source, wanted: Timeframe) -> int:
    """Return from when on `source` serves what `coarser` serves before: whole candles of both."""
    grid = coarser.timeframe if source.timeframe.divides(coarser.timeframe) else wanted
    whole_us = grid.ceil(source.first_us)
    if whole_us != source.first_us:
        begun = Window(grid, grid.floor(source.first_us), whole_us)
        if not await _read_source(connection, coarser, begun):
            return source.first_us
    return whole_us


def _join(older: list[Row], newer: list[Row]) -> list[Row]:
    if not older or not newer or older[-1][0] != newer[0][0]:
        return older + newer
    (at, opening, high, low, _, volume), (_, _, also_high, also_low, close, more) = older[-1], newer[0]
    shared = (at, opening, max(high, also_high), min(low, also_low), close, volume + more)
    return [*older[:-1], shared, *newer[1:]]


async def _read_source(connection: "AnyConnection", source: Source, window: Window) -> list[Row]:
    given: list[Any] = [source.series_id, moment(window.start_us), moment(window.end_us)]
    rows = statement("candles")
    if source.trades_id is not None:
        given.append(source.trades_id)
        rows = statement("candles_and_trades")
    if window.timeframe.divides(source.timeframe):
        query = f"{rows}\nORDER BY timestamp"
    else:
        query = statement("rolled_candles").format(bucket=_bucket(window.timeframe), source=rows)
    return list(map(tuple, await connection.fetch(query, *given)))


def _bucket(timeframe: Timeframe) -> str:
    if timeframe.width_us is None:
        return statement("bucket_of_months").format(count=timeframe.count)
    return statement("bucket_of_width").format(width_us=timeframe.width_us, origin_us=timeframe.origin_us)


def _fineness(timeframe: Timeframe) -> int:
    return timeframe.width_us or timeframe.count * 28 * DAY_US


class Filled(NamedTuple):
    """Rows, oldest first, and of each whether it was filled rather than traded."""

    rows: list[Row]
    filled: list[bool]


async def read_filled(connection: "AnyConnection", sources: Sequence[Source], window: Window, now_us: int) -> Filled:
    """Return `read_candles` with a flat row, at the close before it, for every bucket that is known to be empty.

    Where a ledger exists, known is what it covers: a bucket of which any minute is unknown or unavailable is not
    filled, and neither is what follows it up to the next candle, for nobody knows at what price. Without one every
    missing bucket up to now is filled.
    """
    window = window._replace(start_us=window.timeframe.ceil(window.start_us))
    if window.start_us >= window.end_us:
        return Filled([], [])
    rows = await read_candles(connection, sources, window)
    close: float | None = None
    known_from_us = window.start_us
    for source in sources:
        before = await _last_close(connection, source, window.start_us)
        if before is not None:
            known_from_us, close = before
            break
    if not any(source.has_ledger for source in sources):
        window = window._replace(end_us=min(window.end_us, now_us))
        return _flat_filled(rows, window, close, lambda _start_us, _end_us: True)
    covered: list[Interval] = []
    for source in sources:
        asked = [source.series_id] if source.trades_id is None else [source.series_id, source.trades_id]
        spans = [known_from_us] * len(asked), [window.end_us] * len(asked)
        ledger = await connection.fetch(statement("ledger"), asked, *spans)
        covered += [(row["start_us"], row["end_us"]) for row in ledger if row["reason"] is None]
    stretches = Stretches(covered)
    if not stretches.contain(known_from_us, window.start_us):
        close = None
    return _flat_filled(rows, window, close, stretches.contain)


async def _last_close(connection: "AnyConnection", source: Source, before_us: int) -> tuple[int, float] | None:
    for start, end in windows_before(before_us):
        row = await connection.fetchrow(statement("last_close"), source.series_id, source.trades_id, end, start)
        if row is not None:
            return row[0], row[1]
    return None


def _flat_filled(
    rows: Sequence[Row], window: Window, close: float | None, is_known: Callable[[int, int], bool]
) -> Filled:
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
    return Filled(all_rows, filled)
