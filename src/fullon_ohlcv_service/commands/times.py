"""Times as people write them, and as they read them: UTC, always (pure)."""

import re
from datetime import UTC, datetime, timedelta

from fullon_ohlcv.records import Interval
from fullon_ohlcv.timeframe import from_us, to_us
from fullon_ohlcv_service.errors import CommandError

FORMS = "2026-11-20, 2026-11-20T12:30, 3h (ago: m, h, d, w) or now"
_AGO = re.compile(r"(\d{1,6})\s*([mhdw])(\s*ago)?", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now_us: int) -> int:
    """Return the microseconds that `text` means; without a time zone it is UTC.

    Raises:
        CommandError: it means none; says what does.
    """
    given = text.strip()
    if given == "now":
        return now_us
    try:
        if match := _AGO.fullmatch(given):
            return to_us(from_us(now_us) - timedelta(**{_UNITS[match[2]]: int(match[1])}))
        at = datetime.fromisoformat(given)
        return to_us(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise CommandError(f"{text!r} is no time; allowed are {FORMS}") from None


def parse_range(start: str | None, end: str | None, now_us: int, *, default: Interval) -> Interval:
    """Return the half-open interval between two times; what is not given comes from `default`.

    Raises:
        CommandError: one does not parse, or the end is not after the start.
    """
    start_us = default[0] if start is None else parse_time(start, now_us)
    end_us = default[1] if end is None else parse_time(end, now_us)
    if start_us >= end_us:
        raise CommandError(f"--from {say_time(start_us)} is not before --to {say_time(end_us)}")
    return start_us, end_us


def say_time(timestamp_us: int | None) -> str:
    """Return `2026-11-20 12:30`; empty for None."""
    return "" if timestamp_us is None else f"{from_us(timestamp_us):%Y-%m-%d %H:%M}"


def say_when(timestamp_us: int | None, now_us: int) -> str:
    """Return a time as short as it is clear now: `12:30`, `11-20 12:30` or `2025-11-20`; empty for None."""
    if timestamp_us is None:
        return ""
    at, now = from_us(timestamp_us), from_us(now_us)
    if at.date() == now.date():
        return f"{at:%H:%M}"
    return f"{at:%m-%d %H:%M}" if at.year == now.year else f"{at:%Y-%m-%d}"


def iso(timestamp_us: int | None) -> str | None:
    """Return `2026-11-20T12:30:00+00:00` for machines."""
    return None if timestamp_us is None else from_us(timestamp_us).isoformat()


def say_span(seconds: float) -> str:
    """Return `40 s`, `12 min`, `3 h 20 min` or `5 d 3 h`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 14 else f"{days} d"
