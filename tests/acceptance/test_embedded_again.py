"""Embedded servers that are killed under the daemon are started again by it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg
import pytest
from support import eventually

from fullon_embedded import EmbeddedServers
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.writer_lock import find_writer

STOP_S = 20


async def has_writer() -> bool:
    """Tell whether a daemon holds the database that the environment names; False while that recovers."""
    try:
        connection = await connect(Target.from_env())
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        return await find_writer(connection) is not None
    finally:
        await connection.close()


@pytest.mark.timeout(240)
async def test_killed_embedded_servers_are_started_again_and_collecting_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DB_HOST", "REDIS_HOST", "CACHE_HOST", "DB_NAME", "DB_OHLCV_NAME", "FULLON_CLOCK", "REDIS_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FULLON_DATA_DIR", str(tmp_path / "servers"))
    log = tmp_path / "daemon.log"
    with log.open("wb") as sink:
        daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fullon_ohlcv_service.daemon", stdout=sink, stderr=sink
        )
    try:
        await eventually(lambda: "no symbols in the database yet" in log.read_text(), "it waits for symbols")
        servers = EmbeddedServers(tmp_path / "servers")
        killed = servers.pids()
        for pid in killed.values():
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

        def run_again() -> bool:
            return all(pid not in (None, killed[name]) for name, pid in servers.pids().items())

        await eventually(run_again, "both run again")

        for name, value in servers.environment().items():
            monkeypatch.setenv(name, value)
        await eventually(has_writer, "the daemon is the writer again")
        daemon.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            assert await daemon.wait() == 0, log.read_text()
    finally:
        if daemon.returncode is None:
            daemon.kill()
            await daemon.wait()
            await asyncio.to_thread(EmbeddedServers(tmp_path / "servers").stop)
    assert "embedded servers have died, starting them again" in log.read_text()
