"""The candle pager against venues that are functions: the end known by time, every absence with its reason."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence

import pytest
from fixed_clock import unix_now_s
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_exchange.answers import CandleAnswer, VenueFacts
from fullon_exchange.clock import Clock
from fullon_exchange.errors import PageStuck, RequestRefused
from fullon_exchange.history import Settle, candle_pages, index_timeframe, reasons
from fullon_exchange.records import Candle, Page
from fullon_exchange.timeframes import Timeframe, parse_timeframe

NOW_US = 1_767_225_600_000_000 + 30_000_000
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
SETTLE = Settle(exchange_s=5, real_s=0)
LAST_END_US = NOW_US - NOW_US % MINUTE_US


def frozen_clock() -> Clock:
    """A clock that stands at `NOW_US`."""
    return Clock(origin_s=NOW_US / 1_000_000, unix_s=unix_now_s(), speed=1e-9)


def candle(open_us: int, volume: float = 1.0) -> Candle:
    return Candle("A/B", "1m", open_us, 1, 1, 1, 1, volume, 1, closed=True)


class Venue:
    """Answers the first rows at or after the start, the running candle included, at most `page_max` of them."""

    exchange, symbol = "fake", "A/B"
    window: int | None = None
    absent_is_quiet = False

    def __init__(self, opens_us: Sequence[int], page_max: int = 1000) -> None:
        self.timeframe: Timeframe = parse_timeframe("1m")
        self.opens_us = sorted(opens_us)
        self.page = self.page_max = page_max
        self.facts = VenueFacts()
        self.asked: list[int] = []

    def coarser(self) -> "Venue | None":
        return None

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        self.asked.append(start_us)
        return CandleAnswer([candle(us) for us in self.opens_us if us >= start_us][: self.page_max])

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return self.opens_us[0] if self.opens_us else None


async def gather_pages(source: Venue, start_us: int, end_us: int) -> list[Page[Candle]]:
    return [page async for page in candle_pages(source, start_us, end_us, clock=frozen_clock(), settle=SETTLE)]


async def collect(source: Venue, start_us: int, end_us: int) -> list[Page[Candle]]:
    pages = await gather_pages(source, start_us, end_us)
    position = start_us
    for page in pages:
        for interval, _ in page.unavailable:
            assert interval[0] == position < interval[1]
            position = interval[1]
        assert page.interval[0] == position
        expected = page.interval[0]
        for row in page.records:
            assert row.timestamp_us == expected
            expected += MINUTE_US
        assert expected == page.interval[1]
        position = page.interval[1]
    assert position <= end_us
    return pages


def opens(pages: Sequence[Page[Candle]]) -> list[int]:
    return [row.timestamp_us for page in pages for row in page.records]


def unavailable(pages: Sequence[Page[Candle]]) -> list[tuple[tuple[int, int], str]]:
    return [(interval, reason.split(":")[0]) for page in pages for interval, reason in page.unavailable]


@given(
    minutes=st.sets(st.integers(0, 60), min_size=1),
    start=st.integers(0, 60),
    length=st.integers(1, 60),
    page_max=st.integers(1, 20),
)
def test_every_candle_comes_once_and_every_absence_is_named(
    minutes: set[int], start: int, length: int, page_max: int
) -> None:
    begin_us = LAST_END_US - 100 * MINUTE_US
    source = Venue([begin_us + minute * MINUTE_US for minute in minutes], page_max)
    start_us, end_us = begin_us + start * MINUTE_US, begin_us + (start + length) * MINUTE_US
    pages = asyncio.run(collect(source, start_us, end_us))
    wanted = {begin_us + minute * MINUTE_US for minute in minutes if start <= minute < start + length}
    assert opens(pages) == sorted(wanted)
    named = {us for interval, _ in unavailable(pages) for us in range(*interval, MINUTE_US)}
    absent = set(range(start_us, end_us, MINUTE_US)) - wanted
    assert named <= absent
    assert {us for us in absent if us < LAST_END_US - 11 * MINUTE_US} <= named


@given(minutes=st.sets(st.integers(0, 90), min_size=1), page_max=st.integers(1, 40), backwards=st.booleans())
def test_the_order_and_the_repetitions_of_an_answer_change_nothing(
    minutes: set[int], page_max: int, backwards: bool
) -> None:
    """An answer of one run in order is read as a whole, any other bucket by bucket: both say the same."""

    class Stutters(Venue):
        async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
            answer = await super().fetch(start_us, end_us)
            return CandleAnswer([*answer.rows[::-1], *answer.rows] if backwards else [*answer.rows, *answer.rows])

    start_us = LAST_END_US - 91 * MINUTE_US
    present = [start_us + minute * MINUTE_US for minute in minutes]
    plain = asyncio.run(collect(Venue(present, page_max), start_us, LAST_END_US))
    assert asyncio.run(collect(Stutters(present, page_max), start_us, LAST_END_US)) == plain


async def test_the_running_candle_is_dropped_by_time() -> None:
    source = Venue(range(LAST_END_US - 5 * MINUTE_US, LAST_END_US + 1, MINUTE_US))
    pages = await collect(source, LAST_END_US - 5 * MINUTE_US, NOW_US + HOUR_US)
    assert opens(pages)[-1] == LAST_END_US - MINUTE_US
    assert pages[-1].interval[1] == LAST_END_US


@pytest.mark.parametrize("page_max", [1, 7, 500])
async def test_a_short_page_is_not_the_end(page_max: int) -> None:
    start_us = LAST_END_US - HOUR_US
    source = Venue(range(start_us, LAST_END_US, MINUTE_US), page_max)
    assert opens(await collect(source, start_us, LAST_END_US)) == source.opens_us


async def test_before_the_listing_is_listed_later_and_a_hole_in_the_middle_is_an_outage() -> None:
    start_us = LAST_END_US - HOUR_US
    present = [start_us + minute * MINUTE_US for minute in range(60) if minute >= 10 and not 20 <= minute < 25]
    source = Venue(present)
    pages = await collect(source, start_us, LAST_END_US)
    assert unavailable(pages) == [
        ((start_us, start_us + 10 * MINUTE_US), reasons.LISTED_LATER),
        ((start_us + 20 * MINUTE_US, start_us + 25 * MINUTE_US), reasons.NOT_PUBLISHED),
    ]
    assert source.asked == [start_us, start_us], "an absence is confirmed by a second request"


async def test_a_leading_absence_after_the_listing_is_an_outage() -> None:
    start_us = LAST_END_US - HOUR_US
    source = Venue([start_us - HOUR_US, *range(start_us + 5 * MINUTE_US, LAST_END_US, MINUTE_US)])
    pages = await collect(source, start_us, LAST_END_US)
    assert unavailable(pages) == [((start_us, start_us + 5 * MINUTE_US), reasons.NOT_PUBLISHED)]


async def test_a_candle_not_yet_published_is_left_as_a_gap() -> None:
    start_us = LAST_END_US - HOUR_US
    source = Venue(range(start_us, LAST_END_US - 2 * MINUTE_US, MINUTE_US))
    pages = await collect(source, start_us, LAST_END_US)
    assert unavailable(pages) == []
    assert pages[-1].interval[1] == LAST_END_US - 2 * MINUTE_US


async def test_a_market_that_stopped_publishing_is_named_up_to_ten_minutes_ago() -> None:
    start_us = LAST_END_US - HOUR_US
    source = Venue(range(start_us - HOUR_US, start_us, MINUTE_US))
    pages = await collect(source, start_us, LAST_END_US)
    assert unavailable(pages) == [((start_us, LAST_END_US - 10 * MINUTE_US), reasons.NOT_PUBLISHED)]


async def test_a_window_leaves_the_older_part_to_retention() -> None:
    class Window(Venue):
        window: int | None = 20

        async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
            self.asked.append(start_us)
            return CandleAnswer([candle(us) for us in self.opens_us[-20:]])

    source = Window(range(LAST_END_US - HOUR_US, LAST_END_US + 1, MINUTE_US))
    start_us = LAST_END_US - HOUR_US
    pages = await collect(source, start_us, LAST_END_US)
    assert unavailable(pages) == [((start_us, LAST_END_US - 19 * MINUTE_US), reasons.RETENTION)]
    assert len(opens(pages)) == 19
    older = await collect(source, start_us, start_us + 10 * MINUTE_US)
    assert unavailable(older) == [((start_us, start_us + 10 * MINUTE_US), reasons.RETENTION)]


async def test_a_venue_that_ignores_the_start_is_noticed() -> None:
    class Ignores(Venue):
        async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
            return CandleAnswer([candle(us) for us in self.opens_us[-10:]])

        async def fetch_listed_us(self, start_us: int) -> int | None:
            return self.opens_us[-1]

    source = Ignores(range(LAST_END_US - HOUR_US, LAST_END_US, MINUTE_US))
    pages = await collect(source, LAST_END_US - HOUR_US, LAST_END_US)
    assert unavailable(pages) == [((LAST_END_US - HOUR_US, LAST_END_US - 10 * MINUTE_US), reasons.START_IGNORED)]


async def test_a_market_that_began_within_a_candle_is_listed_later() -> None:
    """A venue that tells the time of the first trade, not of the first candle's opening."""

    class Young(Venue):
        async def fetch_listed_us(self, start_us: int) -> int | None:
            return self.opens_us[0] + 17 * MINUTE_US

    end_us = NOW_US - NOW_US % HOUR_US
    begin_us, start_us = end_us - 5 * HOUR_US, end_us - 20 * HOUR_US
    source = Young(range(begin_us, end_us, HOUR_US))
    source.timeframe = parse_timeframe("1h")
    pages = [page async for page in candle_pages(source, start_us, end_us, clock=frozen_clock(), settle=SETTLE)]
    assert unavailable(pages) == [((start_us, begin_us), reasons.LISTED_LATER)]
    assert opens(pages) == source.opens_us


