"""An exchange's own clock: its bounds hold wherever the delay was, and no one who sets ours moves it."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.clock import Clock
from fullon_exchange.exchange_clock import ExchangeClock

HOUR_US = 3_600_000_000
DELAYS = st.integers(0, 10**6)


class SetClock(Clock):
    """This machine's clock, as somebody has set it."""

    def now_us(self) -> int:
        return self.set_us  # type: ignore[attr-defined, no-any-return]


def clock_at(set_us: int) -> tuple[ExchangeClock, SetClock]:
    ours = SetClock()
    object.__setattr__(ours, "set_us", set_us)
    return ExchangeClock.beside(ours), ours


@given(offset_us=st.integers(-HOUR_US, HOUR_US), delays=st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=5))
def test_the_bounds_hold_wherever_the_delay_was(offset_us: int, delays: list[tuple[int, int]]) -> None:
    clock, _ = clock_at(10**15)
    at_us = clock.steady_us()
    for outward_us, back_us in delays:
        received_us = at_us + outward_us + back_us
        clock.observe(at_us + outward_us + 10**15 + offset_us, sent_us=at_us, received_us=received_us)
        at_us = received_us
    before_us = clock.steady_us()
    assert clock.now_us() <= clock.steady_us() + 10**15 + offset_us
    assert clock.latest_us() >= before_us + 10**15 + offset_us
    assert clock.latest_us() - clock.now_us() <= sum(delays[0]) + 10**6


def test_before_the_first_answer_it_is_ours_and_then_no_one_who_sets_ours_moves_it() -> None:
    clock, ours = clock_at(10**15)
    assert clock.now_us() == clock.latest_us() == 10**15
    assert clock.ours_ahead_us() == 0
    now_us = clock.steady_us()
    clock.observe(10**15 - HOUR_US, sent_us=now_us, received_us=now_us)
    assert 0 <= clock.now_us() - (10**15 - HOUR_US) < 10**6
    assert 0 <= HOUR_US - clock.ours_ahead_us() < 10**6
    object.__setattr__(ours, "set_us", 10**15 - 2 * HOUR_US)
    assert 0 <= clock.now_us() - (10**15 - HOUR_US) < 10**6
    assert 0 <= -HOUR_US - clock.ours_ahead_us() < 10**6


def test_an_exchange_whose_clock_is_set_is_believed() -> None:
    clock, _ = clock_at(10**15)
    now_us = clock.steady_us()
    for time_us in (10**15, 10**15 - HOUR_US):
        clock.observe(time_us, sent_us=now_us, received_us=now_us)
        assert 0 <= clock.now_us() - time_us < 10**6


def test_it_runs_as_fast_as_the_market() -> None:
    clock = ExchangeClock.beside(Clock(speed=1000.0))
    assert dataclasses.astuple(clock)[2] == 1000.0
    now_us = clock.steady_us()
    clock.observe(10**15, sent_us=now_us, received_us=now_us)
    while clock.steady_us() - now_us < 10**6:
        pass
    assert 10**6 <= clock.now_us() - 10**15 < 10**9
