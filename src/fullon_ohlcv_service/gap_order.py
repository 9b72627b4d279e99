"""Which gap history serves first (pure): the one that the exchange will stop serving soonest, then the oldest.

An exchange that keeps only its newest candles forgets a minute every minute. What it has forgotten already is in no
hurry any more: asking for it only names it unavailable.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from fullon_ohlcv.records import Interval

REPAIR_AGE_MAX_US = 2 * 3600 * 1_000_000
"""A gap that ends within this of now is repair, an older one back-fill."""

Key = TypeVar("Key")


def reach_us(now_us: int, window: int | None, step_us: int) -> int | None:
    """Return how far back the newest `window` candles of `step_us` reach, the running one too; None without end."""
    return None if window is None else now_us - now_us % step_us - (window - 1) * step_us


def deadline_us(gaps: Iterable[Interval], now_us: int, window: int, step_us: int) -> int | None:
    """Return when the first of what is missing and still served is forgotten; what is forgotten already is left out.

    A time before `now_us` means that it is being lost.
    """
    reaches_us = reach_us(now_us, window, step_us)
    starts = [start_us for start_us, end_us in gaps if reaches_us is None or end_us > reaches_us]
    return min(starts) + (window - 1) * step_us if starts else None


def is_repair(gap: Interval, now_us: int) -> bool:
    """Tell whether a gap is a recent and short one."""
    return gap[1] > now_us - REPAIR_AGE_MAX_US and gap[1] - gap[0] < REPAIR_AGE_MAX_US


def urgency_of(gap: Interval, now_us: int, reaches_us: int | None) -> tuple[int, int, int]:
    """Return what sorts gaps into the order in which they are served, of an exchange that reaches back to `reaches_us`.

    What will be forgotten, soonest first; where nothing is ever forgotten, repair before back-fill; what has been
    forgotten; each oldest first.
    """
    start_us, end_us = gap
    if reaches_us is None:
        return 1, 0 if is_repair(gap, now_us) else 1, start_us
    if end_us <= reaches_us:
        return 2, 0, start_us
    return 0, max(0, start_us - reaches_us), start_us


def in_order(gaps: Iterable[Interval], now_us: int, reaches_us: int | None) -> list[Interval]:
    """Return the gaps of one series, the most urgent first."""
    return sorted(gaps, key=lambda gap: urgency_of(gap, now_us, reaches_us))


def most_urgent_first(
    gaps: Mapping[Key, Sequence[Interval]], now_us: int, reaches_us: Callable[[Key], int | None]
) -> list[Key]:
    """Return the series that have gaps, the one with the most urgent gap first."""
    urgencies = {
        key: min(urgency_of(gap, now_us, reaches_us(key)) for gap in intervals)
        for key, intervals in gaps.items()
        if intervals
    }
    return sorted(urgencies, key=urgencies.__getitem__)
