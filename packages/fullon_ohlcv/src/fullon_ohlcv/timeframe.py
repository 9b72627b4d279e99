"""Timeframes: parsing, and the calendar arithmetic of their buckets. Pure, UTC whatever the environment says.

Fixed widths (minutes, hours, days) are counted from the Unix epoch, weeks from a Monday, months by the calendar
from January of the year 0, so that three months are quarters and twelve are years. Timestamps are integer
microseconds since the epoch; a bucket is named by its start.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
MONDAY_US = 4 * DAY_US
"""1970-01-05, the first Monday after the epoch."""

TRADES = "trades"
CANDLES = "candles"
CANDLES_1M = "candles1m"

Unit = Literal["minute", "hour", "day", "week", "month"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SYMBOLS: dict[str, Unit] = {"m": "minute", "h": "hour", "d": "day", "w": "week", "M": "month"}
_WIDTHS_US: dict[Unit, int] = {"minute": MINUTE_US, "hour": HOUR_US, "day": DAY_US, "week": WEEK_US}
_FORM = re.compile(r"([1-9]\d{0,4})([mhdwM])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeframe:
    """`count` units of the calendar; `str()` gives the exchanges' short form (`1m`, `4h`, `1M`)."""

    count: int
    unit: Unit

    def __post_init__(self) -> None:
        if self.unit not in _SYMBOLS.values():
            raise ValueError(f"unit is {self.unit!r}; allowed are {', '.join(_SYMBOLS.values())}")
        if not isinstance(self.count, int) or isinstance(self.count, bool) or not 1 <= self.count <= 99_999:
            raise ValueError(f"a timeframe of {self.count!r} {self.unit}s; allowed is a whole number from 1 to 99999")

    @classmethod
    def parse(cls, text: str) -> "Timeframe":
        """Read `5m`, `1h`, `1d`, `1w`, `1M` (`m` is a minute, `M` a month).

        Raises:
            ValueError: any other text.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"timeframe is {text!r}; allowed is a number and one of m, h, d, w, M, such as 15m")
        return cls(int(match[1]), _SYMBOLS[match[2]])

    @classmethod
    def of_period(cls, compression: int, period: str) -> "Timeframe":
        """Read `(15, "minutes")`: minute, hour, day, week or month, singular or plural, in any case.

        Raises:
            ValueError: another period, or a compression below 1.
        """
        unit = period.lower().removesuffix("s") if isinstance(period, str) else ""
        for known in _SYMBOLS.values():
            if unit == known:
                return cls(compression, known)
        raise ValueError(f"period is {period!r}; allowed are {', '.join(f'{unit}s' for unit in _SYMBOLS.values())}")

    def __str__(self) -> str:
        symbol = next(symbol for symbol, unit in _SYMBOLS.items() if unit == self.unit)
        return f"{self.count}{symbol}"

    @property
    def width_us(self) -> int | None:
        """The width of every bucket; None for months, which differ."""
        width_us = _WIDTHS_US.get(self.unit)
        return None if width_us is None else width_us * self.count

    @property
    def origin_us(self) -> int:
        """A bucket start that buckets of fixed width are counted from."""
        return MONDAY_US if self.unit == "week" else 0

    def floor(self, timestamp_us: int) -> int:
        """Return the start of the bucket that `timestamp_us` lies in."""
        width_us = self.width_us
        if width_us is not None:
            return timestamp_us - (timestamp_us - self.origin_us) % width_us
        return _month_start_us(_month_of(timestamp_us) // self.count * self.count)

    def next(self, start_us: int) -> int:
        """Return the start of the bucket that follows the one starting at `start_us`."""
        width_us = self.width_us
        if width_us is not None:
            return start_us + width_us
        return _month_start_us(_month_of(start_us) + self.count)

    def ceil(self, timestamp_us: int) -> int:
        """Return the first bucket start at or after `timestamp_us`."""
        start_us = self.floor(timestamp_us)
        return start_us if start_us == timestamp_us else self.next(start_us)

    def divides(self, other: "Timeframe") -> bool:
        """Whether every bucket of `other` is made of whole buckets of this timeframe."""
        mine_us, other_us = self.width_us, other.width_us
        if mine_us is not None and other_us is not None:
            return other_us % mine_us == 0 and (other.origin_us - self.origin_us) % mine_us == 0
        if mine_us is not None:
            return DAY_US % mine_us == 0
        return other_us is None and other.count % self.count == 0


def _month_of(timestamp_us: int) -> int:
    at = _EPOCH + timedelta(microseconds=timestamp_us)
    return at.year * 12 + at.month - 1


def _month_start_us(month: int) -> int:
    return (datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=256)
def timeframe_of_channel(channel: str) -> Timeframe | None:
    """Return the timeframe of a candle channel (`candles5m` → 5m), None for `trades`.

    Raises:
        ValueError: neither; the sentence says what is allowed.
    """
    if channel == TRADES:
        return None
    if channel.startswith(CANDLES):
        return Timeframe.parse(channel.removeprefix(CANDLES))
    raise ValueError(f"channel is {channel!r}; allowed are 'trades' and 'candles' with a timeframe, such as candles1m")


def to_us(at: datetime) -> int:
    """Return an aware datetime as integer microseconds since the epoch, exactly.

    Raises:
        ValueError: the datetime is naive.
    """
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError(f"{at!r} has no time zone; allowed are aware datetimes")
    return (at - _EPOCH) // _MICROSECOND


def from_us(timestamp_us: int) -> datetime:
    """Return integer microseconds since the epoch as an aware datetime in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=timestamp_us)
