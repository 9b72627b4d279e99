"""How many rows of each series and UTC day this program has stored, and the days that do not add up.

The tally of a day is written in the transaction that writes its rows. A retention policy, `drop_chunks` or a DELETE by
something else leaves the tally as it was: afterwards the day does not add up. Such a day becomes unknown, so that
history fills it again; what was derived from its trades stays, because it was right when it was made. A day that loses
rows again after it was filled is given up and marked unavailable: whatever removes it would go on removing it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from fullon_ohlcv.records import Interval, Series, State
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import DAY_US, TRADES

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

RETENTION = "removed by retention"
"""The reason of what retention has removed."""
REMOVED = "removed from the store"
"""How the reason begins where something else has removed rows that cannot be had again."""
LOSSES_MAX = 2
"""So many times a day is filled again or given up."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class DayDifference(NamedTuple):
    """A day of a series on which another number of rows is stored than was written, and what the ledger says now."""

    series: Series
    interval: Interval
    """The UTC day."""
    written: int
    stored: int
    state: State = State.COVERED
    """`covered`: nothing was changed; `unknown`: it is to be filled again; `unavailable`: it was given up."""


class Tally:
    """What one transaction adds to the number of rows, by series and day."""

    def __init__(self) -> None:
        self._changes: Counter[tuple[int, date]] = Counter()

    def add_rows(self, series_id: int, times_us: Iterable[int], *, sign: int = 1) -> None:
        """Count rows that were added, or with `sign=-1` removed, by their timestamps."""
        for day, count in Counter([at_us // DAY_US for at_us in times_us]).items():
            self._changes[series_id, date.fromordinal(_EPOCH_DAY + day)] += sign * count

    def add(self, series_id: int, day: date, change: int) -> None:
        """Count `change` rows more; less where it is negative."""
        self._changes[series_id, day] += change

    async def store(self, connection: "AnyConnection") -> None:
        """Write what has changed since the last call; the caller holds the locks of the series."""
        changes = [(series_id, day, change) for (series_id, day), change in self._changes.items() if change]
        self._changes.clear()
        if changes:
            await connection.execute(statement("tally"), *map(list, zip(*changes, strict=True)))


def day_of(at_us: int) -> date:
    """Return the UTC day of an instant."""
    return date.fromordinal(_EPOCH_DAY + at_us // DAY_US)


def interval_of(day: date) -> Interval:
    """Return a UTC day as an interval."""
    start_us = (day.toordinal() - _EPOCH_DAY) * DAY_US
    return start_us, start_us + DAY_US


async def tallied_days(connection: "AnyConnection", series: Series) -> Interval | None:
    """Return from the first to the last day of which rows were written; None where there are none."""
    [(first, last)] = await connection.fetch(statement("tallied_days"), series.series_id)
    return None if first is None else (interval_of(first)[0], interval_of(last)[1])


async def read_differences(connection: "AnyConnection", series: Series, interval: Interval) -> list[DayDifference]:
    """Return the days of the interval, which is one of whole days, that do not add up; in order."""
    table = "trades" if series.channel == TRADES else "candles"
    first, last = day_of(interval[0]), day_of(interval[1])
    rows = await connection.fetch(
        statement(f"unlike_days_of_{table}"), series.series_id, _midnight(first), _midnight(last), first, last
    )
    return [DayDifference(series, interval_of(day), written, stored) for day, written, stored in rows]


async def settle(connection: "AnyConnection", found: Sequence[DayDifference]) -> list[DayDifference]:
    """Make the days unknown that were found on one series, whose lock the caller holds; return them with their states.

    What was derived from trades that are gone stays as it is.
    """
    settled = []
    for one in found:
        series_id = one.series.series_id
        start_us, end_us = _whole_buckets(one)
        await connection.execute(statement("uncover"), series_id, start_us, end_us)
        losses = await connection.fetchval(
            statement("set_tally"), series_id, day_of(one.interval[0]), one.stored, int(one.stored < one.written)
        )
        given_up = losses >= LOSSES_MAX
        settled.append(one._replace(state=State.UNAVAILABLE if given_up else State.UNKNOWN))
    return settled


def _whole_buckets(one: DayDifference) -> Interval:
    timeframe = one.series.timeframe
    if timeframe is None:
        return one.interval
    return timeframe.floor(one.interval[0]), timeframe.ceil(one.interval[1])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
