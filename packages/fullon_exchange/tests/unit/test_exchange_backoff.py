"""Backoff stays within its bounds and starts over only when told."""

import random

from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.backoff import Backoff


@given(first=st.floats(0.001, 10), cap=st.floats(0.001, 100), attempts=st.integers(0, 200), seed=st.integers(0, 2**32))
def test_a_delay_lies_between_zero_and_the_capped_doubling(first: float, cap: float, attempts: int, seed: int) -> None:
    backoff = Backoff(first, cap, attempts, random.Random(seed))
    assert 0 <= backoff.next_s() <= min(cap, first * 2.0 ** min(attempts, 60))


def test_delays_grow_to_the_cap_and_reset_starts_over() -> None:
    backoff = Backoff(first_s=1, cap_s=8, jitter=random.Random(1))
    ceilings = [max(Backoff(1, 8, n, random.Random(seed)).next_s() for seed in range(300)) for n in range(6)]
    assert [round(ceiling) for ceiling in ceilings] == [1, 2, 4, 8, 8, 8]
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1


def test_an_hour_of_refused_connections_is_a_few_hundred_attempts() -> None:
    backoff = Backoff(jitter=random.Random(7))
    elapsed, attempts = 0.0, 0
    while elapsed < 3600:
        elapsed += backoff.next_s()
        attempts += 1
    assert attempts < 400
