"""Find where an exchange's candles go on after an empty answer, and how far back it lets a request start.

Many exchanges answer only a bounded window, `[start, start + page)`: their empty answer proves nothing beyond it. What
comes next is looked up in coarser candles, whose windows are longer, so a year without trades costs a handful of
requests and the market's first candle is found the same way. Others refuse a start that is too old.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from fullon_exchange.answers import CandleAnswer
from fullon_exchange.errors import MalformedMessage, NotSupported, RequestRefused
from fullon_exchange.timeframes import DAY_US, Timeframe

INDEX_TIMEFRAMES = ("1h", "1d")
"""The timeframes that serve as an index of finer ones: a window of each spans many candles of the next."""

_UNUSABLE = (MalformedMessage, NotSupported, RequestRefused)
"""What makes a coarser timeframe useless as an index."""
_MARGIN = 2
"""Steps by which the reach of an exchange may shrink before it is used."""


class Searched(Protocol):
    """What a search asks of a candle source; see `CandleSource`."""

    timeframe: Timeframe
    page: int

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer: ...
    def coarser(self) -> "Searched | None": ...


def index_timeframe(timeframe: Timeframe, available: Iterable[str]) -> str | None:
    """Return the timeframe that indexes candles of `timeframe` among those an exchange has; None where it has none."""
    lengths: Mapping[str, int] = {"1h": DAY_US // 24, "1d": DAY_US}
    own_us = timeframe.step_us or DAY_US
    return next((name for name in INDEX_TIMEFRAMES if name in available and lengths[name] > own_us), None)


def window_us(source: Searched) -> int:
    """Return the length of the window that one answer spans at least, in microseconds."""
    return source.page * (source.timeframe.step_us or 28 * DAY_US)


async def next_open_us(source: Searched, start_us: int, end_us: int) -> int | None:
    """Return when the first candle at or after `start_us`, a candle's start, opens; None: none before `end_us`.

    Costs a request per empty window of the coarsest timeframe, and one or two for each finer one.
    """
    coarser = source.coarser()
    position_us = start_us
    while position_us < end_us:
        answer = await source.fetch(position_us, end_us)
        opens_us = [*(row.timestamp_us for row in answer.rows), *answer.quiet]
        if (found_us := min((at_us for at_us in opens_us if at_us >= position_us), default=None)) is not None:
            return found_us if found_us < end_us else None
        empty_until_us = source.timeframe.floor_us(position_us + window_us(source))
        aligned_us = empty_until_us if coarser is None else coarser.timeframe.floor_us(empty_until_us)
        if coarser is None or aligned_us <= position_us:
            position_us = empty_until_us
            continue
        try:
            indexed_us = await next_open_us(coarser, aligned_us, end_us)
        except _UNUSABLE:
            coarser = None
            position_us = empty_until_us
            continue
        if indexed_us is None:
            return None
        position_us = max(aligned_us, indexed_us)
    return None


async def earliest_accepted(accepts: Callable[[int], Awaitable[bool]], refused: int, hint: str) -> int | None:
    """Return how many steps back a request may start, less a margin; None: the refusal is about something else.

    `accepts(n)` asks for a start `n` steps back, `refused` is a number of steps that was refused. A number in `hint`,
    the exchange's sentence, is tried first; else about twenty requests find it.
    """
    accepted = 1
    if refused <= accepted or not await accepts(accepted):
        return None
    for number in sorted({int(digits) for digits in re.findall(r"\d+", hint.replace(",", "")) if len(digits) < 10}):
        guess = number - _MARGIN
        if accepted < guess < refused and await accepts(guess):
            accepted = guess
            if number + _MARGIN < refused and not await accepts(number + _MARGIN):
                return accepted
    while refused - accepted > 1:
        middle = (accepted + refused) // 2
        if await accepts(middle):
            accepted = middle
        else:
            refused = middle
    return max(1, accepted - _MARGIN)
