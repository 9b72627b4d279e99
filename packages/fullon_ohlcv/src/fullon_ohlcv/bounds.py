"""Bounds of time for statements on candles and trades, tight enough to exclude everything else. Pure.

A statement on many series is bounded by one interval for all of them. Where its spans lie far apart, the interval would
enclose years that hold none of them: partitions to plan, and compressed batches to write out again. Such a call is
split.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from fullon_ohlcv.timeframe import DAY_US, from_us, to_us

Span = tuple[int, int, int]
"""(series_id, start_us, end_us)"""

_LATEST = datetime.max.replace(tzinfo=UTC)
_LATEST_US = to_us(_LATEST)


def moment(timestamp_us: int) -> datetime:
    """Return a timestamp as a statement's parameter; what no datetime can name is the last instant that one can."""
    return from_us(timestamp_us) if timestamp_us < _LATEST_US else _LATEST


def bounds(spans: Iterable[Span]) -> tuple[datetime, datetime]:
    """Return the interval around all spans, of which there is at least one."""
    _, starts_us, ends_us = zip(*spans, strict=True)
    return moment(min(starts_us)), moment(max(ends_us))


def close_together(spans: Iterable[Span]) -> list[list[Span]]:
    """Divide spans into groups, each no wider than a day or than its own widest span."""
    groups: list[list[Span]] = []
    first_us = last_us = widest_us = 0
    for span in sorted(spans, key=lambda span: (span[1], -span[2])):
        _, start_us, end_us = span
        widest_us = max(widest_us, end_us - start_us)
        if groups and max(last_us, end_us) - first_us <= max(DAY_US, widest_us):
            groups[-1].append(span)
            last_us = max(last_us, end_us)
        else:
            groups.append([span])
            first_us, last_us, widest_us = start_us, end_us, end_us - start_us
    return groups
