"""Page through closed candles.

The end is known by time, never by a short page. A candle that is absent between two others, or at the start, is
the venue's own hole: confirmed by a second request and named with its reason. At the end it may simply not be
published yet: it is named only once it is `_ABSENT_AGE_US` old, and left as a gap before that.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from fullon_exchange.answers import CandleAnswer
from fullon_exchange.clock import Clock
from fullon_exchange.errors import PageStuck
from fullon_exchange.history import reasons
from fullon_exchange.history.reasons import Settle
from fullon_exchange.records import Candle, Interval, Page
from fullon_exchange.timeframes import MINUTE_US, Timeframe
from fullon_log import get_component_logger

_ABSENT_AGE_US = 10 * MINUTE_US

_DOUBTFUL = (reasons.NOT_PUBLISHED, reasons.UNREADABLE, reasons.START_IGNORED)

_Bucket = tuple[int, Candle | None]
"""What an answer says of one candle's time: when it opens, and the candle; None where nothing traded."""


class CandleSource(Protocol):
    """One venue's candles of one symbol and timeframe."""

    exchange: str
    symbol: str
    timeframe: Timeframe
    window: int | None
    """How many of the newest candles the venue serves at all; None where all of them."""

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        """Ask for the candles of `[start_us, end_us)`; the venue may answer more, fewer or others."""

    async def fetch_listed_us(self, start_us: int) -> int | None:
        """Return when the market's first candle opened; None where it has none or the venue cannot tell.

        From memory if that was before `start_us`, and asked anew if it was not.
        """


async def candle_pages(
    source: CandleSource, start_us: int, end_us: int, *, clock: Clock, settle: Settle
) -> AsyncIterator[Page[Candle]]:
    """Yield the closed candles of `[start_us, end_us)` page by page; see `Exchange.fetch_candles`.

    Raises:
        PageStuck: asked for what follows, the venue answers only what came before.
    """
    timeframe = source.timeframe
    position = timeframe.floor_us(start_us)
    settled_us = settle.until_us(clock)
    end_us = timeframe.floor_us(min(end_us, settled_us))
    first = True
    while position < end_us:
        answer, runs, contradictory = await _fetch(source, position, end_us)
        if not runs and _is_stale(source, answer, position):
            raise PageStuck(
                f"asked for candles from {position} on, answered {len(answer.rows)} candles that end before it",
                exchange=source.exchange,
                symbol=source.symbol,
                channel=f"candles{timeframe.name}",
            )
        holes = _Holes(source, answer, leading=first)
        expected = position
        explained = []
        for run in runs:
            explained.append(await holes.explain(expected, run[0][0]))
            expected = timeframe.next_us(run[-1][0])
        doubtful = contradictory or any(why.startswith(_DOUBTFUL) for hole in explained for _, why in hole)
        for run, hole in zip(runs, explained, strict=True):
            interval = (run[0][0], timeframe.next_us(run[-1][0]))
            yield Page([candle for _, candle in run if candle is not None], interval, hole, doubtful)
        if not runs:
            absent_until = min(end_us, timeframe.floor_us(settled_us - _ABSENT_AGE_US))
            if position < absent_until:
                yield Page((), (absent_until, absent_until), await holes.explain(position, absent_until))
            return
        position = expected
        first = False


class _Reading(NamedTuple):
    """What an answer says of the asked range."""

    answer: CandleAnswer
    runs: list[list[_Bucket]]
    """Its buckets, each once, cut into runs of consecutive ones."""
    contradictory: bool
    """True where it says two things of one candle."""

    @property
    def fullness(self) -> int:
        """How many buckets it tells of."""
        return sum(map(len, self.runs))


async def _fetch(source: CandleSource, start_us: int, end_us: int) -> _Reading:
    """Ask, and ask again where something is absent or unreadable; return the fuller reading.

    What lies before a full window is not absent, it is gone.
    """
    reading = _read(await source.fetch(start_us, end_us), source.timeframe, start_us, end_us)
    answer, runs, contradictory = reading
    begins = bool(runs) and (runs[0][0][0] == start_us or _fills_window(source, answer))
    if begins and len(runs) == 1 and not answer.unreadable and not contradictory:
        return reading
    again = _read(await source.fetch(start_us, end_us), source.timeframe, start_us, end_us)
    return again if again.fullness >= reading.fullness else reading


