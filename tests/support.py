"""What several tests of the service do: run a daemon in this process, wait for something to come true."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fullon_ohlcv_service.daemon import OhlcvServiceDaemon

PATIENCE_S = 90.0


@asynccontextmanager
async def running_daemon() -> AsyncIterator[OhlcvServiceDaemon]:
    """A daemon in this process, stopped in order afterwards; what it raises fails the test."""
    daemon = OhlcvServiceDaemon()
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        try:
            yield daemon
        finally:
            async with asyncio.timeout(15):
                await daemon.cleanup()


async def eventually(
    condition: Callable[[], Awaitable[bool] | bool], what: str | Callable[[], str], patience_s: float = PATIENCE_S
) -> None:
    """Wait until `condition` holds; fail with `what` otherwise."""
    give_up_s = time.monotonic() + patience_s
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return
        if time.monotonic() > give_up_s:
            pytest.fail(f"not within {patience_s:.0f} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.05)
