"""Live candles beside REST: what is wrong in the same way every time is told from what merely differs."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CandleRow
from fullon_ohlcv_service.ohlcv.convention import Comparison, Finding, Verdict, compare, decide, describe

T = 1_767_225_600_000_000
TRADES = st.lists(
    st.tuples(st.integers(90_00, 110_00), st.integers(1, 10_000)).map(lambda one: (one[0] / 100, one[1] / 1000)),
    min_size=1,
    max_size=8,
)
"""Trades of a minute, (price, volume); at prices far from 1."""


def fold(timestamp_us: int, trades: list[tuple[float, float]]) -> CandleRow:
    prices = [price for price, _ in trades]
    volume = sum(volume for _, volume in trades)
    return timestamp_us, prices[0], max(prices), min(prices), prices[-1], volume, len(trades)


def at(row: CandleRow, timestamp_us: int) -> CandleRow:
    return (timestamp_us, *row[1:])


def rest_of(*minutes: list[tuple[float, float]]) -> dict[int, CandleRow]:
    rows = [fold(T + number * MINUTE_US, trades) for number, trades in enumerate(minutes) if trades]
    return {row[0]: row for row in rows}


MINUTES = st.lists(st.one_of(st.just([]), TRADES), min_size=5, max_size=5).filter(lambda minutes: bool(minutes[2]))


@given(MINUTES)
def test_a_candle_that_rest_has_too_is_stored_at_once(minutes: list[list[tuple[float, float]]]) -> None:
    rest = rest_of(*minutes)
    found = compare(rest[T + 2 * MINUTE_US], rest)
    assert found.finding is Finding.AGREES
    assert decide([found]) is Verdict.STORE


@given(MINUTES, st.sampled_from([-2, -1, 1, 2]))
def test_a_candle_of_another_interval_stops_the_stream_and_says_which_way(
    minutes: list[list[tuple[float, float]]], late: int
) -> None:
    rest = rest_of(*minutes)
    true = rest[T + 2 * MINUTE_US]
    live = at(true, true[0] + late * MINUTE_US)
    assume(all(row[1:] != true[1:] for at_us, row in rest.items() if at_us != true[0]))
    found = compare(live, rest)
    assert (found.finding, found.amount) == (Finding.SHIFTED, late)
    assert decide([found]) is Verdict.STOP
    assert describe([found]) == f"live candles are stamped {abs(late)} min {'late' if late > 0 else 'early'}"


@given(TRADES, st.sampled_from([1e-8, 1e-3, 0.1, 10.0, 1e3, 1e6]))
def test_a_price_or_a_volume_in_another_unit_stops_the_stream(trades: list[tuple[float, float]], factor: float) -> None:
    true = fold(T, trades)
    in_price = (T, *(price * factor for price in true[1:5]), *true[5:])
    in_volume = (*true[:5], true[5] * factor, true[6])
    for live, finding in ((in_price, Finding.PRICE_UNIT), (in_volume, Finding.VOLUME_UNIT)):
        found = compare(live, {T: true})
        assert found.finding is finding
        assert found.amount == pytest.approx(factor)
        assert decide([found]) is Verdict.STOP


@given(TRADES)
def test_a_volume_in_the_quote_currency_stops_the_stream(trades: list[tuple[float, float]]) -> None:
    true = fold(T, trades)
    quote = sum(price * volume for price, volume in trades)
    assert decide([compare((*true[:5], quote, true[6]), {T: true})]) is Verdict.STOP
    assert decide([compare(true, {T: (*true[:5], quote, true[6])})]) is Verdict.STOP


@given(st.lists(TRADES.filter(lambda trades: len(trades) > 1), min_size=3, max_size=3), st.data())
def test_candles_that_end_too_early_stop_the_stream_and_one_alone_does_not(
    minutes: list[list[tuple[float, float]]], data: st.DataObject
) -> None:
    rest = rest_of(*minutes)
    found = []
    for number, trades in enumerate(minutes):
        seen = data.draw(st.integers(1, len(trades) - 1))
        found.append(compare(fold(T + number * MINUTE_US, trades[:seen]), rest))
    assume(all(one.finding is Finding.RUNNING for one in found))
    verdicts = [decide(found[: count + 1]) for count in range(3)]
    assert verdicts[0] is Verdict.WAIT
    assert verdicts[2] is Verdict.STOP
    settled = Comparison(T + 9 * MINUTE_US, Finding.AGREES)
    assert decide([found[0], settled]) is Verdict.STORE


@given(TRADES, TRADES)
def test_a_candle_that_merely_differs_is_left_to_the_re_check(
    live: list[tuple[float, float]], true: list[tuple[float, float]]
) -> None:
    found = compare(fold(T, live), rest_of(true))
    assume(found.finding is Finding.DIFFERS)
    assert decide([found]) is Verdict.STORE


@given(st.floats(1.05, 1e6), st.lists(TRADES, min_size=2, max_size=2))
def test_any_factor_that_is_the_same_twice_stops_the_stream(
    factor: float, minutes: list[list[tuple[float, float]]]
) -> None:
    rest = rest_of(*minutes)
    found = [compare((*row[:5], row[5] * factor, row[6]), rest) for row in rest.values()]
    assume(all(one.finding is Finding.SCALED for one in found))
    assert [decide(found[:1]), decide(found)] == [Verdict.WAIT, Verdict.STOP]
    assert "again and again" in describe(found)


def test_a_candle_that_rest_knows_nothing_of_differs() -> None:
    live = fold(T, [(100.0, 1.0)])
    assert compare(live, {}).finding is Finding.DIFFERS
    flat = (T, 99.0, 99.0, 99.0, 99.0, 0.0, 0)
    assert compare(live, {T: flat}).finding is Finding.DIFFERS


def test_near_a_price_of_one_nobody_can_tell_the_quote_currency() -> None:
    true = (T, 1.0, 1.001, 0.999, 1.0, 500.0, 3)
    assert compare((*true[:5], 500.2, 3), {T: true}).finding is Finding.SCALED
