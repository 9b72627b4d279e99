"""A server that runs is used or waited for, whatever it answers; it is never ended to start another one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from fullon_embedded import DiskFull, EmbeddedServers, ServerFailed, processes, start_servers
from fullon_embedded.redis_server import Redis

GIVE_UP_S = 30.0


def eventually(condition: Callable[[], bool]) -> None:
    assert processes.wait_until(condition, timeout_s=GIVE_UP_S)


def redis_client(servers: EmbeddedServers) -> redis.Redis:
    return redis.Redis(unix_socket_path=servers.environment()["REDIS_HOST"])


def psql_environment(servers: EmbeddedServers) -> dict[str, str]:
    return {**os.environ, "PGHOST": servers.environment()["DB_HOST"], "PGUSER": "postgres"}


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process in its tracks."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_redis_that_refuses_every_command_is_used_as_it_is(data_dir: Path) -> None:
    """MISCONF is what Redis replies to PING, too, once it cannot save, on a full disk for instance."""
    with start_servers(data_dir, durable=False) as servers, redis_client(servers) as client:
        (data_dir / "redis" / "dump.rdb" / "in the way").mkdir(parents=True)
        client.config_set("save", "3600 1")
        client.set("kept", "key")
        client.bgsave()

        def is_refused() -> bool:
            try:
                return not client.ping()
            except redis.ResponseError as error:
                return "MISCONF" in str(error)

        eventually(is_refused)
        before = servers.pids()
        with start_servers(data_dir, guest=True, start_timeout_s=1.0) as guest:
            assert guest.pids() == before
        servers.ensure_running()
        assert servers.pids() == before
        assert client.get("kept") == b"key"


def test_a_redis_that_loads_its_file_is_waited_for_with_progress(data_dir: Path) -> None:
    """It takes longer than a server may be silent."""
    silence_max_s = 0.7
    with (
        start_servers(data_dir, postgres=False, durable=False) as servers,
        redis_client(servers) as client,
        client.pipeline(transaction=False) as pipe,
    ):
        for number in range(5_000):
            pipe.rpush("kept", number)
        pipe.execute()
    server = Redis(data_dir, Path(servers.environment()["REDIS_HOST"]).parent, durable=False)
    processes.start_detached([*server._command(), "--key-load-delay", "500"], log=server.log)
    eventually(server.is_starting)
    loading = server.pid()
    said: list[str] = []
    with start_servers(data_dir, postgres=False, start_timeout_s=silence_max_s, report=said.append) as servers:
        assert servers.pids() == {"Redis": loading}
        with redis_client(servers) as client:
            assert client.llen("kept") == 5_000
    assert said
    assert f"waiting for Redis in {data_dir / 'redis'} to start: " in said[0]
    assert "% of its file is loaded" in said[0]


def hold_recovery_up(data_dir: Path) -> psutil.Process:
    """Stop the process that replays the log in its tracks as soon as it is there; return it."""
    server = EmbeddedServers(data_dir, redis=False)
    give_up_s = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_s:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(pid).children() if (pid := server.pids()["PostgreSQL"]) else []:
                if "startup" in " ".join(child.cmdline()):
                    child.suspend()
                    return child
    raise AssertionError("nothing recovers")


def test_a_postgresql_that_recovers_is_waited_for_and_is_the_same_afterwards(data_dir: Path, kill_servers) -> None:
    """Its recovery is held up for longer than a server may be silent."""
    silence_max_s = 0.5
    with start_servers(data_dir, redis=False, durable=False) as servers:
        for statement in ("CREATE TABLE kept (n int)", "INSERT INTO kept SELECT generate_series(1, 700000)"):
            subprocess.run(["psql", "-qc", statement], env=psql_environment(servers), check=True, timeout=GIVE_UP_S)
        kill_servers(servers)
    said: list[str] = []
    waited_long = threading.Event()

    def report(sentence: str) -> None:
        said.append(sentence)
        waited_long.set()

    with ThreadPoolExecutor() as pool:
        holding = pool.submit(hold_recovery_up, data_dir)
        first = start_servers(data_dir, redis=False, durable=False, start_timeout_s=silence_max_s, report=report)
        starting = pool.submit(first.start)
        recovery = holding.result()
        try:
            assert waited_long.wait(GIVE_UP_S)
            recovering = first.pids()
            second = start_servers(data_dir, redis=False, guest=True, start_timeout_s=silence_max_s)
            joining = pool.submit(second.start)
            with pytest.raises(TimeoutError):
                joining.result(2 * silence_max_s)
        finally:
            recovery.resume()
        starting.result(GIVE_UP_S)
        joining.result(GIVE_UP_S)
    assert second.pids() == first.pids() == recovering
    second.close()
    first.close()
    assert said[0].startswith(f"waiting for PostgreSQL in {data_dir / 'postgres'} to start")


def test_a_postgresql_that_shuts_down_is_waited_for_and_then_started(data_dir: Path) -> None:
    with start_servers(data_dir, redis=False, durable=False) as servers:
        before = servers.pids()["PostgreSQL"]
        assert before
        session = subprocess.Popen(
            ["psql", "-q"],
            env=psql_environment(servers),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"\\echo connected\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"connected\n"
        # Smart: it accepts no new client, and ends when its last client has gone.
        os.kill(before, signal.SIGTERM)
        server = servers._both()[0]
        eventually(server.is_starting)
        waiting = threading.Thread(target=servers.ensure_running)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert servers.pids()["PostgreSQL"] == before
        session.communicate(timeout=GIVE_UP_S)
        waiting.join(GIVE_UP_S)
        assert servers.pids()["PostgreSQL"] not in (None, before)


@pytest.mark.parametrize("name", ["Redis", "PostgreSQL"])
def test_a_server_that_hangs_is_named_and_left_alone(data_dir: Path, join, name: str) -> None:
    client = join(data_dir)
    pids = client.pids()
    with frozen(pids[name]):
        begun_s = time.monotonic()
        with pytest.raises(ServerFailed, match=f"{name} in .* runs and has not answered for 0 s: look at"):
            start_servers(data_dir, guest=True, start_timeout_s=0.3).start()
        assert time.monotonic() - begun_s < 10
        assert EmbeddedServers(data_dir).pids() == pids
    with start_servers(data_dir, guest=True) as guest:
        assert guest.pids() == pids


def test_a_guest_leaves_servers_without_a_user_as_it_found_them(data_dir: Path, join) -> None:
    client = join(data_dir)
    pids = client.pids()
    client.kill()
    with start_servers(data_dir, guest=True) as guest:
        assert guest.pids() == pids
    assert EmbeddedServers(data_dir).pids() == pids


def test_a_guest_stops_what_it_has_started_and_what_another_user_left_to_it(data_dir: Path, join) -> None:
    with start_servers(data_dir, guest=True, durable=False) as guest:
        assert None not in guest.pids().values()
    assert set(guest.pids().values()) == {None}
    client = join(data_dir)
    client.pids()
    with start_servers(data_dir, guest=True, durable=False) as guest:
        client.leave()
        assert None not in guest.pids().values()
    assert set(guest.pids().values()) == {None}


# a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(new_data_dir: Path) -> Iterator[Path]:
    """Give a data directory on a disk of its own of 160 MB."""
    new_data_dir.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0700", "tmpfs", str(new_data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounting.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounting.stderr.strip()}")
    yield new_data_dir
    EmbeddedServers(new_data_dir).stop()
    subprocess.run(["umount", str(new_data_dir)], check=True)


def fill(directory: Path, *, leave_bytes: int = 0) -> Path:
    """Write a file until the disk is full, but for `leave_bytes`."""
    ballast = directory / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * (1024 * 1024))
    if leave_bytes:
        os.truncate(ballast, ballast.stat().st_size - leave_bytes)
    return ballast


@pytest.mark.parametrize("has_run", [False, True])
def test_servers_that_cannot_start_on_a_full_disk_say_so_within_seconds(small_disk: Path, has_run: bool) -> None:
    if has_run:
        with start_servers(small_disk, durable=False):
            pass
    ballast = fill(small_disk)
    begun_s = time.monotonic()
    with pytest.raises(DiskFull, match=rf"^disk full, 0 MB free at {small_disk}: make room there"):
        start_servers(small_disk, durable=False).start()
    assert time.monotonic() - begun_s < 10
    assert set(EmbeddedServers(small_disk).pids().values()) == {None}
    ballast.unlink()
    with start_servers(small_disk, durable=False) as servers:
        assert None not in servers.pids().values()


def test_servers_on_a_full_disk_are_used_as_they_are(small_disk: Path) -> None:
    with start_servers(small_disk) as servers:
        before = servers.pids()
        ballast = fill(small_disk)
        with redis_client(servers) as client:

            def is_refused() -> bool:
                try:
                    client.rpush("full", b"x" * 100_000)
                except redis.ResponseError as error:
                    return "MISCONF" in str(error)
                return False

            eventually(is_refused)
            with start_servers(small_disk, guest=True, start_timeout_s=1.0) as guest:
                assert guest.pids() == before
            ballast.unlink()
            eventually(lambda: not is_refused())
        assert servers.pids() == before
