"""Reading the coverage ledger: what is known of every minute of every series."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from fullon_ohlcv.bounds import moment
from fullon_ohlcv.edges import read_newest
from fullon_ohlcv.intervals import checked, subtract, union
from fullon_ohlcv.records import CoverageRun, CoverageSummary, Interval, MinuteState, Series, State
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import Timeframe

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

_MINUTE = Timeframe(1, "minute")


class Wanted:
    """Series with the interval that is asked of each, as arrays for a statement."""

    def __init__(self, wanted: Mapping[Series, Interval]) -> None:
        checked(list(wanted.values()))
        self.by_id = {series.series_id: series for series in wanted}
        self.spans = dict(wanted)
        self.columns: tuple[list[int], list[int], list[int]] = (
            [series.series_id for series in self.spans],
            [start_us for start_us, _ in self.spans.values()],
            [end_us for _, end_us in self.spans.values()],
        )


async def read_gaps(connection: "AnyConnection", wanted: Wanted) -> dict[Series, list[Interval]]:
    """Return wanted − covered − unavailable of every series, oldest first."""
    gaps: dict[Series, list[Interval]] = {series: [] for series in wanted.by_id.values()}
    for series_id, start_us, end_us in await connection.fetch(statement("gaps"), *wanted.columns):
        gaps[wanted.by_id[series_id]].append((start_us, end_us))
    return gaps


async def read_unconfirmed(connection: "AnyConnection", wanted: Wanted) -> dict[Series, list[Interval]]:
    """Return what of every wanted interval is covered and not confirmed, oldest first."""
    found: dict[Series, list[Interval]] = {series: [] for series in wanted.by_id.values()}
    for series_id, start_us, end_us in await connection.fetch(statement("unconfirmed"), *wanted.columns):
        found[wanted.by_id[series_id]].append((start_us, end_us))
    return found


async def read_summaries(connection: "AnyConnection", wanted: Wanted) -> dict[Series, CoverageSummary]:
    """Return how much of every wanted interval is accounted for."""
    rows = await connection.fetch(statement("summaries"), *wanted.columns)
    newest = await read_newest(connection, wanted.by_id.values())
    summaries = {}
    for series_id, covered_us, unavailable_us, until_us in rows:
        series = wanted.by_id[series_id]
        start_us, end_us = wanted.spans[series]
        summaries[series] = CoverageSummary(end_us - start_us, covered_us, unavailable_us, until_us, newest.get(series))
    return summaries


async def read_runs(connection: "AnyConnection", wanted: Wanted) -> dict[Series, list[CoverageRun]]:
    """Return every wanted interval as runs of one state, in order and without a hole."""
    known: dict[Series, list[CoverageRun]] = {series: [] for series in wanted.by_id.values()}
    for series_id, start_us, end_us, reason in await connection.fetch(statement("ledger"), *wanted.columns):
        state = State.COVERED if reason is None else State.UNAVAILABLE
        known[wanted.by_id[series_id]].append(CoverageRun((start_us, end_us), state, reason))
    return {series: list(with_unknown(known[series], span)) for series, span in wanted.spans.items()}


def with_unknown(runs: Iterable[CoverageRun], span: Interval) -> Iterable[CoverageRun]:
    """Yield the runs, which are in order, and what of the span lies between them as unknown."""
    at_us, last_us = span
    for run in runs:
        start_us, end_us = run.interval
        if at_us < start_us:
            yield CoverageRun((at_us, start_us), State.UNKNOWN)
        yield run
        at_us = end_us
    if at_us < last_us:
        yield CoverageRun((at_us, last_us), State.UNKNOWN)


async def read_minutes(connection: "AnyConnection", series: Series, interval: Interval) -> list[MinuteState]:
    """Return the state of every bucket that the interval touches."""
    timeframe = series.timeframe or _MINUTE
    spans = checked([interval])
    if not spans:
        return []
    start_us, end_us = timeframe.floor(spans[0][0]), timeframe.ceil(spans[0][1])
    [runs] = (await read_runs(connection, Wanted({series: (start_us, end_us)}))).values()
    times = statement("trade_minutes" if series.timeframe is None else "candle_times")
    span = moment(start_us), moment(end_us)
    traded = {row[0] for row in await connection.fetch(times, series.series_id, *span)}
    return states_of(timeframe, (start_us, end_us), runs, traded)


def states_of(
    timeframe: Timeframe, interval: Interval, runs: Sequence[CoverageRun], traded: Collection[int]
) -> list[MinuteState]:
    """Return the state of every bucket of an interval of whole ones; `traded` are the starts of those with a row."""
    covered = Stretches(run.interval for run in runs if run.state is State.COVERED)
    accounted = Stretches(run.interval for run in runs if run.state is not State.UNKNOWN)
    lost = [run for run in runs if run.state is State.UNAVAILABLE]
    states = []
    start_us, end_us = interval
    while start_us < end_us:
        next_us = timeframe.next(start_us)
        if covered.contain(start_us, next_us):
            state = State.TRADED if start_us in traded else State.VERIFIED_EMPTY
            states.append(MinuteState(start_us, state))
        elif accounted.contain(start_us, next_us):
            reason = next(run.reason for run in lost if run.interval[1] > start_us)
            states.append(MinuteState(start_us, State.UNAVAILABLE, reason))
        else:
            states.append(MinuteState(start_us, State.UNKNOWN))
        start_us = next_us
    return states


class Stretches:
    """A set of instants that is asked often whether it holds an interval."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        merged = union(intervals)
        self._starts: Sequence[int] = [start_us for start_us, _ in merged]
        self._ends: Sequence[int] = [end_us for _, end_us in merged]

    def contain(self, start_us: int, end_us: int) -> bool:
        """Whether all of `[start_us, end_us)` is in the set."""
        index = bisect_right(self._starts, start_us) - 1
        return index >= 0 and self._ends[index] >= end_us

    def holes(self, start_us: int, end_us: int) -> list[Interval]:
        """Return what of `[start_us, end_us)` is not in the set."""
        return subtract([(start_us, end_us)], zip(self._starts, self._ends, strict=True))

    def length(self, start_us: int, end_us: int) -> int:
        """Return how much of `[start_us, end_us)` is in the set."""
        total_us = 0
        for index in range(bisect_right(self._ends, start_us), bisect_left(self._starts, end_us)):
            total_us += min(self._ends[index], end_us) - max(self._starts[index], start_us)
        return total_us
