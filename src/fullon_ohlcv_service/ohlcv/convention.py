"""Does a stream speak of candles as the venue's history does? (pure: no I/O, no clock)

Exchanges, and libraries between us and them, stamp live candles with their end, count contracts or the quote currency,
or tell a candle for the last time before it is over. The first closed live candles of a series are compared with REST
before any is stored: what is wrong about every candle in the same way is a convention, and no stream of it is stored.
A candle that merely differs is not: it is stored, and the re-check corrects it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CandleRow

SHIFT_MAX = 3
"""How many intervals before and after its own a candle is looked for."""
RUNNING_MAX = 3
"""So many candles in a row that were told before they were over are no accident."""
_TOLERANCE = 1e-9


class Finding(StrEnum):
    """What a comparison has found."""

    AGREES = "agrees"
    SHIFTED = "shifted"
    """It is another interval's candle; `amount` says how many intervals late it is stamped."""
    PRICE_UNIT = "price unit"
    """Its prices are `amount` times those of REST, a power of ten."""
    VOLUME_UNIT = "volume unit"
    """Its volume is `amount` times that of REST: a power of ten, or the price."""
    RUNNING = "running"
    """It is what its candle, or a neighbour, was before it was over; `amount` is the part of the volume it had."""
    SCALED = "scaled"
    """Only its volume differs, by the factor `amount`."""
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One live candle beside REST."""

    timestamp_us: int
    finding: Finding
    amount: float = 1.0


DECISIVE = (Finding.AGREES, Finding.SHIFTED, Finding.PRICE_UNIT, Finding.VOLUME_UNIT)
"""Findings that one candle is enough for."""


class Verdict(StrEnum):
    """What follows from the comparisons so far."""

    STORE = "store"
    WAIT = "wait"
    """Another candle has to be compared."""
    STOP = "stop"


def compare(live: CandleRow, rest: Mapping[int, CandleRow]) -> Comparison:
    """Compare a live candle with those that REST has of its minute and around it, by open time."""
    at_us = live[0]
    own = rest.get(at_us)
    if own is not None and _same(live, own):
        return Comparison(at_us, Finding.AGREES)
    for shift in sorted((*range(-SHIFT_MAX, 0), *range(1, SHIFT_MAX + 1)), key=abs):
        other = rest.get(at_us - shift * MINUTE_US)
        if other is not None and _same(live, other):
            return Comparison(at_us, Finding.SHIFTED, shift)
    if own is not None and own[5] > 0 and live[5] > 0:
        found = _compare_values(live, own)
        if found.finding is not Finding.DIFFERS:
            return found
    for other in (rest.get(at_us + MINUTE_US), rest.get(at_us - MINUTE_US)):
        if other is not None and _is_part(live, other):
            return Comparison(at_us, Finding.RUNNING, live[5] / other[5])
    return Comparison(at_us, Finding.DIFFERS)


def _compare_values(live: CandleRow, own: CandleRow) -> Comparison:
    at_us, ratio = live[0], live[5] / own[5]
    if (factor := _power_of_ten([mine / theirs for mine, theirs in zip(live[1:5], own[1:5], strict=True)])) is not None:
        return Comparison(at_us, Finding.PRICE_UNIT, factor)
    if all(map(_close, live[1:5], own[1:5])):
        if _power_of_ten([ratio]) is not None or _is_price(ratio, own) or _is_price(1 / ratio, own):
            return Comparison(at_us, Finding.VOLUME_UNIT, ratio)
        return Comparison(at_us, Finding.RUNNING if ratio < 1 else Finding.SCALED, ratio)
    return Comparison(at_us, Finding.RUNNING if _is_part(live, own) else Finding.DIFFERS, ratio)


def decide(comparisons: Sequence[Comparison]) -> Verdict:
    """Return what follows from the comparisons of a series' first candles, oldest first."""
    last = comparisons[-1]
    if last.finding in DECISIVE:
        return Verdict.STORE if last.finding is Finding.AGREES else Verdict.STOP
    if last.finding is Finding.DIFFERS:
        return Verdict.STORE
    if len(comparisons) == 1:
        return Verdict.WAIT
    before = comparisons[-2]
    if before.finding is last.finding and math.isclose(before.amount, last.amount, rel_tol=1e-6):
        return Verdict.STOP
    if any(one.finding is not Finding.RUNNING for one in comparisons):
        return Verdict.STORE
    return Verdict.STOP if len(comparisons) >= RUNNING_MAX else Verdict.WAIT


def describe(comparisons: Sequence[Comparison]) -> str:
    """Return what is wrong with a stream that `decide` has stopped."""
    last = comparisons[-1]
    match last.finding:
        case Finding.SHIFTED:
            way = "late" if last.amount > 0 else "early"
            return f"live candles are stamped {abs(last.amount):.0f} min {way}"
        case Finding.PRICE_UNIT:
            return f"prices of live candles are {last.amount:g} times those of REST"
        case Finding.VOLUME_UNIT:
            return f"volumes of live candles are {last.amount:g} times those of REST"
        case Finding.SCALED | Finding.RUNNING if len(comparisons) < RUNNING_MAX:
            return f"volumes of live candles are {last.amount:g} times those of REST, again and again"
        case _:
            return "live candles end before their minute does: what is told last is still in progress"


def _is_part(live: CandleRow, whole: CandleRow) -> bool:
    """Tell whether a candle may be an earlier state of another."""
    return _close(live[1], whole[1]) and whole[3] <= live[3] <= live[2] <= whole[2] and 0 < live[5] < whole[5]


def _same(live: CandleRow, rest: CandleRow) -> bool:
    counts = live[6] is None or rest[6] is None or live[6] == rest[6]
    return counts and all(map(_close, live[1:6], rest[1:6]))


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE)


def _power_of_ten(ratios: Sequence[float]) -> float | None:
    """Return the power of ten, but 1, that all ratios are; None where there is none."""
    if not 0 < ratios[0] < math.inf:
        return None
    factor = 10.0 ** round(math.log10(ratios[0]))
    return factor if factor != 1 and all(_close(ratio, factor) for ratio in ratios) else None


def _is_price(ratio: float, candle: CandleRow) -> bool:
    """Tell whether a volume that is off by `ratio` is one in the quote currency; near a price of 1 nobody can tell."""
    return candle[3] * (1 - 1e-6) <= ratio <= candle[2] * (1 + 1e-6) and not 0.5 < ratio < 2
