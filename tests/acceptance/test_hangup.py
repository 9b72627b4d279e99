"""A dropped session ends a program in order, as SIGTERM does, and no embedded server is left behind."""

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_process import COMMAND
from support import eventually

from fullon_embedded import EmbeddedServers

END_S = 120
RUN = (*COMMAND, "run")
DEMO = (*COMMAND, "--env-file", "/dev/null", "demo")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Servers of the test's own, which nothing has used yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("DB_HOST", "REDIS_HOST", "CACHE_HOST", "DB_NAME", "DB_OHLCV_NAME", "FULLON_CLOCK", "REDIS_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FULLON_DATA_DIR", str(tmp_path / "servers"))
    return tmp_path / "servers"


@asynccontextmanager
async def started(*command: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Have a program run; it is gone in the end, its servers too."""
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.to_thread(EmbeddedServers(Path(os.environ["FULLON_DATA_DIR"])).stop)


async def end_of(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(END_S):
        return await process.wait()


def running(directory: Path) -> dict[str, int | None]:
    return EmbeddedServers(directory).pids()


NONE_RUN = {"PostgreSQL": None, "Redis": None}


@pytest.mark.timeout(180)
async def test_a_daemon_ends_in_order_on_sighup_sent_twice(directory: Path) -> None:
    log = directory.parent / "daemon.log"
    with log.open("wb") as sink:
        async with started(*RUN, stdout=sink, stderr=sink) as daemon:
            await eventually(lambda: "no symbols in the database yet" in log.read_text(), "it waits for symbols")
            daemon.send_signal(signal.SIGHUP)  # the kernel's
            daemon.send_signal(signal.SIGHUP)  # the shell's
            assert await end_of(daemon) == 0
            assert running(directory) == NONE_RUN
    assert "stopped at once" not in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.timeout(180)
async def test_a_daemon_under_nohup_goes_on_after_sighup(directory: Path) -> None:
    log = directory.parent / "daemon.log"
    with log.open("wb") as sink:
        async with started("nohup", *RUN, stdout=sink, stderr=sink) as daemon:
            await eventually(lambda: "no symbols in the database yet" in log.read_text(), "it waits for symbols")
            daemon.send_signal(signal.SIGHUP)
            daemon.send_signal(signal.SIGTERM)
            assert await end_of(daemon) == 0
            assert running(directory) == NONE_RUN
    assert log.read_text().count("stopping") >= 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("number", "interrupt"), [(signal.SIGHUP, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_IGN)])
async def test_a_signal_while_the_servers_start_leaves_none(
    directory: Path, number: signal.Signals, interrupt: signal.Handlers
) -> None:
    nowhere = asyncio.subprocess.DEVNULL
    with_interrupt = partial(signal.signal, signal.SIGINT, interrupt)
    async with started(*RUN, stdout=nowhere, stderr=nowhere, preexec_fn=with_interrupt) as daemon:
        await eventually(lambda: running(directory)["PostgreSQL"] is not None, "the first server runs")
        daemon.send_signal(number)
        await end_of(daemon)
        assert running(directory) == NONE_RUN


@pytest.mark.timeout(180)
async def test_the_demo_ends_in_order_on_sighup(directory: Path) -> None:
    log = directory.parent / "demo.log"
    with log.open("wb") as sink:
        async with started(*DEMO, stdout=sink, stderr=sink) as demo:
            await eventually(lambda: "collecting symbols" in log.read_text(), "it collects")
            demo.send_signal(signal.SIGHUP)
            assert await end_of(demo) == 0
            assert running(Path.home() / ".local/share/fullon-demo") == NONE_RUN
    assert "Traceback" not in log.read_text()


@pytest.mark.timeout(180)
async def test_a_terminal_that_is_closed_ends_the_daemon_in_order(directory: Path) -> None:
    master, slave = pty.openpty()
    command = ("setsid", "--ctty", "--wait", *RUN)
    process = await asyncio.create_subprocess_exec(*command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    log = directory / "fullon-ohlcv.log"
    drawn = b""
    loop = asyncio.get_running_loop()

    def draw() -> None:
        nonlocal drawn
        drawn += os.read(master, 65_536)

    loop.add_reader(master, draw)
    try:
        await eventually(lambda: b"waiting for some" in drawn, "the table is drawn")
        [daemon] = [int(pid) for pid in _children(process.pid)] or [process.pid]
        loop.remove_reader(master)
        os.close(master)
        await eventually(lambda: not Path(f"/proc/{daemon}/exe").exists(), "the daemon has ended")
        assert running(directory) == NONE_RUN
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.to_thread(EmbeddedServers(directory).stop)
    assert "stopped" in log.read_text().splitlines()[-1]
    assert "Traceback" not in log.read_text()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("interrupt", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background of a script"])
async def test_a_command_that_has_started_servers_stops_them_on_sighup(
    directory: Path, interrupt: signal.Handlers
) -> None:
    done = await asyncio.create_subprocess_exec(*COMMAND, "init", "--yes", stdout=asyncio.subprocess.DEVNULL)
    assert await end_of(done) == 0
    command = (*COMMAND, "status", "--watch", "--json")
    with_interrupt = partial(signal.signal, signal.SIGINT, interrupt)
    async with started(*command, stdout=asyncio.subprocess.PIPE, preexec_fn=with_interrupt) as watching:
        assert watching.stdout is not None
        async with asyncio.timeout(END_S):
            assert await watching.stdout.readline()
        assert None not in running(directory).values()
        watching.send_signal(signal.SIGHUP)
        assert await end_of(watching) == 130
        assert running(directory) == NONE_RUN
