"""Numbers and times as text, exact to the last decimal."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from fullon_simulator.clock import SECOND_US

_TENS: tuple[int, ...] = tuple(10**power for power in range(32))

Printer = Callable[[int], str]
"""From units to text."""


def decimal_text(units: int, digits: int, printed: int | None = None) -> str:
    """Return `units` of the decimal `digits` as a plain number with `printed` (at least `digits`) decimals.

    >>> decimal_text(27625, 8)
    '0.00027625'
    """
    if printed is not None:
        units *= _TENS[printed - digits]
        digits = printed
    if not digits:
        return str(units)
    whole, fraction = divmod(units, _TENS[digits])
    return f"{whole}.{fraction:0{digits}d}"


def rounded(units: int, digits: int, kept: int) -> int:
    """Return `units` of the decimal `digits` in units of the decimal `kept`, rounded half up."""
    if kept >= digits:
        return units * _TENS[kept - digits]
    unit = _TENS[digits - kept]
    return (units + unit // 2) // unit


def iso_us(time_us: int) -> str:
    """Return a time as `2023-10-06T17:35:55.440295Z`."""
    return f"{_iso_second(time_us // SECOND_US)}.{time_us % SECOND_US:06d}Z"


def iso_ns(time_us: int) -> str:
    """Return a time as `2023-10-04T16:25:00.000000000Z`."""
    return f"{_iso_second(time_us // SECOND_US)}.{time_us % SECOND_US:06d}000Z"


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