async def test_a_venue_that_answers_only_the_past_is_stuck() -> None:
    class Repeats(Venue):
        async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
            return CandleAnswer([candle(us) for us in self.opens_us[:10]])

    source = Repeats(range(LAST_END_US - HOUR_US, LAST_END_US, MINUTE_US))
    with pytest.raises(PageStuck, match="asked for candles from"):
        await collect(source, LAST_END_US - HOUR_US, LAST_END_US)


async def test_overlapping_and_repeated_rows_do_no_harm() -> None:
    start_us = LAST_END_US - 30 * MINUTE_US

    class Overlaps(Venue):
        async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
            rows = [candle(us) for us in self.opens_us if us >= start_us - 3 * MINUTE_US][:8]
            return CandleAnswer([*rows[::-1], *rows])

    source = Overlaps(range(start_us, LAST_END_US, MINUTE_US))
    assert opens(await collect(source, start_us, LAST_END_US)) == source.opens_us


async def test_an_unreadable_row_is_asked_for_again_and_then_named() -> None:
    start_us = LAST_END_US - 30 * MINUTE_US

    class Garbles(Venue):
        async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
            answer = await super().fetch(start_us, end_us)
            rows = [row for row in answer.rows if row.timestamp_us != self.opens_us[7]]
            return CandleAnswer(rows, ["[null]"])

    source = Garbles(range(start_us, LAST_END_US, MINUTE_US))
    pages = await collect(source, start_us, LAST_END_US)
    lost = (start_us + 7 * MINUTE_US, start_us + 8 * MINUTE_US)
    assert unavailable(pages) == [(lost, reasons.UNREADABLE)]
    assert len(opens(pages)) == 29


