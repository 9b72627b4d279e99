"""The daemon as a process that is killed between two writes, or told to stop in the middle of one."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault.collecting import Collecting, proxied
from fault.servers import DaemonProcess
from support import eventually

from fullon_exchange.clock import Clock
from fullon_simulator import SimulatedMarket

pytestmark = pytest.mark.timeout(300)

IN_A_WRITE = 400_000
"""Bytes of requests after which the back-fill of a day is under way, in the middle of a COPY."""


@pytest.fixture
async def collecting(seeded: SimulatedMarket, clock: Clock) -> AsyncIterator[Collecting]:
    async with proxied(seeded, clock) as case:
        yield case


async def test_killed_in_a_write_and_after_an_unheard_commit_the_daemon_goes_on_from_what_is_stored(
    collecting: Collecting, tmp_path: Path
) -> None:
    proxy = collecting.postgres
    async with DaemonProcess(tmp_path / "daemon.log") as daemon:
        await proxy.cut_after(IN_A_WRITE, "requests")
        await eventually(lambda: proxy.passed["requests"] >= IN_A_WRITE, "a write was cut")
        await daemon.kill()
        await proxy.heal()
        await collecting.is_true()

        passed = proxy.passed["requests"]
        await daemon.start()
        await eventually(lambda: proxy.passed["requests"] > passed + IN_A_WRITE / 2, "it writes again")
        await proxy.hang("replies")
        await asyncio.sleep(0.5)  # what is committed now is not heard of
        await daemon.kill()
        await proxy.heal()
        await collecting.is_true()

        await daemon.start()
        await collecting.is_repaired("two kills")
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.said()


@pytest.mark.parametrize(("number", "again"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_told_to_stop_in_a_write_that_never_ends_it_ends_in_time_and_in_order(
    collecting: Collecting, tmp_path: Path, number: signal.Signals, again: bool
) -> None:
    proxy = collecting.postgres
    async with DaemonProcess(tmp_path / "daemon.log") as daemon:
        await eventually(lambda: proxy.passed["requests"] >= IN_A_WRITE, "the back-fill writes")
        await proxy.hang()
        assert daemon.process is not None
        if again:
            daemon.process.send_signal(number)
            await eventually(lambda: "stopping" in daemon.said(), "it says so")
        assert await daemon.stop(number) == 0
        assert "stopped" in daemon.said()
        assert "Traceback" not in daemon.said()
        await proxy.heal()
        await collecting.is_true()
