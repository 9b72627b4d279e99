"""Page through closed candles.

The end is known by time, never by a short or an empty page: after an empty one the next candle is searched for, since
an exchange may answer only a window. A candle that is absent between two others, or at the start, is the exchange's own
hole: confirmed by a second request and named with its reason. Where the exchange documents that a minute without trades
has no candle (`absent_is_quiet`), it is verified empty instead, and the page is to be read again before it is trusted.
At the end a candle may simply not be published yet: it is named only once it is `_ABSENT_AGE_US` old, and left as a gap
before that. A start that the exchange refuses as too old is moved to the oldest one it accepts.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from fullon_exchange.answers import CandleAnswer, VenueFacts
from fullon_exchange.clock import Clock
from fullon_exchange.errors import PageStuck, RequestRefused
from fullon_exchange.history import reasons
from fullon_exchange.history.reasons import Settle
from fullon_exchange.history.search import earliest_accepted, next_open_us, window_us
from fullon_exchange.records import Candle, Interval, Page
from fullon_exchange.timeframes import DAY_US, MINUTE_US, Timeframe
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
    page: int
    """How many candles one answer spans at least, if there are as many."""
    absent_is_quiet: bool
    """True where the exchange documents that a candle without trades is absent."""
    facts: VenueFacts

    def coarser(self) -> "CandleSource | None":
        """Return the source of coarser candles of the same market, an index of these; None where there is none."""

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
        RequestRefused: the exchange refuses every start.
    """
    timeframe = source.timeframe
    position = timeframe.floor_us(start_us)
    settled_us = settle.until_us(clock)
    end_us = timeframe.floor_us(min(end_us, settled_us))
    first = True
    while position < end_us:
        try:
            answer, runs, contradictory = await _fetch(source, position, end_us)
        except RequestRefused as error:
            reach_us = await _reach_us(source, position, error, clock)
            if reach_us is None or reach_us <= position:
                raise
            reach_us = min(reach_us, end_us)
            reason = f"{reasons.TOO_OLD} by {source.exchange} ({error.args[0]})"
            yield Page((), (reach_us, reach_us), [((position, reach_us), reason)])
            position = reach_us
            continue
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
        doubtful = contradictory or any(why.startswith(_DOUBTFUL) for hole in explained for _, why in hole.named)
        for run, hole in zip(runs, explained, strict=True):
            interval = (hole.known_from_us, timeframe.next_us(run[-1][0]))
            unseen = hole.known_from_us < run[0][0] or not timeframe.are_consecutive([at_us for at_us, _ in run])
            yield Page([candle for _, candle in run if candle is not None], interval, hole.named, doubtful or unseen)
        if not runs:
            next_us = await _next_us(source, answer, position, settled_us)
            absent_until = min(end_us, timeframe.floor_us(settled_us - _ABSENT_AGE_US))
            if next_us is not None:
                expected = min(next_us, end_us)
                hole = await holes.explain(position, expected)
                yield Page((), (hole.known_from_us, expected), hole.named, doubtful=True)
            elif position < absent_until:
                hole = await holes.explain(position, absent_until, followed=False)
                yield Page((), (absent_until, absent_until), hole.named)
                return
            else:
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
    reading = _read(await source.fetch(start_us, end_us), source, start_us, end_us)
    answer, runs, contradictory = reading
    begins = bool(runs) and (runs[0][0][0] == start_us or _fills_window(source, answer) or source.absent_is_quiet)
    if begins and len(runs) == 1 and not answer.unreadable and not contradictory:
        return reading
    again = _read(await source.fetch(start_us, end_us), source, start_us, end_us)
    return again if again.fullness >= reading.fullness else reading


def _read(answer: CandleAnswer, source: CandleSource, start_us: int, end_us: int) -> _Reading:
    timeframe = source.timeframe
    opens_us = [row.timestamp_us for row in answer.rows]
    if opens_us and not answer.quiet and timeframe.are_consecutive(opens_us):
        # Nearly always, and a tenth of the work: each candle once, in order, none absent.
        buckets: list[_Bucket] = list(zip(opens_us, answer.rows, strict=True))
        if opens_us[0] < start_us or opens_us[-1] >= end_us:
            buckets = [bucket for bucket in buckets if start_us <= bucket[0] < end_us]
        return _Reading(answer, [buckets] if buckets else [], contradictory=False)
    buckets = _within(answer, start_us, end_us)
    contradictory = _contradicts(answer)
    if source.absent_is_quiet and not answer.unreadable and not contradictory:
        return _Reading(answer, [buckets] if buckets else [], contradictory)
    return _Reading(answer, _runs(buckets, timeframe), contradictory)


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