async def test_months_are_paged_by_the_calendar() -> None:
    source = Venue([], 3)
    source.timeframe = parse_timeframe("1M")
    month_us = source.timeframe.floor_us(NOW_US - 400 * 24 * HOUR_US)
    while month_us < NOW_US:
        source.opens_us.append(month_us)
        month_us = source.timeframe.next_us(month_us)
    pages = [
        page async for page in candle_pages(source, source.opens_us[0], NOW_US, clock=frozen_clock(), settle=SETTLE)
    ]
    assert [row.timestamp_us for page in pages for row in page.records] == source.opens_us[:-1]
    assert pages[-1].interval[1] == source.opens_us[-1]


class TwiceTold(Venue):
    """Tells one candle twice, with another volume, in its first answers."""

    contradictions = 2

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        answer = await super().fetch(start_us, end_us)
        if self.contradictions and len(answer.rows) > 1:
            self.contradictions -= 1
            return CandleAnswer([*answer.rows, candle(answer.rows[1].timestamp_us, 7.0)])
        return answer


@pytest.mark.parametrize(("contradictions", "requests"), [(0, 1), (1, 2), (2, 2)])
async def test_an_answer_that_contradicts_itself_is_asked_for_again_and_doubtful_where_it_still_does(
    contradictions: int, requests: int
) -> None:
    begin_us = LAST_END_US - 10 * MINUTE_US
    source = TwiceTold([begin_us + minute * MINUTE_US for minute in range(10)])
    source.contradictions = contradictions
    (page,) = await collect(source, begin_us, LAST_END_US)
    assert len(source.asked) == requests
    assert page.doubtful == (contradictions == 2)


