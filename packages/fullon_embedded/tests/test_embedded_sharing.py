"""Who starts the servers, who shares them, who stops them."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis.asyncio

from fullon_embedded import DataDirectoryBusy, EmbeddedServers, start_servers
from fullon_embedded.processes import is_alive


def running(data_dir: Path) -> list[bool]:
    return [pid is not None for pid in EmbeddedServers(data_dir).pids().values()]


def test_entering_starts_both_and_leaving_stops_both(new_data_dir: Path) -> None:
    with start_servers(new_data_dir, durable=False):
        assert running(new_data_dir) == [True, True]
    assert running(new_data_dir) == [False, False]


def test_only_what_is_wanted_is_started_and_named(data_dir: Path) -> None:
    with start_servers(data_dir, postgres=False) as servers:
        assert running(data_dir) == [False, True]
        assert set(servers.environment()) == {"REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "CACHE_PASSWORD"}


def test_servers_listen_on_private_sockets_only(data_dir: Path) -> None:
    with start_servers(data_dir, durable=False) as servers:
        for pid in servers.pids().values():
            assert psutil.Process(pid).net_connections(kind="inet") == []
        directory = Path(servers.environment()["DB_HOST"])
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert Path(servers.environment()["REDIS_HOST"]).is_socket()


def test_five_racing_processes_make_one_server_and_the_last_stops_it(new_data_dir: Path, join) -> None:
    clients = [join(new_data_dir) for _ in range(5)]
    seen = [client.pids() for client in clients]
    assert all(pids == seen[0] for pids in seen)
    for client in clients[:-1]:
        client.leave()
        assert running(new_data_dir) == [True, True]
    clients[-1].leave()
    assert running(new_data_dir) == [False, False]


async def test_rows_and_keys_are_there_after_a_restart(data_dir: Path, connect) -> None:
    async with start_servers(data_dir, durable=False) as servers:
        connection = await connect(servers)
        await connection.execute("CREATE TABLE kept AS SELECT 'row' AS what")
        await connection.close()
        async with redis.asyncio.Redis(unix_socket_path=servers.environment()["REDIS_HOST"]) as client:
            await client.set("kept", "key")
    async with start_servers(data_dir, durable=False) as servers:
        connection = await connect(servers)
        assert await connection.fetchval("SELECT what FROM kept") == "row"
        await connection.close()
        async with redis.asyncio.Redis(unix_socket_path=servers.environment()["REDIS_HOST"]) as client:
            assert await client.get("kept") == b"key"


def test_servers_survive_a_killed_client_and_the_next_takes_them_over(data_dir: Path, join) -> None:
    killed = join(data_dir)
    pids = killed.pids()
    killed.kill()
    assert running(data_dir) == [True, True]
    successor = join(data_dir)
    assert successor.pids() == pids
    successor.leave()
    assert running(data_dir) == [False, False]


def test_a_client_killed_during_the_very_first_start_leaves_nothing_that_hinders(new_data_dir: Path, join) -> None:
    hasty = join(new_data_dir)
    # initdb has begun as soon as its side directory shows.
    while not list(new_data_dir.glob("postgres.initdb-*")):
        assert hasty.process.poll() is None
    hasty.process.kill()
    hasty.process.wait(timeout=10)
    with start_servers(new_data_dir, durable=False):
        assert running(new_data_dir) == [True, True]
        assert not list(new_data_dir.glob("postgres.initdb-*"))


def test_the_locks_are_not_inherited_by_the_servers(data_dir: Path) -> None:
    with start_servers(data_dir, durable=False) as servers:
        for pid in servers.pids().values():
            opened = [file.path for file in psutil.Process(pid).open_files()]
            assert not [path for path in opened if path.endswith((".lock", "clients.lock"))]


def test_a_forked_child_that_leaves_does_not_stop_its_parents_servers(data_dir: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        from fullon_embedded import start_servers
        servers = start_servers(Path(sys.argv[1]), durable=False)
        servers.start()
        if (child := os.fork()) == 0:
            servers.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert None not in servers.pids().values()
        servers.close()
        assert set(servers.pids().values()) == {None}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(data_dir)], check=True, timeout=60)


def test_a_server_killed_while_in_use_is_started_again_on_request(data_dir: Path, kill_servers) -> None:
    with start_servers(data_dir, durable=False) as servers:
        before = servers.pids()
        kill_servers(servers)
        servers.ensure_running()
        after = servers.pids()
        assert None not in after.values()
        assert before.keys() == after.keys()
        assert all(before[name] != after[name] for name in before)
        servers.ensure_running()
        assert servers.pids() == after


def test_stop_refuses_while_somebody_uses_the_servers(data_dir: Path) -> None:
    with start_servers(data_dir, durable=False), pytest.raises(DataDirectoryBusy, match="in use"):
        EmbeddedServers(data_dir).stop()


async def test_a_start_that_is_cancelled_leaves_no_server(new_data_dir: Path) -> None:
    async def use() -> None:
        async with start_servers(new_data_dir, durable=False):
            raise AssertionError("not reached")

    task = asyncio.create_task(use())
    while not new_data_dir.exists():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running(new_data_dir) == [False, False]


async def test_a_path_too_long_for_a_socket_gets_a_short_private_one(data_dir: Path, connect) -> None:
    deep = data_dir / ("d" * 100) / "data"
    async with start_servers(deep, durable=False) as servers:
        directory = Path(servers.environment()["DB_HOST"])
        assert len(os.fsencode(directory / ".s.PGSQL.5432")) <= 107
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        await (await connect(servers)).close()
    assert not directory.exists()


async def test_a_path_with_separators_and_accents_works(data_dir: Path, connect) -> None:
    async with start_servers(data_dir / "my data, of: Žofie", durable=False) as servers:
        await (await connect(servers)).close()


def test_a_foreign_process_with_the_recorded_id_is_not_taken_for_the_server(data_dir: Path) -> None:
    with start_servers(data_dir, durable=False):
        pass
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n" * 8)
    assert running(data_dir) == [False, False]
    with start_servers(data_dir, durable=False):
        assert running(data_dir) == [True, True]


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()", str(tmp_path)], stdin=subprocess.PIPE)
    assert is_alive(child.pid, tmp_path)
    child.kill()
    psutil.Process(child.pid)  # still listed, as it has not been waited for
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert not is_alive(child.pid, tmp_path)
    child.communicate()


def test_the_environment_of_the_caller_does_not_reach_the_servers(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGDATA": "/nowhere",
        "PGPORT": "1",
        "TZ": "America/New_York",
        "LC_ALL": "xx_YY",
    }.items():
        monkeypatch.setenv(name, value)
    with start_servers(data_dir, durable=False):
        assert running(data_dir) == [True, True]


def test_two_spellings_of_one_directory_mean_one_server(data_dir: Path) -> None:
    link = data_dir.parent / "link"
    link.symlink_to(data_dir)
    with start_servers(data_dir, durable=False) as plain, start_servers(link, durable=False) as linked:
        assert linked.pids() == plain.pids()


def test_callers_may_nest_in_one_process(data_dir: Path) -> None:
    with start_servers(data_dir, durable=False) as outer:
        pids = outer.pids()
        with start_servers(data_dir, durable=False) as inner:
            assert inner.pids() == pids
        assert outer.pids() == pids
    assert running(data_dir) == [False, False]


def test_clients_are_counted_by_process_not_by_luck(data_dir: Path, join: Callable[[Path], object]) -> None:
    """Leaving in any order, killed or not, the servers run exactly while somebody uses them."""
    with start_servers(data_dir, durable=False):
        first, second = join(data_dir), join(data_dir)
        first.pids()
        second.pids()
        first.kill()
        second.leave()
        assert running(data_dir) == [True, True]
    assert running(data_dir) == [False, False]
