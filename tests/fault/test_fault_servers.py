"""Servers and daemon die, freeze, fill up and come back as the helpers say."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from fault.servers import DaemonProcess, PrivateServers
from redis.exceptions import OutOfMemoryError

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def servers_to_hurt() -> Iterator[PrivateServers]:
    with PrivateServers() as servers:
        yield servers


async def closed(connection: asyncpg.Connection) -> None:
    """Wait until the connection is found to be dead."""
    give_up = time.monotonic() + 10
    while not connection.is_closed():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
    connection.terminate()


async def test_killed_servers_are_dead_until_they_are_started_again_with_what_they_had(
    servers_to_hurt: PrivateServers,
) -> None:
    servers = servers_to_hurt
    connection = await servers.connect()
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    async with servers.redis() as client:
        await client.set("kept", "2")
    before = servers.running()
    await servers.kill()
    assert servers.running() == {}
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await servers.connect()
    await closed(connection)
    await servers.restart()
    assert set(before.values()).isdisjoint(servers.running().values())
    connection = await servers.connect()
    assert await connection.fetchval("SELECT one FROM kept") == 1
    await connection.close()
    async with servers.redis() as client:
        assert await client.get("kept") == b"2"


async def test_one_can_be_killed_alone(servers_to_hurt: PrivateServers) -> None:
    await servers_to_hurt.kill("Redis")
    assert servers_to_hurt.running().keys() == {"PostgreSQL"}
    await servers_to_hurt.restart()


async def test_a_frozen_server_answers_nothing_until_it_goes_on(servers_to_hurt: PrivateServers) -> None:
    servers = servers_to_hurt
    connection = await servers.connect()
    servers.freeze("PostgreSQL")
    question = asyncio.ensure_future(connection.fetchval("SELECT 5"))
    done, _ = await asyncio.wait([question], timeout=0.3)
    assert not done
    servers.resume("PostgreSQL")
    assert await question == 5
    await connection.close()


async def test_redis_restarts_empty_and_can_be_full(servers_to_hurt: PrivateServers) -> None:
    servers = servers_to_hurt
    async with servers.redis() as client:
        await client.set("gone", "1")
    await servers.empty_redis()
    async with servers.redis() as client:
        assert await client.keys() == []
        async with servers.full_redis():
            with pytest.raises(OutOfMemoryError):
                await client.set("more", "1")
            assert await client.get("more") is None
        assert await client.set("more", "1")


async def test_backends_are_ended_or_only_their_statements(servers_to_hurt: PrivateServers) -> None:
    servers = servers_to_hurt
    connection = await servers.connect()
    sleeping = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
    watcher = await servers.connect()
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    while not await watcher.fetchval(asleep):
        pass
    await watcher.close()
    assert await servers.end_backends(cancel_only=True) >= 1
    with pytest.raises(asyncpg.QueryCanceledError):
        await sleeping
    assert await connection.fetchval("SELECT 3") == 3
    assert await servers.end_backends() >= 1
    await closed(connection)


async def test_connections_can_be_exhausted_and_a_disk_full(servers_to_hurt: PrivateServers) -> None:
    servers = servers_to_hurt
    connection = await servers.connect()
    async with servers.exhausted_postgres() as taken:
        assert taken > 10
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await servers.connect()
    await connection.execute("CREATE TABLE full_one (n int)")
    async with servers.full_disk("postgres", "full_one"):
        with pytest.raises(asyncpg.DiskFullError, match="No space left on device"):
            await connection.execute("INSERT INTO full_one VALUES (1)")
        assert await connection.fetchval("SELECT count(*) FROM full_one") == 0
    await connection.execute("INSERT INTO full_one VALUES (1)")
    await connection.close()


async def test_the_daemon_is_a_process_that_can_be_killed_frozen_stopped_and_started_again(
    fresh_databases: None, tmp_path: Path
) -> None:
    async with DaemonProcess(tmp_path / "daemon.log") as daemon:
        assert daemon.alive
        await daemon.kill()
        assert not daemon.alive
        await daemon.start()
        daemon.freeze()
        give_up = time.monotonic() + 10
        while daemon._process().status() != "stopped":
            assert time.monotonic() < give_up
            await asyncio.sleep(0.01)
        daemon.resume()
        while daemon.log.read_bytes() == b"":  # until it has something to say
            assert time.monotonic() < give_up + 20, "it says nothing"
            await asyncio.sleep(0.05)
        assert daemon.memory_mib() > 10
        assert daemon.descriptors() > 3
        assert await daemon.stop(signal.SIGTERM) == 0, daemon.said()
