"""What is asked of a coarser timeframe, what it holds and what is left to the next: pure arithmetic of intervals."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.history.reasons import LISTED_LATER, RETENTION, START_IGNORED, UNREADABLE
from fullon_ohlcv.intervals import union
from fullon_ohlcv.records import CoverageRun, Interval, State
from fullon_ohlcv.timeframe import Timeframe
from fullon_ohlcv_service.ohlcv.coarse_history import LADDER, OUT_OF_REACH, describe_coarse, take_step

HOUR = Timeframe.parse("1h")


def minutes(number: int) -> int:
    return number * MINUTE_US


def span(start: int, end: int) -> Interval:
    return minutes(start), minutes(end)


def run(start: int, end: int, state: State, reason: str | None = None) -> CoverageRun:
    return CoverageRun(span(start, end), state, reason)


def instants(intervals: Iterable[Interval]) -> set[int]:
    return {at for start_us, end_us in intervals for at in range(start_us, end_us, MINUTE_US)}


def test_nothing_is_known_yet_so_whole_buckets_that_are_served_are_asked() -> None:
    step = take_step([span(30, 1000)], [], HOUR, minutes(600))
    assert step.gaps == [span(600, 1020)]
    assert step.held == []
    assert step.left == [span(30, 600)]


def test_what_is_there_is_held_and_what_is_out_of_reach_is_left_to_the_next() -> None:
    runs = [run(0, 120, State.UNAVAILABLE, f"{RETENTION}: 5000 candles"), run(120, 600, State.COVERED)]
    step = take_step([span(30, 590)], runs, HOUR, minutes(120))
    assert step == ([], [span(120, 590)], [span(30, 120)])


def test_a_market_that_did_not_exist_yet_is_asked_of_no_coarser_timeframe() -> None:
    runs = [run(0, 300, State.UNAVAILABLE, f"{LISTED_LATER}: first candle"), run(300, 600, State.COVERED)]
    assert take_step([span(0, 600)], runs, HOUR, None) == ([], [span(300, 600)], [])


def test_a_gap_that_is_forgotten_before_it_was_filled_is_left_to_the_next() -> None:
    step = take_step([span(0, 600)], [run(0, 600, State.UNKNOWN)], HOUR, minutes(480))
    assert (step.gaps, step.left) == ([span(480, 600)], [span(0, 480)])


def test_amounts_are_told_by_timeframe() -> None:
    assert describe_coarse({"5m": minutes(20_000), "1h": minutes(1440)}) == "5m 13.9 d, 1h 1.0 d"


@st.composite
def steps(
    draw: st.DrawFn,
) -> tuple[list[Interval], list[CoverageRun], Timeframe, int | None]:
    """What is lost, minute by minute, and a ledger of whole buckets around it."""
    timeframe = Timeframe.parse(draw(st.sampled_from(LADDER[:4])))
    width = (timeframe.width_us or 0) // MINUTE_US
    cuts = draw(st.lists(st.integers(0, 12 * width), min_size=2, max_size=8, unique=True))
    cuts = sorted(cuts)[: len(cuts) // 2 * 2]
    lost = union(span(*pair) for pair in zip(cuts[::2], cuts[1::2], strict=True))
    states = st.sampled_from(
        [(State.UNKNOWN, None), (State.COVERED, None)]
        + [(State.UNAVAILABLE, f"{why}: said") for why in (RETENTION, START_IGNORED, LISTED_LATER, UNREADABLE)]
    )
    bounds = [0, *sorted(draw(st.sets(st.integers(1, 11), max_size=5))), 12]
    runs = [run(start * width, end * width, *draw(states)) for start, end in pairwise(bounds)]
    reach = draw(st.none() | st.integers(0, 13))
    return lost, runs, timeframe, None if reach is None else minutes(reach * width)


@given(steps())
def test_a_step_shares_what_is_lost_without_overlap_and_asks_whole_unsettled_buckets_within_reach(
    given_step: tuple[list[Interval], list[CoverageRun], Timeframe, int | None],
) -> None:
    lost, runs, timeframe, reaches_us = given_step
    gaps, held, left = take_step(lost, runs, timeframe, reaches_us)
    by_state = {state: instants(one.interval for one in runs if one.state is state) for state in State}
    gone = instants(one.interval for one in runs if one.reason is not None and one.reason.startswith(OUT_OF_REACH))
    assert all(timeframe.floor(start_us) == start_us and timeframe.ceil(end_us) == end_us for start_us, end_us in gaps)
    assert instants(gaps) <= by_state[State.UNKNOWN]
    assert min(instants(gaps), default=0) >= (reaches_us or 0) or not gaps
    assert instants(held) == instants(lost) & by_state[State.COVERED]
    assert not instants(left) & (instants(gaps) | instants(held))
    settled = by_state[State.UNAVAILABLE] - gone
    assert instants(lost) == instants(left) | instants(held) | (instants(lost) & (instants(gaps) | settled))
    before_reach = {at for at in instants(lost) if at < (reaches_us or 0)}
    assert instants(left) == (instants(lost) & gone) | (before_reach & by_state[State.UNKNOWN])
    for intervals in (gaps, held, left):
        assert intervals == union(intervals)


@given(steps())
def test_once_a_step_is_filled_it_asks_nothing_again(
    given_step: tuple[list[Interval], list[CoverageRun], Timeframe, int | None],
) -> None:
    lost, runs, timeframe, reaches_us = given_step
    step = take_step(lost, runs, timeframe, reaches_us)
    filled = [*runs, *(CoverageRun(gap, State.COVERED, None) for gap in step.gaps)]
    again = take_step(lost, filled, timeframe, reaches_us)
    assert again.gaps == []
    assert again.left == step.left
