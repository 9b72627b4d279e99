"""The trade pager against venues that are functions: complete, without doubles, claiming only what is proved."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from fixed_clock import unix_now_s
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.answers import TradeAnswer, VenueFacts
from fullon_exchange.clock import Clock
from fullon_exchange.errors import MalformedMessage, PageStuck
from fullon_exchange.history import Settle, reasons, trade_pages
from fullon_exchange.records import Page, Trade

NOW_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
SETTLE = Settle(exchange_s=5, real_s=0)
SETTLED_US = NOW_US - 5_000_000


def frozen_clock() -> Clock:
    """A clock that stands at `NOW_US`."""
    return Clock(origin_s=NOW_US / 1_000_000, unix_s=unix_now_s(), speed=1e-9)


def tape(times_us: Sequence[int], first_id: int = 100) -> list[Trade]:
    return [
        Trade("A/B", timestamp_us, 1.0, 1.0, "buy", str(first_id + place))
        for place, timestamp_us in enumerate(sorted(times_us))
    ]


class ByTime:
    """Pages like Kraken: rows strictly after a nanosecond cursor, the last row comes again."""

    exchange, symbol, sequential = "fake", "A/B", True

    def __init__(self, rows: Sequence[Trade], page_max: int = 1000, cut: Callable[[int], int] = lambda asked: 10**9):
        self.facts = VenueFacts()
        self.rows = list(rows)
        self.page_max = page_max
        self.cut = cut
        self.cursors: list[int] = []
        self.listed_asked = 0

    def first_cursor(self, start_us: int) -> int:
        return start_us * 1000 - 1

    async def fetch(self, cursor: int) -> TradeAnswer:
        self.cursors.append(cursor)
        size = min(self.page_max, self.cut(len(self.cursors)))
        rows = [row for row in self.rows if row.timestamp_us * 1000 > cursor][:size]
        following = max(rows[-1].timestamp_us * 1000 - 1, cursor) if rows else cursor
        return TradeAnswer(rows, following, len(rows) >= self.page_max)

    async def fetch_listed_us(self, start_us: int) -> int | None:
        self.listed_asked += 1
        return self.rows[0].timestamp_us if self.rows else None


class ById(ByTime):
    """Pages like Binance: entered by time once, then by id."""

    def first_cursor(self, start_us: int) -> int:
        return -start_us

    async def fetch(self, cursor: int) -> TradeAnswer:
        self.cursors.append(cursor)
        size = min(self.page_max, self.cut(len(self.cursors)))
        rows = [
            row for row in self.rows if (row.timestamp_us >= -cursor if cursor < 0 else int(row.trade_id) >= cursor)
        ][:size]
        return TradeAnswer(rows, int(rows[-1].trade_id) + 1 if rows else cursor, len(rows) >= self.page_max)


async def collect(source: ByTime, start_us: int, end_us: int) -> list[Page[Trade]]:
    """Read all pages and check what must hold of any: in order, without a hole, rows inside."""
    pages = [page async for page in trade_pages(source, start_us, end_us, clock=frozen_clock(), settle=SETTLE)]
    position = start_us
    for page in pages:
        for interval, _ in page.unavailable:
            assert interval[0] == position
            position = interval[1]
        assert page.interval[0] == position or page.interval[0] == page.interval[1]
        position = max(position, page.interval[1])
        assert all(page.interval[0] <= row.timestamp_us < page.interval[1] for row in page.records)
        assert list(page.records) == sorted(page.records, key=lambda row: (row.timestamp_us, int(row.trade_id)))
    assert position == max(start_us, min(end_us, SETTLED_US))
    return pages


def records(pages: Sequence[Page[Trade]]) -> list[Trade]:
    return [row for page in pages for row in page.records]


def unavailable(pages: Sequence[Page[Trade]]) -> list[tuple[tuple[int, int], str]]:
    return [(interval, reason.split(":")[0]) for page in pages for interval, reason in page.unavailable]


@pytest.mark.parametrize("make", [ByTime, ById])
@given(
    offsets=st.lists(st.integers(0, 40), max_size=60),
    start=st.integers(-5, 45),
    length=st.integers(0, 50),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_every_trade_comes_once_however_the_venue_cuts_its_pages(
    make: type[ByTime], offsets: list[int], start: int, length: int, sizes: list[int]
) -> None:
    """Few instants and many trades: most pages break inside an instant, by any size from one row up."""
    begin_us = NOW_US - HOUR_US
    rows = tape([begin_us + offset for offset in offsets])
    fullest = max((offsets.count(offset) for offset in offsets), default=0)
    smallest = 1 if make is ById else fullest + 1
    source = make(rows, page_max=smallest + 30, cut=lambda asked: smallest + sizes[asked % len(sizes)])
    pages = asyncio.run(collect(source, begin_us + start, begin_us + start + length))
    wanted = [row for row in rows if begin_us + start <= row.timestamp_us < begin_us + start + length]
    assert records(pages) == wanted


async def test_2500_trades_within_one_second_are_all_there_without_a_loop() -> None:
    start_us = NOW_US - HOUR_US
    rows = tape([start_us + place * 400 for place in range(2500)])
    source = ByTime(rows)
    pages = await collect(source, start_us, start_us + MINUTE_US)
    assert records(pages) == rows
    assert len(source.cursors) <= 4


async def test_five_trades_of_one_millisecond_on_a_page_border_all_come() -> None:
    start_us = NOW_US - HOUR_US
    times = [start_us + 1000 * place for place in range(8)] + [start_us + 8000] * 5 + [start_us + 9000]
    source = ById(tape(times), page_max=10)
    pages = await collect(source, start_us, start_us + MINUTE_US)
    assert len(records(pages)) == 14
    assert pages[0].interval[1] == start_us + 8000, "a full page claims up to its last instant only"


async def test_the_end_is_cut_to_now_and_nothing_is_waited_for() -> None:
    rows = tape([NOW_US - 60_000_000, NOW_US - 1_000_000])
    pages = await collect(ByTime(rows), NOW_US - 2 * MINUTE_US, NOW_US + HOUR_US)
    assert records(pages) == rows[:1]
    assert pages[-1].interval[1] == SETTLED_US


async def test_a_range_wholly_in_the_future_asks_nothing() -> None:
    source = ByTime(tape([]))
    assert await collect(source, NOW_US + HOUR_US, NOW_US + 2 * HOUR_US) == []
    assert source.cursors == []


async def test_a_quiet_range_is_covered_and_empty() -> None:
    source = ByTime(tape([NOW_US - 50 * HOUR_US, NOW_US - HOUR_US]))
    pages = await collect(source, NOW_US - 40 * HOUR_US, NOW_US - 30 * HOUR_US)
    assert records(pages) == []
    assert unavailable(pages) == []
    assert source.listed_asked == 1, "a long void makes us ask when the market began"


async def test_what_lies_before_the_listing_is_unavailable() -> None:
    listed_us = NOW_US - 10 * HOUR_US + 90_000_000
    source = ById(tape([listed_us, listed_us + 5]))
    start_us = NOW_US - 24 * HOUR_US
    pages = await collect(source, start_us, NOW_US - HOUR_US)
    begin_us = listed_us - listed_us % MINUTE_US
    assert unavailable(pages) == [((start_us, begin_us), reasons.LISTED_LATER)]
    assert len(records(pages)) == 2


async def test_a_venue_that_is_wrong_about_the_first_trade_hides_none_before_it() -> None:
    class Forgetful(ByTime):
        async def fetch_listed_us(self, start_us: int) -> int | None:
            return NOW_US - HOUR_US

    at_us = NOW_US - 10 * HOUR_US
    pages = await collect(Forgetful(tape([at_us, NOW_US - HOUR_US])), NOW_US - 24 * HOUR_US, NOW_US - HOUR_US)
    assert [trade.timestamp_us for trade in records(pages)] == [at_us]
    assert unavailable(pages) == []


async def test_when_a_market_began_is_remembered_unless_it_would_hide_history() -> None:
    facts, answers = VenueFacts(), [5, 3]

    async def ask() -> int | None:
        return answers.pop(0)

    assert await facts.began_us("BTC/USD", 9, ask) == 5
    assert await facts.began_us("BTC/USD", 7, ask) == 5
    assert await facts.began_us("BTC/USD", 4, ask) == 3
    assert await facts.began_us("BTC/USD", 3, ask) == 3
    assert answers == []


async def test_a_range_before_the_listing_is_wholly_unavailable() -> None:
    source = ByTime(tape([NOW_US - HOUR_US]))
    pages = await collect(source, NOW_US - 9 * HOUR_US, NOW_US - 5 * HOUR_US)
    assert unavailable(pages) == [((NOW_US - 9 * HOUR_US, NOW_US - 5 * HOUR_US), reasons.LISTED_LATER)]


async def test_a_market_without_any_trade_is_empty_not_unavailable() -> None:
    pages = await collect(ByTime([]), NOW_US - 9 * HOUR_US, NOW_US)
    assert (records(pages), unavailable(pages)) == ([], [])


@pytest.mark.parametrize("end_us", [NOW_US, NOW_US - 600_000_000])
async def test_a_venue_that_ignores_the_start_is_noticed_before_anything_false_is_claimed(end_us: int) -> None:
    rows = tape([NOW_US - place * 1_000_000 for place in range(10, 5000)])

    class Ignores(ByTime):
        async def fetch(self, cursor: int) -> TradeAnswer:
            newest = self.rows[-1000:]
            honoured = newest[0].timestamp_us * 1000 > cursor
            return TradeAnswer(newest, newest[-1].timestamp_us * 1000 - 1, True, honoured)

    start_us = NOW_US - 3 * HOUR_US
    pages = await collect(Ignores(rows), start_us, end_us)
    served_us = rows[-1000].timestamp_us + 1
    assert unavailable(pages) == [((start_us, min(served_us, end_us)), reasons.START_IGNORED)]
    assert records(pages) == [row for row in rows if served_us <= row.timestamp_us < min(end_us, SETTLED_US)]


async def test_a_venue_is_probed_for_honouring_the_start_only_once() -> None:
    source = ByTime(tape([NOW_US - HOUR_US]))
    await collect(source, NOW_US - 2 * HOUR_US, NOW_US - HOUR_US + 10)
    assert source.facts.honours_cursor
    before = len(source.cursors)
    await collect(source, NOW_US - 2 * HOUR_US, NOW_US - HOUR_US - 10)
    assert len(source.cursors) == before + 1


async def test_a_page_that_does_not_advance_is_an_error_with_facts() -> None:
    start_us = NOW_US - HOUR_US
    source = ByTime(tape([start_us] * 20), page_max=10)
    with pytest.raises(PageStuck, match=r"does not advance.*after cursor \d+.*10 rows") as stuck:
        await collect(source, start_us, NOW_US)
    assert stuck.value.symbol == "A/B"
    assert len(source.cursors) < 6


async def test_a_skipped_id_is_asked_for_once_more_and_then_found() -> None:
    start_us = NOW_US - HOUR_US
    rows = tape([start_us + place for place in range(10)])

    class Forgets(ById):
        async def fetch(self, cursor: int) -> TradeAnswer:
            answer = await super().fetch(cursor)
            if len(self.cursors) == 1:
                return TradeAnswer([row for row in answer.rows if row.trade_id != "105"], answer.following)
            return answer

    source = Forgets(rows)
    assert records(await collect(source, start_us, start_us + 10)) == rows
    assert source.cursors[0] == source.cursors[1]


async def test_a_hole_that_stays_is_the_exchanges_own_truth() -> None:
    start_us = NOW_US - HOUR_US
    rows = [row for row in tape([start_us + place for place in range(10)]) if row.trade_id != "105"]
    source = ByTime(rows)
    assert records(await collect(source, start_us, start_us + MINUTE_US)) == rows
    assert source.cursors[0] == source.cursors[1]


@pytest.mark.parametrize("doubtful", [False, True])
async def test_an_answer_with_skipped_ids_is_doubtful_and_another_is_not(doubtful: bool) -> None:
    start_us = NOW_US - HOUR_US
    rows = [row for row in tape([start_us + place for place in range(10)]) if not doubtful or row.trade_id != "105"]
    pages = await collect(ByTime(rows), start_us, start_us + MINUTE_US)
    assert any(page.doubtful for page in pages if page.records) == doubtful


async def test_a_row_that_stays_unreadable_costs_its_minutes_and_no_more() -> None:
    start_us = NOW_US - HOUR_US
    rows = tape([start_us + place * 30_000_000 for place in range(20)])

    class Garbles(ByTime):
        async def fetch(self, cursor: int) -> TradeAnswer:
            answer = await super().fetch(cursor)
            bad = [place for place, row in enumerate(answer.rows) if row.trade_id == "106"]
            kept = [row for row in answer.rows if row.trade_id != "106"]
            return TradeAnswer(kept, answer.following, unreadable=[(place, "[null]") for place in bad])

    source = Garbles(rows)
    source.sequential = False
    pages = await collect(source, start_us, start_us + 10 * MINUTE_US)
    lost = (start_us + 2 * MINUTE_US, start_us + 4 * MINUTE_US)
    assert unavailable(pages) == [(lost, reasons.UNREADABLE)]
    assert records(pages) == [row for row in rows if not lost[0] <= row.timestamp_us < lost[1]]


async def test_an_answer_of_nothing_but_unreadable_rows_is_malformed() -> None:
    class Garbage(ByTime):
        async def fetch(self, cursor: int) -> TradeAnswer:
            return TradeAnswer([], cursor, unreadable=[(0, "[null]")])

    with pytest.raises(MalformedMessage, match="no row can be read"):
        await collect(Garbage([]), NOW_US - HOUR_US, NOW_US)


async def test_a_trade_that_an_answer_tells_twice_comes_once() -> None:
    class Stutters(ById):
        async def fetch(self, cursor: int) -> TradeAnswer:
            answer = await super().fetch(cursor)
            return replace(answer, rows=[row for row in answer.rows for _ in range(2)])

    start_us = NOW_US - HOUR_US
    rows = tape([start_us + place for place in range(30)])
    assert records(await collect(Stutters(rows, page_max=7), start_us, NOW_US)) == rows


async def test_trades_out_of_order_are_not_lost() -> None:
    start_us = NOW_US - HOUR_US
    times = [5, 10, 20, 30, 15, 40]
    rows = [Trade("A/B", start_us + offset, 1.0, 1.0, "buy", str(100 + place)) for place, offset in enumerate(times)]
    source = ById([])
    source.rows = rows
    source.page_max = 4
    pages = [page async for page in trade_pages(source, start_us, NOW_US, clock=frozen_clock(), settle=SETTLE)]
    assert sorted(row.trade_id for row in records(pages)) == [row.trade_id for row in rows]
