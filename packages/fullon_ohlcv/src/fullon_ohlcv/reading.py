"""Candles of any timeframe, rolled up by the database from the finest that is stored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fullon_ohlcv.ledger import Stretches
from fullon_ohlcv.records import Interval
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

_STORED = (
    "SELECT timestamp, open, high, low, close, volume FROM candles"
    " WHERE series_id = $1 AND timestamp >= at_us($2) AND timestamp < at_us($3)"
)
# Where no coverage of trades ($4) was ever recorded they are taken as they are, for minutes that no candle covers.
_FOLDED = f"""
    WITH folded AS (
        SELECT minute_at AS timestamp, open, high, low, close, volume
        FROM coverage,
             unnest(tstzmultirange(span_us($2, $3)) - minutes_inside(covered)) AS span,
             fold_minutes($4, lower(span), upper(span))
        WHERE coverage.series_id = $1
    )
    SELECT * FROM folded
    UNION ALL
    {_STORED} AND NOT EXISTS (SELECT FROM folded WHERE folded.timestamp = candles.timestamp)
"""
_MONTHS = """
    (date_trunc('month', timestamp AT TIME ZONE 'UTC')
     - ((extract(year FROM timestamp AT TIME ZONE 'UTC') * 12
         + extract(month FROM timestamp AT TIME ZONE 'UTC') - 1)::integer % {count}) * interval '1 month')
    AT TIME ZONE 'UTC'
"""


@dataclass(frozen=True, slots=True)
class Source:
    """One stored channel that buckets can be made of, from its first instant on."""

    series_id: int
    timeframe: Timeframe
    first_us: int
    has_ledger: bool
    trades_id: int | None = None
    """Of 1m candles: the trades that speak where no ledger does."""


async def read_sources(connection: "AnyConnection", exchange: str, symbol: str, wanted: Timeframe) -> list[Source]:
    """Return what buckets of `wanted` can be made of, finest first; [] for an unknown symbol."""
    channels = {row["channel"]: row for row in await connection.fetch(statement("channels"), exchange, symbol)}
    trades = channels.pop(TRADES, None)
    if trades is not None and not trades["has_ledger"] and trades["first_row_us"] is not None:
        trades_id, first_trade_us = trades["series_id"], trades["first_row_us"]
    else:
        trades_id = first_trade_us = None
    sources = []
    for channel, row in channels.items():
        timeframe = timeframe_of_channel(channel)
        speaks = trades_id if channel == CANDLES_1M else None
        firsts = [row["covered_from_us"], row["first_row_us"], first_trade_us if speaks else None]
        first_us = min((first for first in firsts if first is not None), default=None)
        if timeframe is not None and timeframe.divides(wanted) and first_us is not None:
            sources.append(Source(row["series_id"], timeframe, first_us, row["has_ledger"], speaks))
    return sorted(sources, key=lambda source: _fineness(source.timeframe))


async def read_candles(
    connection: "AnyConnection", sources: Sequence[Source], wanted: Timeframe, start_us: int, end_us: int
) -> list[Row]:
    """Return the buckets that begin in `[start_us, end_us)`, oldest first, made of what lies before `end_us`.

    The finest source serves the buckets that it reaches back to, the next coarser one the older part.
    """
    start_us = wanted.ceil(start_us)
    newer: list[Row] = []
    for source in sources:
        if start_us >= end_us:
            break
        rows = await _read_source(connection, source, wanted, start_us, end_us)
        if newer and rows and rows[-1][0] == newer[0][0]:
            del newer[0]  # the finer source begins inside this bucket, the coarser one has it whole
        newer = rows + newer
        begun_us = wanted.floor(source.first_us)
        end_us = min(end_us, begun_us if begun_us == source.first_us else wanted.next(begun_us))
    return newer


async def _read_source(
    connection: "AnyConnection", source: Source, wanted: Timeframe, start_us: int, end_us: int
) -> list[Row]:
    given: list[int] = [source.series_id, start_us, end_us]
    if source.trades_id is not None:
        given.append(source.trades_id)
    rows = _STORED if source.trades_id is None else _FOLDED
    if wanted.divides(source.timeframe):
        query = f"{rows} ORDER BY timestamp"
    else:
        query = statement("rolled_candles").format(bucket=_bucket(wanted), source=rows)
    return list(map(tuple, await connection.fetch(query, *given)))


def _bucket(timeframe: Timeframe) -> str:
    if timeframe.width_us is None:
        return _MONTHS.format(count=timeframe.count)
    width = f"interval '{timeframe.width_us} microseconds'"
    return f"date_bin({width}, timestamp, at_us({timeframe.origin_us}))"


def _fineness(timeframe: Timeframe) -> int:
    return timeframe.width_us or timeframe.count * 28 * DAY_US


async def read_filled(
    connection: "AnyConnection",
    sources: Sequence[Source],
    wanted: Timeframe,
    start_us: int,
    end_us: int,
    now_us: int,
) -> list[Row]:
    """Return `read_candles` with a flat row, at the close before it, for every bucket that is known to be empty.

    Where a ledger exists, known is what it covers: an unknown bucket stays missing, and so does what follows it
    up to the next candle, for nobody knows at what price. Without one every missing bucket up to now is filled.
    """
    rows = await read_candles(connection, sources, wanted, start_us, end_us)
    start_us = wanted.ceil(start_us)
    close: float | None = None
    known_from_us = start_us
    for source in sources:
        before = await connection.fetchrow(statement("last_close"), source.series_id, start_us)
        if before is not None:
            known_from_us, close = before
            break
    if not any(source.has_ledger for source in sources):
        return list(_flat_filled(rows, wanted, start_us, min(end_us, now_us), close, lambda _start, _end: True))
    covered: list[Interval] = []
    for source in sources:
        ids, starts, ends = [source.series_id], [known_from_us], [end_us]
        ledger = await connection.fetch(statement("ledger"), ids, starts, ends)
        covered += [(row[1], row[2]) for row in ledger if row[3] is None]
    stretches = Stretches(covered)
    if not stretches.contain(known_from_us, start_us):
        close = None
    return list(_flat_filled(rows, wanted, start_us, end_us, close, stretches.contain))


def _flat_filled(
    rows: Sequence[Row],
    wanted: Timeframe,
    start_us: int,
    end_us: int,
    close: float | None,
    is_known: Callable[[int, int], bool],
) -> Iterator[Row]:
    stored = {to_us(row[0]): row for row in rows}
    while start_us < end_us:
        next_us = wanted.next(start_us)
        row = stored.pop(start_us, None)
        if row is not None:
            close = row[4]
            yield row
        elif not is_known(start_us, min(next_us, end_us)):
            close = None
        elif close is not None:
            yield from_us(start_us), close, close, close, close, 0.0
        start_us = next_us
    yield from stored.values()
