"""A PostgreSQL that was hurt: killed, interrupted, of another version, unable to start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import asyncpg
import psutil
import pytest

from fullon_embedded import DataDirectoryBusy, DataDirectoryUnusable, ServerFailed, VersionMismatch, start_servers


async def test_every_acknowledged_row_survives_kill_9_in_the_middle_of_inserts(
    data_dir: Path, connect, kill_servers
) -> None:
    acknowledged = 0
    async with start_servers(data_dir, redis=False) as servers:
        connection = await connect(servers)
        await connection.execute("CREATE TABLE counted (n int PRIMARY KEY)")

        async def insert_for_ever() -> None:
            nonlocal acknowledged
            while True:
                await connection.execute("INSERT INTO counted VALUES ($1)", acknowledged)
                acknowledged += 1

        async def kill_after_some() -> None:
            while acknowledged < 200:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(kill_servers, servers)

        async with asyncio.timeout(60):
            outcome, _ = await asyncio.gather(insert_for_ever(), kill_after_some(), return_exceptions=True)
        assert isinstance(outcome, Exception)
        connection.terminate()
        await asyncio.to_thread(servers.ensure_running)
        connection = await connect(servers)
        stored = await connection.fetchval("SELECT count(*) FROM counted WHERE n < $1", acknowledged)
        await connection.close()
    assert stored == acknowledged


async def test_a_busy_orphan_of_a_killed_postmaster_is_ended_before_the_next_start(
    data_dir: Path, connect, kill_servers
) -> None:
    async with start_servers(data_dir, redis=False, durable=False) as servers:
        connection = await connect(servers)
        backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        # Computing, it does not look up and notice that its postmaster is gone.
        query = asyncio.ensure_future(connection.fetchval("SELECT count(*) FROM generate_series(1, 10000000000)"))
        while (await asyncio.to_thread(backend.cpu_times)).user < 0.1:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(kill_servers, servers)
        assert backend.is_running()
        await asyncio.to_thread(servers.ensure_running)
        assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await query
        connection.terminate()
        await (await connect(servers)).close()


async def test_a_server_somebody_told_to_stop_is_started_again(data_dir: Path, connect) -> None:
    async with start_servers(data_dir, redis=False, durable=False) as servers:
        os.kill(servers.pids()["PostgreSQL"], signal.SIGINT)
        async with asyncio.timeout(30):
            await asyncio.to_thread(servers.ensure_running)
        # The signal may be handled before or after the look; in the end somebody asks again.
        while True:
            try:
                await (await connect(servers)).close()
                break
            except (OSError, asyncpg.PostgresError):
                await asyncio.to_thread(servers.ensure_running)


def test_an_abandoned_initdb_is_removed_and_done_again(new_data_dir: Path) -> None:
    half = new_data_dir / "postgres.initdb-half"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with start_servers(new_data_dir, redis=False, durable=False):
        assert not half.exists()


def test_another_major_version_is_refused_by_name(data_dir: Path) -> None:
    with start_servers(data_dir, redis=False, durable=False):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("99\n")
    with pytest.raises(VersionMismatch, match=r"was made by PostgreSQL 99, but this machine has .*18") as caught:
        start_servers(data_dir, redis=False).start()
    assert caught.value.found == 99
    assert not caught.value.retryable


def test_a_directory_that_is_no_cluster_is_left_alone(new_data_dir: Path) -> None:
    precious = new_data_dir / "postgres" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    with pytest.raises(DataDirectoryUnusable, match="holds no PostgreSQL database: move it away"):
        start_servers(new_data_dir, redis=False).start()
    assert precious.read_text() == "mine"


def test_a_directory_of_another_kind_of_version_is_left_alone(new_data_dir: Path) -> None:
    (new_data_dir / "postgres").mkdir(parents=True)
    (new_data_dir / "postgres" / "PG_VERSION").write_text("what?\n")
    with pytest.raises(DataDirectoryUnusable, match="holds no PostgreSQL database"):
        start_servers(new_data_dir, redis=False).start()


def test_a_server_that_cannot_start_says_why_and_where_the_log_is(data_dir: Path) -> None:
    with start_servers(data_dir, redis=False, durable=False):
        pass
    with (data_dir / "postgres" / "postgresql.conf").open("a") as file:
        file.write("nonsense = here\n")
    with pytest.raises(
        ServerFailed, match=r"ended while starting: .*nonsense.*contains errors.*postgres\.log"
    ) as caught:
        start_servers(data_dir, redis=False).start()
    assert caught.value.log == data_dir / "postgres.log"


def test_a_redis_that_cannot_start_says_why_and_stops_what_was_started(data_dir: Path) -> None:
    appended = data_dir / "redis" / "appendonlydir"
    appended.mkdir(parents=True)
    (appended / "appendonly.aof.manifest").write_text("garbage\n")
    servers = start_servers(data_dir, durable=False)
    with pytest.raises(ServerFailed, match=r"Redis in .* ended while starting: .*redis\.log"):
        servers.start()
    assert servers.pids() == {"PostgreSQL": None, "Redis": None}


def listen_at(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    return listener


def test_a_redis_whose_last_thread_still_holds_the_socket_is_waited_for(new_data_dir: Path) -> None:
    """A killed one of several threads is a zombie a moment before it lets go of everything."""
    servers = start_servers(new_data_dir, postgres=False, durable=False)
    listener = listen_at(Path(servers.environment()["REDIS_HOST"]))

    def let_go() -> None:
        listener.accept()[0].close()  # the first look finds somebody there
        listener.close()

    last_thread = threading.Thread(target=let_go)
    last_thread.start()
    with servers:
        assert servers.pids()["Redis"] is not None
    last_thread.join()


def test_a_redis_that_listens_without_a_process_is_left_alone(new_data_dir: Path) -> None:
    """One that accepts nobody, too, until no room is left to wait in."""
    servers = start_servers(new_data_dir, postgres=False, durable=False)
    with (
        contextlib.closing(listen_at(Path(servers.environment()["REDIS_HOST"]))),
        pytest.raises(DataDirectoryBusy, match=r"A program that is no Redis listens at .*redis\.sock"),
    ):
        servers.start()


def test_a_log_does_not_grow_without_bound(new_data_dir: Path) -> None:
    new_data_dir.mkdir()
    log = new_data_dir / "postgres.log"
    log.write_bytes(b"x" * (16 * 1024 * 1024 + 1))
    with start_servers(new_data_dir, redis=False, durable=False):
        assert log.stat().st_size < 1024 * 1024
        assert (new_data_dir / "postgres.log.old").exists()
