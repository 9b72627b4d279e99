"""The pure parts of a live session: clocks, proof of life, subscriptions, the buffer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.proof import Proof
from fullon_exchange.live.subscriptions import Order, Subscriptions
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Trade, Trades, Watermark
from fullon_exchange.wire import Key

MINUTE_US = 60_000_000
SECOND_US = 1_000_000


@given(
    offset=st.integers(-(10**9), 10**9),
    outward=st.integers(0, 10**6),
    back=st.integers(0, 10**6),
    later=st.integers(0, 10**9),
)
def test_the_bounds_of_the_venues_clock_hold_wherever_the_delay_was(
    offset: int, outward: int, back: int, later: int
) -> None:
    sent_us = 10**15
    received_us = sent_us + outward + back
    server_time = ServerTime()
    server_time.observe(sent_us + outward + offset, sent_us=sent_us, received_us=received_us)
    now_us = received_us + later
    assert server_time.earliest_us(now_us) <= now_us + offset <= server_time.latest_us(now_us)
    assert server_time.earliest_us(now_us) <= now_us <= server_time.latest_us(now_us)


def test_before_the_first_answer_the_clocks_are_taken_to_agree() -> None:
    assert ServerTime().earliest_us(5) == ServerTime().latest_us(5) == 5


def test_a_ping_is_due_every_second_and_right_after_the_minute() -> None:
    proof = Proof(speed=1, grace_s=0.5, cadence_s=0)
    proof.start_ping(now_us := 100 * MINUTE_US + 58 * SECOND_US, 0)
    assert proof.next_ping_us(now_us) == 100 * MINUTE_US + 59 * SECOND_US
    proof.start_ping(now_us := 100 * MINUTE_US + 59_700_000, 0)
    assert proof.next_ping_us(now_us) == 101 * MINUTE_US + 500_000, "so that the watermark reaches the minute at once"


def test_a_clock_that_is_set_back_delays_no_ping() -> None:
    proof = Proof(speed=1, grace_s=0.5, cadence_s=0)
    proof.start_ping(100 * MINUTE_US, 0)
    assert proof.next_ping_us(95 * MINUTE_US) == 95 * MINUTE_US


def test_a_watermark_stays_behind_by_the_grace_and_never_goes_back() -> None:
    proof = Proof(speed=1, grace_s=0.5, cadence_s=2)
    assert proof.advance(10 * SECOND_US) == 10 * SECOND_US - 2_500_000
    assert proof.advance(9 * SECOND_US) is None
    assert proof.advance(10 * SECOND_US) is None
    assert proof.advance(11 * SECOND_US) == 11 * SECOND_US - 2_500_000


def test_the_grace_for_what_is_really_slow_grows_with_the_clock_and_the_venues_cadence_does_not() -> None:
    assert Proof(speed=60, grace_s=0.5, cadence_s=2).advance(100 * SECOND_US) == 68 * SECOND_US


def test_a_feed_that_lags_holds_the_watermark_back() -> None:
    proof = Proof(speed=1, grace_s=0.5, cadence_s=0)
    proof.observe_lag(5 * SECOND_US, 100 * SECOND_US)
    assert proof.advance(100 * SECOND_US) == 90 * SECOND_US
    proof.observe_lag(0, 131 * SECOND_US)
    assert proof.lag_us() == 5 * SECOND_US
    proof.observe_lag(0, 162 * SECOND_US)
    assert proof.lag_us() == 0


@given(answered=st.sets(st.integers(1, 20)))
def test_each_pong_belongs_to_its_ping(answered: set[int]) -> None:
    proof = Proof(speed=1, grace_s=0, cadence_s=0)
    sent = {proof.start_ping(number * SECOND_US, float(number)): number * SECOND_US for number in range(20)}
    for ping_id in sorted(answered):
        assert proof.take_pong(ping_id) == sent[ping_id]
        assert proof.take_pong(ping_id) is None
    assert proof.take_pong(999) is None


def test_an_unanswered_ping_ages_until_it_is_forgiven() -> None:
    proof = Proof(speed=1, grace_s=0, cadence_s=0)
    assert proof.unanswered_s(100.0) == 0
    proof.start_ping(0, 10.0)
    proof.start_ping(0, 20.0)
    assert proof.unanswered_s(25.0) == 15
    proof.forgive(25.0)
    assert proof.unanswered_s(26.0) == 1
    assert proof.take_pong(1) == 0


# --- subscriptions ----------------------------------------------------------------------------------------------

A: Key = ("trades", "A/X")
B: Key = ("trades", "B/X")
C: Key = ("candles1m", "C/X")


def new() -> Subscriptions:
    return Subscriptions(ack_timeout_s=10, keys_per_order=2)


def test_wanted_keys_are_asked_for_channel_by_channel_in_bounded_orders() -> None:
    subscriptions = new()
    wanted: list[Key] = [("trades", f"{number}/X") for number in range(5)] + [C]
    orders = []
    while (order := subscriptions.next_order(wanted, 0)) is not None:
        assert len({key[0] for key in order.keys}) == 1
        assert len(order.keys) <= 2
        orders.append(order)
    assert sorted(key for order in orders for key in order.keys) == sorted(wanted)


def test_a_missing_acknowledgement_is_asked_for_once_more_and_then_overdue() -> None:
    subscriptions = new()
    assert subscriptions.next_order([A], 0) == Order(True, (A,))
    assert subscriptions.next_order([A], 9) is None
    assert subscriptions.next_order([A], 10) == Order(True, (A,))
    assert subscriptions.overdue(19) == []
    assert subscriptions.overdue(20) == [A]
    assert subscriptions.acknowledge(A, subscribed=True)
    assert subscriptions.overdue(99) == []


def test_a_key_that_is_no_longer_wanted_is_left_and_its_end_acknowledged_or_assumed() -> None:
    subscriptions = new()
    subscriptions.next_order([A, B], 0)
    subscriptions.acknowledge(A, subscribed=True)
    assert subscriptions.next_order([], 1) == Order(False, (A, B))
    assert sorted(subscriptions.leaving) == [A, B]
    assert subscriptions.acknowledge(A, subscribed=False)
    assert subscriptions.drop_overdue_leaving(5) == []
    assert subscriptions.drop_overdue_leaving(11) == [B]
    assert subscriptions.idle


def test_a_key_wanted_again_while_leaving_is_asked_for_once_it_has_left() -> None:
    subscriptions = new()
    subscriptions.next_order([A], 0)
    subscriptions.acknowledge(A, subscribed=True)
    subscriptions.next_order([], 1)
    assert subscriptions.next_order([A], 2) is None
    subscriptions.acknowledge(A, subscribed=False)
    assert subscriptions.next_order([A], 3) == Order(True, (A,))


def test_a_refused_request_of_several_keys_is_asked_for_half_by_half() -> None:
    subscriptions = new()
    subscriptions.next_order([A, B], 0)
    assert subscriptions.refuse([A, B], final=True, now=1) == []
    assert subscriptions.next_order([A, B], 1) == Order(True, (A,))
    assert subscriptions.next_order([A, B], 1) == Order(True, (B,))
    assert subscriptions.refuse([B], final=True, now=2) == [B]
    assert subscriptions.acknowledge(A, subscribed=True)
    assert subscriptions.active


def test_a_market_whose_unsubscription_is_refused_is_gone_at_once() -> None:
    subscriptions = new()
    subscriptions.next_order([A, B], 0)
    for key in (A, B):
        subscriptions.acknowledge(key, subscribed=True)
    assert subscriptions.next_order([B], 1) == Order(False, (A,))
    assert subscriptions.refuse([A], final=True, now=1) == []
    assert subscriptions.drop_overdue_leaving(1) == [A]
    assert subscriptions.knows(B)


@given(st.sets(st.integers(0, 63), max_size=4))
def test_the_culprits_of_a_refused_batch_are_found_by_bisection(bad: set[int]) -> None:
    """Whoever refuses a whole request without naming anybody costs a few requests more, not one for each symbol."""
    keys: list[Key] = [("trades", f"S{number:02}") for number in range(64)]
    culprits = {keys[number] for number in bad}
    subscriptions = Subscriptions(ack_timeout_s=10, keys_per_order=64)
    wanted, rejected, orders = set(keys), set(), 0
    while (order := subscriptions.next_order(wanted, 0)) is not None:
        orders += 1
        if culprits.isdisjoint(order.keys):
            assert all(subscriptions.acknowledge(key, subscribed=True) for key in order.keys)
        else:
            refused = subscriptions.refuse(order.keys, final=True, now=0)
            rejected.update(refused)
            wanted.difference_update(refused)
    assert rejected == culprits
    assert all(subscriptions.knows(key) for key in wanted)
    assert orders <= 1 + 2 * 6 * len(bad)


def test_a_passing_refusal_is_asked_again_later_for_as_long_as_it_takes() -> None:
    subscriptions = new()
    subscriptions.next_order([A], 0)
    for round_ in range(5):
        now = 10.0 * round_
        assert subscriptions.refuse([A], final=False, now=now) == []
        assert subscriptions.next_order([A], now + 5) is None
        assert subscriptions.next_order([A], now + 10) == Order(True, (A,))
        assert subscriptions.overdue(now + 10) == []


@given(st.lists(st.tuples(st.sampled_from("waror"), st.sampled_from([A, B, C]), st.booleans()), max_size=40))
def test_whatever_happens_the_venue_ends_up_with_what_is_wanted(steps: list[tuple[str, Key, bool]]) -> None:
    """Any sequence of wants, acknowledgements, refusals and orders settles once the venue acknowledges."""
    subscriptions = new()
    wanted: set[Key] = set()
    now = 0.0
    for step, key, flag in steps:
        now += 1
        if step == "w":
            wanted ^= {key}
        elif step == "a":
            subscriptions.acknowledge(key, subscribed=flag)
        elif step == "r":
            wanted.difference_update(subscriptions.refuse([key], final=flag, now=now))
        else:
            subscriptions.next_order(wanted, now)
    carried: set[Key] = set()
    for _ in range(50):
        now += 11
        order = subscriptions.next_order(wanted, now)
        subscriptions.drop_overdue_leaving(now)
        for key in order.keys if order is not None else ():
            subscriptions.acknowledge(key, subscribed=order is not None and order.subscribe)
    carried = {key for key in (A, B, C) if subscriptions.knows(key)}
    late = set(subscriptions.overdue(now))
    assert carried - late == wanted - late


# --- the buffer -------------------------------------------------------------------------------------------------


def trades(count: int) -> Trades:
    return Trades("c", [Trade("A/X", 1, 1.0, 1.0, "buy", str(number)) for number in range(count)], 1)


async def test_a_full_buffer_pauses_and_an_emptied_one_resumes() -> None:
    told: list[str] = []
    buffer = EventBuffer(10, pause=lambda: told.append("pause"), resume=lambda: told.append("resume"))
    buffer.put(trades(6))
    assert (told, buffer.records, buffer.full) == ([], 6, False)
    buffer.put(trades(6))
    buffer.put(Watermark("c", 1))
    assert (told, buffer.records, buffer.full) == (["pause"], 13, True)
    assert len(await buffer.take()) == 3
    assert (told, buffer.records, buffer.full) == (["pause", "resume"], 0, False)


async def test_the_reader_waits_for_an_event_and_ends_with_what_was_left() -> None:
    buffer = EventBuffer(10, pause=lambda: None, resume=lambda: None)
    reading = asyncio.ensure_future(buffer.take())
    await asyncio.sleep(0)
    assert not reading.done()
    buffer.put(Watermark("c", 1))
    assert await reading == [Watermark("c", 1)]
    buffer.put(Watermark("c", 2))
    buffer.close()
    assert await buffer.take() == [Watermark("c", 2)]
    assert await buffer.take() == []


def test_faults_are_counted_always_and_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults("fake")
    said: list[str] = []
    monkeypatch.setattr(faults, "_log", type("Log", (), {"warning": lambda self, *a, **k: said.append(k["kind"])})())
    for _ in range(1000):
        faults.count("garbage", "x")
    faults.count("row", "y")
    assert faults.counts == {"garbage": 1000, "row": 1}
    assert said == ["garbage", "row"]
