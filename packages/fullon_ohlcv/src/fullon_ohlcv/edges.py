"""The first and the last row of series, looked for where the ledger begins and ends before everywhere else.

A probe without bounds touches every partition of the table, years of them. Rows nearly always lie where something is
covered; only a series of which nothing is found there is looked for everywhere.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from fullon_ohlcv.bounds import moment
from fullon_ohlcv.intervals import END_OF_TIME_US
from fullon_ohlcv.records import Series
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import DAY_US

if TYPE_CHECKING:
    from asyncpg import Record

    from fullon_ohlcv.writing import AnyConnection

NEAR_US = 28 * DAY_US
"""How far from where the ledger begins or ends a row is looked for first."""


async def read_newest(connection: "AnyConnection", wanted: Collection[Series]) -> dict[Series, int]:
    """Return when the newest row of every series begins; series without one are left out."""
    return await _read_edge(connection, wanted, "newest")


async def read_oldest(connection: "AnyConnection", wanted: Collection[Series]) -> dict[Series, int]:
    """Return when the oldest row of every series begins; series without one are left out."""
    return await _read_edge(connection, wanted, "oldest")


def windows_before(end_us: int) -> Iterator[tuple[datetime, datetime]]:
    """Yield where to look for what lies before an instant: near it, then everywhere."""
    yield moment(max(0, end_us - NEAR_US)), moment(end_us)
    yield moment(0), moment(end_us)


async def _read_edge(connection: "AnyConnection", wanted: Collection[Series], edge: str) -> dict[Series, int]:
    by_id = {series.series_id: series for series in wanted}
    ledger = await connection.fetch(statement("covered_between"), list(by_id))
    expected = {row["series_id"]: row["end_us" if edge == "newest" else "start_us"] for row in ledger}
    found: dict[int, int] = {}
    for table in ("candles", "trades"):
        ids = {number for number, series in by_id.items() if (series.timeframe is None) is (table == "trades")}
        query = statement(f"{edge}_{table}")
        near = {series_id: at_us for series_id, at_us in expected.items() if series_id in ids}
        for group, start_us, end_us in _groups(near, edge):
            found |= _pairs(await connection.fetch(query, group, moment(start_us), moment(end_us)))
        if left := sorted(ids - found.keys()):
            found |= _pairs(await connection.fetch(query, left, moment(0), moment(END_OF_TIME_US)))
    return {by_id[series_id]: timestamp_us for series_id, timestamp_us in found.items()}


def _pairs(rows: "Iterable[Record]") -> dict[int, int]:
    return {series_id: timestamp_us for series_id, timestamp_us in rows}  # noqa: C416 - rows are no tuples


def _groups(expected: Mapping[int, int], edge: str) -> Iterator[tuple[list[int], int, int]]:
    """Yield series whose ledgers begin or end close to each other, and between when to look for their rows.

    There is hardly anything beyond the last end, or before the first beginning, of all ledgers: it is looked at too.
    """
    groups: list[list[tuple[int, int]]] = []
    for at_us, series_id in sorted((at_us, series_id) for series_id, at_us in expected.items()):
        if groups and at_us - groups[-1][0][0] <= NEAR_US:
            groups[-1].append((at_us, series_id))
        else:
            groups.append([(at_us, series_id)])
    for group in groups:
        start_us, end_us = max(0, group[0][0] - NEAR_US), group[-1][0] + NEAR_US
        if edge == "newest" and group is groups[-1]:
            end_us = END_OF_TIME_US
        if edge == "oldest" and group is groups[0]:
            start_us = 0
        yield [series_id for _, series_id in group], start_us, end_us
