"""Pauses of a market: what would have been traded in them never was, and nobody can tell from the numbers."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_simulator import RecordedTrade, SymbolSpec, Tape, replay
from fullon_simulator.faults_history import Pause, united

DAY_US = 86_400_000_000
NOON_US = 1_767_268_800_000_000
MINUTE_US = 60_000_000
SPEC = SymbolSpec("BTC/USD", 1_000, price=100_000, price_decimals=1)
RANGE = (NOON_US - 12 * 60 * MINUTE_US, NOON_US + 2 * DAY_US)

minutes = st.integers(-600, 3_000).map(lambda each: NOON_US + each * MINUTE_US + 17)
lengths = st.one_of(st.none(), st.integers(1, 2_000).map(lambda each: each * MINUTE_US))
pauses = st.lists(st.tuples(minutes, lengths), min_size=1, max_size=4).map(
    lambda found: [(start, None if length is None else start + length) for start, length in found]
)


def paused_tape(found: list[Pause]) -> Tape:
    tape = Tape(7, "kraken", SPEC)
    for start_us, end_us in found:
        tape.pause(start_us, end_us)
    return tape


def inside(time_us: int, found: list[Pause]) -> bool:
    return any(start <= time_us and (end is None or time_us < end) for start, end in found)


@settings(max_examples=25)
@given(pauses)
def test_the_trades_left_are_those_outside_numbered_without_a_hole(found: list[Pause]) -> None:
    whole = Tape(7, "kraken", SPEC).trades(*RANGE)
    kept = [trade for trade in whole if not inside(trade.timestamp_us, found)]
    trades = paused_tape(found).trades(*RANGE)
    assert [trade._replace(trade_id="") for trade in trades] == [trade._replace(trade_id="") for trade in kept]
    ids = [int(trade.trade_id) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True


@settings(max_examples=25)
@given(pauses)
def test_candles_aggregates_and_places_agree_with_the_trades(found: list[Pause]) -> None:
    tape = paused_tape(found)
    trades = tape.trades(*RANGE)
    candles = tape.candles(*RANGE)
    assert {trade.timestamp_us // MINUTE_US * MINUTE_US for trade in trades} == {each.timestamp_us for each in candles}
    assert sum(each.trades for each in candles) == len(trades)
    aggregates = tape.aggregates(*RANGE)
    assert sum(Decimal(str(each.volume)) for each in aggregates) == sum(Decimal(str(each.volume)) for each in trades)
    ids = [int(each.trade_id) for each in aggregates]
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
    first = tape.position(RANGE[0])
    for at in range(0, len(trades), 197):
        assert tape.time_at(first + at) == trades[at].timestamp_us
        assert tape.position_of_id(int(trades[at].trade_id)) == first + at


@settings(max_examples=100)
@given(pauses)
def test_united_pauses_are_in_order_apart_and_the_same_times(found: list[Pause]) -> None:
    apart = united(found)
    assert all(end is not None and end < later for (_, end), (later, _) in pairwise(apart))
    for start, end in found:
        for time_us in (start - 1, start, end, (end or 0) - 1):
            assert inside(time_us or 0, found) == inside(time_us or 0, list(apart))


def test_a_market_that_stands_still_for_ever_has_no_next_trade_until_it_is_resumed() -> None:
    tape = Tape(7, "kraken", SPEC)
    number = tape.pause(NOON_US)
    assert tape.time_at(tape.position(NOON_US)) is None
    assert tape.position(NOON_US + 30 * DAY_US) == tape.position(NOON_US)
    assert tape.position_of_id(10**9) == tape.position(NOON_US)
    tape.resume(number, NOON_US + DAY_US)
    time_us = tape.time_at(tape.position(NOON_US))
    assert time_us is not None
    assert time_us >= NOON_US + DAY_US
    assert tape.pauses == ((NOON_US, NOON_US + DAY_US),)


def test_a_recording_can_be_paused_too() -> None:
    """Its ids have holes of their own, which stay as they were."""
    recorded = [
        RecordedTrade(NOON_US + second * 1_000_000, Decimal(7), Decimal(1), "buy", "limit", number)
        for second, number in enumerate((3, 5, 6, 9, 12, 13))
    ]
    tape = replay("kraken", "RARE/USD", recorded)
    tape.pause(NOON_US + 2_000_000, NOON_US + 4_000_000)
    trades = tape.trades(NOON_US, NOON_US + MINUTE_US)
    assert [trade.trade_id for trade in trades] == ["3", "5", "10", "11"]
    assert [tape.position_of_id(int(trade.trade_id)) for trade in trades] == [0, 1, 2, 3]


def test_ends_of_a_market_are_counted_until_each_is_taken_back() -> None:
    tape = Tape(7, "kraken", SPEC)
    first = tape.end(NOON_US, unlisted=False)
    second = tape.end(NOON_US + 5, unlisted=True)
    assert (tape.ended_at_us, tape.unlisted) == (NOON_US, True)
    tape.relist(first)
    third = tape.end(NOON_US + 9, unlisted=False)
    assert tape.ended_at_us == NOON_US + 5
    tape.relist(second)
    assert (tape.ended_at_us, tape.unlisted) == (NOON_US + 9, False)
    tape.relist(third)
    assert tape.ended_at_us is None
    with pytest.raises(KeyError):
        tape.relist(third)
