"""The time of tests: a market begins at a fixed moment, whatever the date, the hour and the machine.

The linter refuses the wall clock everywhere else in tests, and the root conftest.py refuses a market drawn from it.
"""

import time
from datetime import UTC, datetime

import pytest

from fullon_simulator import MarketClock

BEGINS_US = 1_768_478_408_000_000
"""2026-01-15 12:00:08 UTC: the middle of a day, eight seconds into a minute."""


def set_market_clock(monkeypatch: pytest.MonkeyPatch, speed: float, begins_us: int = BEGINS_US) -> None:
    """Set `FULLON_CLOCK`: the market and whatever collects it begin at `begins_us` now and run at `speed`."""
    monkeypatch.setenv("FULLON_CLOCK", str(MarketClock.starting_at(begins_us, speed=speed)))


def unix_now_s() -> float:
    """Return the Unix time: to anchor a clock that shows another time, or to check a stamp of the wall clock."""
    return time.time()  # noqa: TID251


def wall_now() -> datetime:
    """Return the wall clock's time, to check a stamp that our code takes from it; never a market's time."""
    return datetime.now(UTC)  # noqa: TID251
