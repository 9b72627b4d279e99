"""The daemon with its embedded servers on a disk that fills up: warned of, endured, and over once there is room."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from alerting import Alerts, read_rules
from cli_process import COMMAND, run_cli
from fixed_clock import set_market_clock
from support import eventually

from fullon_embedded import EmbeddedServers
from fullon_simulator import SimulatedMarket, SymbolSpec

MIN_MB = 200
WARN_MB = 400
SECONDS = 25.0
"""An answer that takes longer is none; two busy cores take their time to start a program."""
MB = 1_000_000


SYMBOL = "BTC/USDT"


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    """An exchange with one symbol; no servers."""
    set_market_clock(monkeypatch, 20.0)
    async with SimulatedMarket({"binance": [SymbolSpec(SYMBOL, kind="busy", price=60_000.0)]}, seed=5) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 700 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700m,mode=0700", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounting.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounting.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def leave(disk: Path, free_mb: float) -> None:
    """Write or cut a file until so much is free."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        room = os.statvfs(disk)
        more = room.f_bavail * room.f_frsize - round(free_mb * MB)
        if more < 0:
            file.truncate(max(0, file.tell() + more))
        while more > 0:  # a disk that is full takes a part, and then nothing
            more -= file.write(bytes(min(more, MB)))


async def ask(url: str) -> tuple[int, str]:
    """Return status and body; status 0 where nobody answers."""
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientConnectionError:
        return 0, ""


@pytest.mark.timeout(300)
async def test_a_disk_that_fills_up_is_warned_of_endured_and_over_once_there_is_room(
    small_disk: Path, market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DB_HOST", "REDIS_HOST", "CACHE_HOST", "DB_NAME", "DB_OHLCV_NAME", "DB_TEST_NAME", "REDIS_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(small_disk.parent)
    directory = small_disk / "servers"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*free.getsockname())
    for name, value in {
        "FULLON_DATA_DIR": str(directory),
        "OHLCV_HTTP_BIND": address,
        "OHLCV_DISK_FREE_MIN_MB": str(MIN_MB),
        "OHLCV_DISK_FREE_WARN_MB": str(WARN_MB),
        "LOG_FILE_PATH": str(small_disk.parent / "daemon.log"),
    }.items():
        monkeypatch.setenv(name, value)
    init = await asyncio.create_subprocess_exec(*COMMAND, "init", "--yes", f"binance:{SYMBOL}", "--backtest", "30")
    assert await init.wait() == 0
    leave(small_disk, MIN_MB - 20)
    daemon = await asyncio.create_subprocess_exec(*COMMAND, "run", stderr=asyncio.subprocess.DEVNULL)
    servers = EmbeddedServers(directory)
    try:

        async def ready(status: int, reason: str) -> bool:
            found, body = await ask(f"http://{address}/ready")
            return found == status and reason in body

        # Little is left: live goes on, back-filling waits.
        await eventually(lambda: ready(503, f"disk nearly full, {MIN_MB - 20}"), "/ready names the disk")
        redis = servers.pids()["Redis"]
        alerts = Alerts(read_rules())
        body = ""

        async def is_live() -> bool:
            nonlocal body
            _, body = await ask(f"http://{address}/metrics")
            return 'fullon_ohlcv_symbols{exchange="binance",phase="waiting"} 0.0' in body and _rows(body) > 0

        await eventually(is_live, "live candles are stored")
        assert _rows(body) < 1_000, "nothing is back-filled"
        for _ in range(50):
            alerts.take(body)
        assert {("OhlcvDiskLow", ""), ("OhlcvBackfillPaused", "")} <= alerts.firing()

        # Full: questions are answered within seconds, and end no server.
        leave(small_disk, 0)
        for words in (("status",), ("doctor",), ("gaps",)):
            begun_s = time.monotonic()
            answer = await run_cli(*words)
            assert time.monotonic() - begun_s < SECONDS
            assert answer.code in (1, 2), words
            if words != ("gaps",):
                assert f"disk full, 0 MB free at {directory}" in answer.out + answer.err, (words, answer)
            assert "Traceback" not in answer.err
        assert servers.pids()["Redis"] == redis

        # Room again: everything goes on by itself, and what was left out is back-filled.
        leave(small_disk, 500)

        async def has_backfilled() -> bool:
            _, body = await ask(f"http://{address}/metrics")
            return _rows(body) > 10_000

        await eventually(has_backfilled, "history is back-filled")
        await eventually(lambda: ready(200, '"warnings": []'), "it is ready")
        leave(small_disk, WARN_MB - 50)
        await eventually(lambda: ready(200, "disk filling up, "), "it is ready, and warns")
        daemon.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            assert await daemon.wait() == 0
        assert set(servers.pids().values()) == {None}
    finally:
        leave(small_disk, 600)
        if daemon.returncode is None:
            daemon.kill()
            await daemon.wait()
        await asyncio.to_thread(servers.stop)
    log = (small_disk.parent / "daemon.log").read_text()
    assert "disk nearly full" in log
    assert "the disk has room again" in log


def _rows(body: str) -> float:
    found = [line for line in body.splitlines() if line.startswith("fullon_ohlcv_rows_total{")]
    return sum(float(line.split()[-1]) for line in found)
