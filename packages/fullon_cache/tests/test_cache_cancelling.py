"""A call that is cancelled ends as cancelled, whenever that happens."""

import asyncio

from fullon_cache import ConnectionPool

TICKS_MAX = 200
"""Turns of the event loop, more than any call of these takes."""


async def test_a_cancellation_is_never_lost_at_whichever_turn_of_the_loop_it_comes(redis: ConnectionPool) -> None:
    """redis-py sends with `asyncio.wait_for`, which before Python 3.12 may swallow one."""
    await redis.ping()
    for ticks in range(TICKS_MAX):
        task = asyncio.create_task(redis.ping())
        for _ in range(ticks):
            await asyncio.sleep(0)
        if task.done():
            return
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), f"cancelled at turn {ticks} and went on"
    raise AssertionError(f"not through after {TICKS_MAX} turns")
