"""PostgreSQL and Redis fail in every way there is while live and back-fill run: nothing is lost or claimed falsely."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from fault.collecting import Collecting, proxied
from fault.servers import PrivateServers
from support import eventually, running_daemon
from template_databases import template_databases

from fullon_exchange.clock import Clock
from fullon_simulator import SimulatedMarket

pytestmark = pytest.mark.timeout(300)

OUTAGE_MINUTES = 1.2
"""How long each outage lasts: at least one minute of the market begins and ends in it."""
TABLES = ("candles", "trades")


@pytest.fixture(scope="module")
def servers() -> Iterator[PrivateServers]:
    """Servers of these tests alone, in place of those that all others share: they will be hurt."""
    with PrivateServers() as private, pytest.MonkeyPatch.context() as patch:
        for name, value in private.environment().items():
            patch.setenv(name, value)
        yield private


@pytest.fixture(scope="module")
def templates(servers: PrivateServers) -> Iterator[tuple[str, str]]:
    """The databases to be copied are on these servers too."""
    with template_databases() as names:
        yield names


@pytest.fixture
async def collecting(servers: PrivateServers, seeded: SimulatedMarket, clock: Clock) -> AsyncIterator[Collecting]:
    async with proxied(seeded, clock) as case:
        yield case


async def test_while_postgresql_is_cut_hung_refused_and_reset_nothing_is_lost_or_claimed_falsely(
    collecting: Collecting,
) -> None:
    """The first outage hits the back-fill in the middle of a write, the others live and repair together."""
    proxy = collecting.postgres

    async def cut_again_and_again() -> None:
        for _ in range(10):
            await proxy.cut()
            await collecting.pass_minutes(0.1)

    async def commit_unheard_and_cut() -> None:
        await proxy.hang("replies")
        await collecting.pass_minutes(OUTAGE_MINUTES)
        await proxy.reset()

    await proxy.cut_after(300_000, "requests")
    async with running_daemon():
        await eventually(lambda: proxy.passed["requests"] >= 300_000, "the back-fill was cut in a write")
        await collecting.pass_minutes(0.3)
        await proxy.heal()
        await collecting.is_repaired("the start")
        tasks = collecting.tasks()
        for outage in (cut_again_and_again, commit_unheard_and_cut, proxy.down):
            await outage()
            await collecting.pass_minutes(OUTAGE_MINUTES)
            await proxy.heal()
            await collecting.is_repaired(f"{outage.__name__}")
        await eventually(lambda: collecting.tasks() <= tasks, "no task is left over")


async def test_postgresql_may_kill_statements_and_connections_be_full_or_have_none_to_spare(
    collecting: Collecting, servers: PrivateServers
) -> None:
    async with running_daemon():
        await collecting.is_repaired("the start")
        tasks = collecting.tasks()
        for cancel_only in (True, False):
            for _ in range(10):
                await servers.end_backends(cancel_only=cancel_only)
                await collecting.clock.sleep(6.0)
        await collecting.is_repaired("killed statements and connections")
        async with servers.full_disk(os.environ["DB_OHLCV_NAME"], *TABLES):
            await collecting.pass_minutes(OUTAGE_MINUTES)
        await collecting.is_repaired("a full disk")
        await collecting.postgres.cut()
        async with servers.exhausted_postgres() as taken:
            assert taken
            await collecting.pass_minutes(OUTAGE_MINUTES)
        await collecting.is_repaired("there was no connection left")
        await eventually(lambda: collecting.tasks() <= tasks, "no task is left over")


async def test_while_redis_is_cut_hung_full_and_emptied_nothing_is_lost_or_claimed_falsely(
    collecting: Collecting, servers: PrivateServers
) -> None:
    proxy = collecting.redis

    async def cut_again_and_again() -> None:
        for _ in range(10):
            await proxy.cut()
            await collecting.pass_minutes(0.1)

    async def append_unheard_and_cut() -> None:
        await proxy.hang("replies")
        await collecting.pass_minutes(OUTAGE_MINUTES)
        await proxy.reset()

    async with running_daemon():
        await collecting.is_repaired("the start")
        tasks = collecting.tasks()
        for outage in (cut_again_and_again, append_unheard_and_cut, servers.empty_redis):
            await outage()
            await collecting.pass_minutes(OUTAGE_MINUTES)
            await proxy.heal()
            await collecting.is_repaired(f"{outage.__name__}")
        async with servers.full_redis():
            await collecting.pass_minutes(OUTAGE_MINUTES)
        await collecting.is_repaired("redis had no memory left")
        await eventually(lambda: collecting.tasks() <= tasks, "no task is left over")
