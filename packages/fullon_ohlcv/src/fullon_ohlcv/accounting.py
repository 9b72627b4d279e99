"""What the ledger says of a symbol's minutes, by the same sources that its candles are read from."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from fullon_ohlcv.intervals import subtract, union
from fullon_ohlcv.ledger import Wanted, read_runs, states_of, with_unknown
from fullon_ohlcv.reading import Window, read_candles, read_sources
from fullon_ohlcv.records import CoverageRun, Interval, Series, State
from fullon_ohlcv.relation_names import is_name
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import CANDLES_1M, MINUTE_US, TRADES, Timeframe, from_us, to_us

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

_MINUTE = Timeframe(1, "minute")


class Coverage(NamedTuple):
    """A stretch of time, or one minute, and what is known of it; times aware UTC, `end` not included."""

    timestamp: datetime
    end: datetime
    state: State
    reason: str | None = None
    """Why it is unavailable; None in every other state."""


async def read_coverage(
    connection: "AnyConnection", exchange: str, symbol: str, interval: Interval
) -> list[CoverageRun]:
    """Return the interval as runs of covered, unavailable and unknown, in order and without a hole.

    Of a symbol that is not stored everything is unknown. Minutes that trades prove and that are not stored as
    candles are covered, since they are folded when they are read.
    """
    series = await _find(connection, exchange, symbol, CANDLES_1M)
    runs = [] if series is None else (await read_runs(connection, Wanted({series: interval})))[series]
    folded = await _proven_by_trades(connection, exchange, symbol, interval)
    known = [run for run in runs if run.state is not State.UNKNOWN]
    if folded:
        known = list(_covered_wins(known, folded))
    return list(with_unknown(known, interval))


async def read_minutes(connection: "AnyConnection", exchange: str, symbol: str, interval: Interval) -> list[Coverage]:
    """Return the state of every minute that the interval touches: traded, verified empty, unavailable or unknown."""
    start_us, end_us = _MINUTE.floor(interval[0]), _MINUTE.ceil(interval[1])
    runs = await read_coverage(connection, exchange, symbol, (start_us, end_us))
    sources = await read_sources(connection, exchange, symbol, _MINUTE)
    rows = await read_candles(connection, sources, Window(_MINUTE, start_us, end_us))
    traded = {to_us(row[0]) for row in rows}
    minutes = states_of(_MINUTE, (start_us, end_us), runs, traded)
    return [Coverage(from_us(at_us), from_us(at_us + MINUTE_US), state, reason) for at_us, state, reason in minutes]


def as_coverage(runs: Iterable[CoverageRun]) -> list[Coverage]:
    """Return runs with times for people."""
    return [Coverage(from_us(run.interval[0]), from_us(run.interval[1]), run.state, run.reason) for run in runs]


async def _find(connection: "AnyConnection", exchange: str, symbol: str, channel: str) -> Series | None:
    if not (is_name(exchange) and is_name(symbol)):
        return None
    series_id = await connection.fetchval(statement("find_series"), exchange, symbol, channel)
    return None if series_id is None else Series(series_id, exchange, symbol, channel)


async def _proven_by_trades(
    connection: "AnyConnection", exchange: str, symbol: str, interval: Interval
) -> list[Interval]:
    sources = await read_sources(connection, exchange, symbol, _MINUTE)
    trades_id = next((source.trades_id for source in sources if source.trades_id is not None), None)
    if trades_id is None:
        return []
    trades = Series(trades_id, exchange, symbol, TRADES)
    runs = (await read_runs(connection, Wanted({trades: interval})))[trades]
    covered = union(run.interval for run in runs if run.state is State.COVERED)
    whole = [(_MINUTE.ceil(start_us), _MINUTE.floor(end_us)) for start_us, end_us in covered]
    return [(start_us, end_us) for start_us, end_us in whole if start_us < end_us]


def _covered_wins(runs: Iterable[CoverageRun], folded: list[Interval]) -> Iterable[CoverageRun]:
    covered = union([*folded, *(run.interval for run in runs if run.state is State.COVERED)])
    together = [CoverageRun(interval, State.COVERED) for interval in covered]
    for run in runs:
        if run.state is State.UNAVAILABLE:
            together += [CoverageRun(left, run.state, run.reason) for left in subtract([run.interval], covered)]
    return sorted(together)
