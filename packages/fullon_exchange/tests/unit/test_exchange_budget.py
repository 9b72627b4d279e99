"""The rate budget: live before repair before backfill, first come first served, never faster than allowed."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_exchange.budget import BudgetSpec, RateBudget, shared_budget
from fullon_exchange.interface import Urgency

FAST = BudgetSpec(per_s=2000, burst=1)


async def _order_of(budget: RateBudget, wanted: list[Urgency]) -> list[int]:
    """Return in which order waiters that came in the order of `wanted` are served."""
    served: list[int] = []
    budget.pause(0.1)

    async def ask(number: int, urgency: Urgency) -> None:
        await budget.acquire(1, urgency)
        served.append(number)

    async with asyncio.TaskGroup() as group:
        for number, urgency in enumerate(wanted):
            group.create_task(ask(number, urgency))
    return served


@settings(max_examples=10)
@given(wanted=st.lists(st.sampled_from(list(Urgency)), min_size=1, max_size=8))
def test_the_more_urgent_goes_first_and_equals_keep_their_order(wanted: list[Urgency]) -> None:
    served = asyncio.run(_order_of(RateBudget(FAST), wanted))
    assert served == sorted(range(len(wanted)), key=lambda number: (wanted[number], number))


async def test_weight_is_granted_no_faster_than_the_venue_allows() -> None:
    budget = RateBudget(BudgetSpec(per_s=100, burst=5))
    started = time.monotonic()
    for _ in range(5):
        await budget.acquire(3)
    assert time.monotonic() - started >= (15 - 5) / 100 * 0.9


async def test_the_bucket_refills_in_the_seconds_of_an_accelerated_clock() -> None:
    budget = RateBudget(BudgetSpec(per_s=1, burst=1), speed=1000)
    async with asyncio.timeout(2):
        for _ in range(20):
            await budget.acquire()


async def test_a_weight_above_the_burst_is_granted_from_a_full_bucket_and_overdraws_it() -> None:
    budget = RateBudget(BudgetSpec(per_s=100, burst=2))
    await budget.acquire(5)
    assert budget.use().available < 0
    started = time.monotonic()
    await budget.acquire(1)
    assert time.monotonic() - started >= 0.035


async def test_a_pause_holds_everybody() -> None:
    budget = RateBudget(BudgetSpec(per_s=1000, burst=10))
    budget.pause(0.05)
    assert 0.04 < budget.paused_s <= 0.05
    started = time.monotonic()
    await budget.acquire(1, Urgency.LIVE)
    assert time.monotonic() - started >= 0.045


async def test_a_cancelled_waiter_leaves_its_place_to_the_next() -> None:
    budget = RateBudget(BudgetSpec(per_s=50, burst=1))
    await budget.acquire()
    first = asyncio.ensure_future(budget.acquire(1, Urgency.LIVE))
    second = asyncio.ensure_future(budget.acquire(1, Urgency.BACKFILL))
    await asyncio.sleep(0)
    assert budget.use().waiting == 2
    first.cancel()
    async with asyncio.timeout(1):
        await second
    assert first.cancelled()
    assert budget.use().waiting == 0
    assert budget.use().spent == 2


async def test_the_venues_own_count_lowers_what_is_left() -> None:
    budget = RateBudget(BudgetSpec(per_s=1, burst=100, window_max=1000))
    budget.observe_used(990)
    assert budget.use().available == pytest.approx(10, abs=0.1)
    budget.observe_used(1)
    assert budget.use().available == pytest.approx(10, abs=0.1)


def test_a_process_has_one_budget_for_a_venue_and_address() -> None:
    spec = BudgetSpec(per_s=1, burst=1)
    one = shared_budget("somewhere", "127.0.0.1:1", spec)
    assert shared_budget("somewhere", "127.0.0.1:1", spec) is one
    assert shared_budget("somewhere", "127.0.0.1:2", spec) is not one


def test_a_budget_survives_the_event_loop_that_waited_on_it() -> None:
    budget = RateBudget(BudgetSpec(per_s=20, burst=1))

    async def give_up() -> None:
        await budget.acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await budget.acquire()

    asyncio.run(give_up())
    asyncio.run(budget.acquire())
