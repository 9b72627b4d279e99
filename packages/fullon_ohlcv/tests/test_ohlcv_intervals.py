"""Interval arithmetic against sets of instants."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_ohlcv.intervals import checked, intersect, subtract, union
from fullon_ohlcv.records import Interval

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple), max_size=12)


def instants(intervals: list[Interval]) -> set[int]:
    return {at for start, end in intervals for at in range(start, end)}


@given(INTERVALS)
def test_union_keeps_the_set_and_is_disjoint_and_sorted(intervals: list[Interval]) -> None:
    merged = union(intervals)
    assert instants(merged) == instants(intervals)
    assert all(left[1] < right[0] for left, right in pairwise(merged))


@given(INTERVALS, INTERVALS)
def test_subtract_is_set_difference(intervals: list[Interval], removed: list[Interval]) -> None:
    left = subtract(intervals, removed)
    assert instants(left) == instants(intervals) - instants(removed)
    assert left == union(left)


@given(INTERVALS, INTERVALS)
def test_intersect_is_set_intersection(intervals: list[Interval], others: list[Interval]) -> None:
    both = intersect(intervals, others)
    assert instants(both) == instants(intervals) & instants(others)
    assert both == union(both)


@pytest.mark.parametrize("interval", [(5, 4), (-1, 4), (1.0, 4), ("1", 4), (1,), (1, 2, 3), None, 7, (0, 10**18)])
def test_what_is_no_interval_is_refused_by_value(interval: object) -> None:
    with pytest.raises(ValueError, match="allowed"):
        checked([interval])  # type: ignore[list-item]
