"""Arithmetic of candle timeframes, in UTC: pure functions of microseconds."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
_MONDAY_US = 4 * DAY_US
"""1970-01-05, the first Monday of the epoch."""

_UNITS_US = {"s": SECOND_US, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}


@dataclass(frozen=True)
class Timeframe:
    """One timeframe as a venue cuts it: `1m` is a minute, `1M` a calendar month."""

    name: str
    step_us: int | None
    """Length in microseconds; None for the calendar month."""
    anchor_us: int = 0
    """Any start of a candle of this timeframe."""

    def floor_us(self, timestamp_us: int) -> int:
        """Return the start of the candle that `timestamp_us` lies in."""
        if self.step_us is not None:
            return timestamp_us - (timestamp_us - self.anchor_us) % self.step_us
        month = datetime.fromtimestamp(timestamp_us // SECOND_US, UTC)
        return _epoch_us(month.year, month.month)

    def next_us(self, start_us: int) -> int:
        """Return the start of the candle after the one that starts at `start_us`."""
        if self.step_us is not None:
            return start_us + self.step_us
        month = datetime.fromtimestamp(start_us // SECOND_US, UTC)
        return _epoch_us(month.year + month.month // 12, month.month % 12 + 1)

    def are_consecutive(self, starts_us: list[int]) -> bool:
        """Tell whether each start is that of the candle after the one before."""
        if self.step_us is None:
            return all(self.next_us(earlier) == later for earlier, later in itertools.pairwise(starts_us))
        return not starts_us or starts_us == list(
            range(starts_us[0], starts_us[0] + len(starts_us) * self.step_us, self.step_us)
        )


def parse_timeframe(name: str, *, week_anchor_us: int = _MONDAY_US) -> Timeframe:
    """Return the timeframe called `name`: a number and one of s, m, h, d, w, M.

    Weeks start on Monday unless the venue starts them elsewhere.

    Raises:
        ValueError: not a timeframe.
    """
    number, unit = name[:-1], name[-1:]
    if number.isdecimal() and number.isascii() and int(number) > 0:
        if name == "1M":
            return Timeframe(name, None)
        if unit in _UNITS_US:
            return Timeframe(name, int(number) * _UNITS_US[unit], week_anchor_us if unit == "w" else 0)
    raise ValueError(f"timeframe is {name!r}; allowed is a number and one of s, m, h, d, w, or 1M")


def _epoch_us(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * SECOND_US