def _read(answer: CandleAnswer, timeframe: Timeframe, start_us: int, end_us: int) -> _Reading:
    opens_us = [row.timestamp_us for row in answer.rows]
    if opens_us and not answer.quiet and timeframe.are_consecutive(opens_us):
        # Nearly always, and a tenth of the work: each candle once, in order, none absent.
        buckets: list[_Bucket] = list(zip(opens_us, answer.rows, strict=True))
        if opens_us[0] < start_us or opens_us[-1] >= end_us:
            buckets = [bucket for bucket in buckets if start_us <= bucket[0] < end_us]
        return _Reading(answer, [buckets] if buckets else [], contradictory=False)
    return _Reading(answer, _runs(_within(answer, start_us, end_us), timeframe), _contradicts(answer))


def _contradicts(answer: CandleAnswer) -> bool:
    """Tell whether an answer says two things of one candle."""
    told: dict[int, Candle | None] = dict.fromkeys(answer.quiet)
    return any(told.setdefault(row.timestamp_us, row) != row for row in answer.rows)


def _fills_window(source: CandleSource, answer: CandleAnswer) -> bool:
    """Tell whether an answer is as long as the venue's memory."""
    return source.window is not None and len(answer.rows) + len(answer.quiet) >= source.window - 1


def _within(answer: CandleAnswer, start_us: int, end_us: int) -> list[_Bucket]:
    """Return each bucket of `[start_us, end_us)` once, oldest first; of two candles the later one in the answer."""
    unique: dict[int, Candle | None] = dict.fromkeys(answer.quiet)
    unique |= {row.timestamp_us: row for row in answer.rows}
    return [(open_us, unique[open_us]) for open_us in sorted(unique) if start_us <= open_us < end_us]


def _runs(buckets: Sequence[_Bucket], timeframe: Timeframe) -> list[list[_Bucket]]:
    """Cut buckets into runs of consecutive ones."""
    runs: list[list[_Bucket]] = []
    expected = None
    for bucket in buckets:
        open_us = bucket[0]
        if open_us != expected:
            run: list[_Bucket] = []
            runs.append(run)
        run.append(bucket)
        expected = timeframe.next_us(open_us)
    return runs


def _is_stale(source: CandleSource, answer: CandleAnswer, position: int) -> bool:
    """Tell whether the venue answered only with candles from before the asked start.

    A venue with a window answers with its newest candles whatever is asked; that is no standstill.
    """
    return source.window is None and bool(answer.rows) and all(row.timestamp_us < position for row in answer.rows)


class _Holes:
    """Say why an answer lacks candles."""

    def __init__(self, source: CandleSource, answer: CandleAnswer, *, leading: bool) -> None:
        self._source = source
        self._answer = answer
        self._leading = leading

    async def explain(self, start_us: int, end_us: int) -> list[tuple[Interval, str]]:
        """Return `[start_us, end_us)` cut by reason; empty where nothing is absent."""
        leading, self._leading = self._leading, False
        if start_us >= end_us:
            return []
        named: list[tuple[Interval, str]] = []
        if leading:
            start_us = await self._explain_start(start_us, end_us, named)
        if start_us < end_us:
            reason = f"{reasons.NOT_PUBLISHED}: {self._source.exchange} has no candle here"
            if self._answer.unreadable:
                reason = f"{reasons.UNREADABLE}: {self._answer.unreadable[0]}"
            named.append(((start_us, end_us), reason))
            get_component_logger("fullon.exchange.history").warning(
                "hole in candle history",
                exchange=self._source.exchange,
                symbol=self._source.symbol,
                start_us=start_us,
                end_us=end_us,
                reason=reason,
            )
        return named

    async def _explain_start(self, start_us: int, end_us: int, named: list[tuple[Interval, str]]) -> int:
        """Name what is absent because the venue's history begins later; return where that explanation ends."""
        source, rows = self._source, self._answer.rows
        if _fills_window(source, self._answer):
            kept = f"{source.exchange} serves only its newest {source.window} candles of {source.timeframe.name}"
            named.append(((start_us, end_us), f"{reasons.RETENTION}: {kept}"))
            return end_us
        listed_us = await source.fetch_listed_us(start_us)
        if listed_us is None:
            return start_us
        # Some venues tell the time of the first trade: its candle opened earlier.
        listed_us = source.timeframe.floor_us(listed_us)
        if listed_us <= start_us:
            return start_us
        if rows and listed_us > rows[0].timestamp_us:
            named.append(
                ((start_us, end_us), f"{reasons.START_IGNORED}: {source.exchange} answers with its newest candles")
            )
            return end_us
        listed_us = min(listed_us, end_us)
        named.append(((start_us, listed_us), f"{reasons.LISTED_LATER}: the first candle opened at {listed_us} us"))
        return listed_us