async def test_every_page_of_an_answer_with_a_hole_is_doubtful_and_one_of_a_later_listing_is_not() -> None:
    begin_us = LAST_END_US - 30 * MINUTE_US
    listed = [begin_us + minute * MINUTE_US for minute in range(5, 30)]
    assert [page.doubtful for page in await collect(Venue(listed), begin_us, LAST_END_US)] == [False]
    del listed[10]
    assert [page.doubtful for page in await collect(Venue(listed), begin_us, LAST_END_US)] == [True, True]


class Bounded(Venue):
    """Answers `[start, start + page)` and no further, like Coinbase; its coarser candles likewise."""

    def __init__(self, opens_us: Sequence[int], page_max: int = 300, timeframe: str = "1m") -> None:
        super().__init__(opens_us, page_max)
        self.timeframe = parse_timeframe(timeframe)
        self.minutes_us = list(opens_us)
        self.opens_us = sorted({self.timeframe.floor_us(at_us) for at_us in opens_us})
        self.requests = self.asked

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        self.requests.append(start_us)
        until_us = start_us + self.page_max * (self.timeframe.step_us or 0)
        first, last = bisect_left(self.opens_us, start_us), bisect_left(self.opens_us, until_us)
        return CandleAnswer([candle(at_us) for at_us in self.opens_us[first:last]])

    def coarser(self) -> "Bounded | None":
        name = index_timeframe(self.timeframe, ("1m", "1h", "1d"))
        if name is None:
            return None
        coarser = Bounded(self.minutes_us, self.page_max, name)
        coarser.requests = self.requests
        return coarser

    async def fetch_listed_us(self, start_us: int) -> int | None:
        return self.minutes_us[0] if self.minutes_us else None


class BoundedAndQuiet(Bounded):
    absent_is_quiet = True


@given(
    minutes=st.sets(st.integers(0, 3000), min_size=1, max_size=40),
    start=st.integers(0, 3000),
    length=st.integers(1, 3000),
    page_max=st.sampled_from([1, 7, 60, 300]),
)
@settings(deadline=None, max_examples=60)
def test_a_bounded_window_hides_no_candle(minutes: set[int], start: int, length: int, page_max: int) -> None:
    begin_us = LAST_END_US - 7000 * MINUTE_US
    source = Bounded([begin_us + minute * MINUTE_US for minute in sorted(minutes)], page_max)
    start_us, end_us = begin_us + start * MINUTE_US, begin_us + (start + length) * MINUTE_US
    pages = asyncio.run(collect(source, start_us, end_us))
    wanted = {begin_us + minute * MINUTE_US for minute in minutes if start <= minute < start + length}
    assert opens(pages) == sorted(wanted)
    named = {at_us for interval, _ in unavailable(pages) for at_us in range(*interval, MINUTE_US)}
    assert named == set(range(start_us, end_us, MINUTE_US)) - wanted


