"""Arithmetic of half-open intervals in integer microseconds. Pure."""

from collections.abc import Iterable, Sequence

from fullon_ohlcv.records import Interval

END_OF_TIME_US = 253_402_300_800_000_000
"""Year 10000, the first instant that neither Python nor the ledger can name."""


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same set of instants as sorted, disjoint, non-adjacent intervals; empty ones vanish."""
    merged: list[Interval] = []
    for start_us, end_us in sorted(intervals):
        if start_us >= end_us:
            continue
        if merged and start_us <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_us))
        else:
            merged.append((start_us, end_us))
    return merged


def subtract(intervals: Iterable[Interval], removed: Iterable[Interval]) -> list[Interval]:
    """Return what is in `intervals` and not in `removed`, as `union` would."""
    left: list[Interval] = []
    cuts = union(removed)
    first = 0
    for start_us, end_us in union(intervals):
        while first < len(cuts) and cuts[first][1] <= start_us:
            first += 1
        at_us = start_us
        for cut_start_us, cut_end_us in cuts[first:]:
            if cut_start_us >= end_us:
                break
            if at_us < cut_start_us:
                left.append((at_us, cut_start_us))
            at_us = cut_end_us
        if at_us < end_us:
            left.append((at_us, end_us))
    return left


def intersect(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """Return what is in both, as `union` would."""
    given = union(intervals)
    return subtract(given, subtract(given, others))


def checked(intervals: Sequence[Interval]) -> list[Interval]:
    """Return `union(intervals)`.

    Raises:
        ValueError: an interval that is not two whole numbers of microseconds in order.
    """
    for interval in intervals:
        match interval:
            case (int(start_us), int(end_us)) if 0 <= start_us <= end_us < END_OF_TIME_US:
                continue
        raise ValueError(
            f"interval is {interval!r}; allowed is (start_us, end_us) in whole microseconds since 1970, in order"
        )
    return union(intervals)