async def _next_us(source: CandleSource, answer: CandleAnswer, position: int, until_us: int) -> int | None:
    """Return when the first candle after an answer without any of the asked range opens; None: none before `until_us`.

    A venue with a window has answered all that it serves.
    """
    opens_us = [*(row.timestamp_us for row in answer.rows), *answer.quiet]
    if (beyond_us := min((at_us for at_us in opens_us if at_us >= position), default=None)) is not None:
        return beyond_us
    if source.window is not None or until_us - position <= window_us(source):
        return None
    return await next_open_us(source, position, until_us)


async def _reach_us(source: CandleSource, refused_us: int, error: RequestRefused, clock: Clock) -> int | None:
    """Return the oldest start that the exchange accepts where it refuses `refused_us`; None where it refuses any."""
    step_us = source.timeframe.step_us or 31 * DAY_US
    now_us = source.timeframe.floor_us(clock.now_us())

    async def accepts(steps: int) -> bool:
        try:
            await source.fetch(now_us - steps * step_us, now_us)
        except RequestRefused:
            return False
        return True

    refused = (now_us - refused_us) // step_us
    known = source.facts.reach_steps.get(source.timeframe.name)
    if known is None or known >= refused:
        known = await earliest_accepted(accepts, refused, str(error.args[0]))
        if known is None:
            return None
        source.facts.reach_steps[source.timeframe.name] = known
    return source.timeframe.floor_us(now_us - known * step_us)


class _Hole(NamedTuple):
    """What is known of a stretch without candles."""

    named: list[tuple[Interval, str]]
    """Its parts that are not served, each with the reason, from its start on."""
    known_from_us: int
    """From here to its end nothing was traded."""


class _Holes:
    """Say why an answer lacks candles."""

    def __init__(self, source: CandleSource, answer: CandleAnswer, *, leading: bool) -> None:
        self._source = source
        self._answer = answer
        self._leading = leading

    async def explain(self, start_us: int, end_us: int, *, followed: bool = True) -> _Hole:
        """Return what is known of `[start_us, end_us)`, which a candle follows unless `followed` is false."""
        leading, self._leading = self._leading, False
        named: list[tuple[Interval, str]] = []
        if start_us >= end_us:
            return _Hole(named, end_us)
        quiet = self._source.absent_is_quiet and followed and not self._answer.unreadable
        if leading:
            start_us, existed = await self._explain_start(start_us, end_us, named)
            quiet = quiet and existed
        if quiet:
            return _Hole(named, start_us)
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
        return _Hole(named, end_us)

    async def _explain_start(self, start_us: int, end_us: int, named: list[tuple[Interval, str]]) -> tuple[int, bool]:
        """Name what is absent because the venue's history begins later.

        Return where that explanation ends, and whether the market is known to have been traded before that.
        """
        source, rows = self._source, self._answer.rows
        if _fills_window(source, self._answer):
            kept = f"{source.exchange} serves only its newest {source.window} candles of {source.timeframe.name}"
            named.append(((start_us, end_us), f"{reasons.RETENTION}: {kept}"))
            return end_us, True
        listed_us = await source.fetch_listed_us(start_us)
        if listed_us is None:
            return start_us, False
        # Some venues tell the time of the first trade: its candle opened earlier.
        listed_us = source.timeframe.floor_us(listed_us)
        if listed_us <= start_us:
            return start_us, True
        if rows and listed_us > rows[0].timestamp_us:
            named.append(
                ((start_us, end_us), f"{reasons.START_IGNORED}: {source.exchange} answers with its newest candles")
            )
            return end_us, True
        listed_us = min(listed_us, end_us)
        named.append(((start_us, listed_us), f"{reasons.LISTED_LATER}: the first candle opened at {listed_us} us"))
        return listed_us, True