@given(minutes=st.sets(st.integers(0, 3000), min_size=1, max_size=40), start=st.integers(0, 3000))
@settings(deadline=None, max_examples=60)
def test_where_no_candle_means_no_trade_what_lies_between_two_candles_is_covered(minutes: set[int], start: int) -> None:
    begin_us = LAST_END_US - 7000 * MINUTE_US
    source = BoundedAndQuiet([begin_us + minute * MINUTE_US for minute in sorted(minutes)])
    start_us, end_us = begin_us + start * MINUTE_US, begin_us + 3001 * MINUTE_US
    source.timeframe = parse_timeframe("1m")
    pages = asyncio.run(gather_pages(source, start_us, end_us))
    assert {row.timestamp_us for page in pages for row in page.records} == {
        begin_us + minute * MINUTE_US for minute in minutes if minute >= start
    }
    covered = {at_us for page in pages for at_us in range(*page.interval, MINUTE_US)}
    listed_us, newest_us = source.minutes_us[0], source.minutes_us[-1]
    between = {at_us for at_us in range(start_us, end_us, MINUTE_US) if listed_us <= at_us <= newest_us}
    assert covered == between
    assert all(
        page.doubtful or len(page.records) == (page.interval[1] - page.interval[0]) // MINUTE_US for page in pages
    )


async def test_three_years_before_a_listing_cost_thirty_requests_at_most() -> None:
    """Coinbase-like: 300 candles a window; listed in the middle of three years, with half a day without a trade."""
    days = 3 * 365
    start_us = LAST_END_US - days * 24 * HOUR_US
    listed_us = start_us + (days // 2) * 24 * HOUR_US + 437 * MINUTE_US
    quiet = (listed_us + 100 * 24 * HOUR_US, listed_us + 100 * 24 * HOUR_US + 12 * HOUR_US)
    source = Bounded([at for at in range(listed_us, LAST_END_US, MINUTE_US) if not quiet[0] <= at < quiet[1]])
    pages = await collect(source, start_us, LAST_END_US)
    assert opens(pages) == source.opens_us
    assert unavailable(pages) == [
        ((start_us, listed_us), reasons.LISTED_LATER),
        (quiet, reasons.NOT_PUBLISHED),
    ]
    full_windows = -(-(LAST_END_US - listed_us) // (300 * MINUTE_US))
    assert len(source.requests) <= full_windows * 1.2 + 30


class RefusesOld(Venue):
    """Gate: a start more than `reach` candles back is refused."""

    reach = 10_000
    sentence = "Candlestick too long ago. Maximum 10,000 points ago are allowed"

    async def fetch(self, start_us: int, end_us: int) -> CandleAnswer:
        if start_us < LAST_END_US - self.reach * MINUTE_US:
            self.asked.append(start_us)
            raise RequestRefused(self.sentence, exchange=self.exchange)
        return await super().fetch(start_us, end_us)


@pytest.mark.parametrize("sentence", [RefusesOld.sentence, "too long ago"])
async def test_a_start_refused_as_too_old_is_moved_to_where_it_is_accepted(sentence: str) -> None:
    start_us = LAST_END_US - 30_000 * MINUTE_US
    source = RefusesOld(range(start_us, LAST_END_US, MINUTE_US))
    source.sentence = sentence
    pages = await collect(source, start_us, LAST_END_US)
    stored = opens(pages)
    assert stored[-1] == LAST_END_US - MINUTE_US
    assert 9_990 <= len(stored) <= 10_000
    assert unavailable(pages) == [((start_us, stored[0]), reasons.RETENTION)]
    asked = len(source.asked)
    assert asked <= 10 + 25
    again = await collect(source, start_us, LAST_END_US)
    assert opens(again) == stored
    assert len(source.asked) - asked <= 12


async def test_a_refusal_of_every_start_is_a_refusal() -> None:
    source = RefusesOld([])
    source.reach = 0
    with pytest.raises(RequestRefused):
        await collect(source, LAST_END_US - HOUR_US, LAST_END_US)
