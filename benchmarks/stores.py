"""A private PostgreSQL and Redis in a directory that is thrown away, whatever servers the environment names."""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import psutil

from fullon_embedded import EmbeddedServers, start_servers

_FOREIGN = ("DB_HOST", "REDIS_HOST", "CACHE_HOST", "DB_NAME", "DB_OHLCV_NAME", "DB_TEST_NAME", "FULLON_CLOCK")


@contextmanager
def throwaway_servers() -> Iterator[EmbeddedServers]:
    """Start both servers, durable as they are for users, and point the environment at them."""
    for name in [*_FOREIGN, *(name for name in os.environ if name.startswith(("OHLCV_", "REDIS_", "CACHE_")))]:
        os.environ.pop(name, None)
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    with TemporaryDirectory(prefix="fullon-bench-") as directory, start_servers(Path(directory)) as servers:
        os.environ.update(servers.environment())
        yield servers


def name_fresh_databases() -> None:
    """Let the environment name databases that do not exist yet, and a Redis that is empty."""
    suffix = uuid.uuid4().hex[:8]
    os.environ |= {"DB_OHLCV_NAME": f"series_{suffix}", "DB_NAME": f"orm_{suffix}", "REDIS_DB": str(_next_redis())}


def _next_redis() -> int:
    return (int(os.environ.get("REDIS_DB", "0")) + 1) % 16


@contextmanager
def exchange_clock(*, second: float, speed: float = 1.0) -> Iterator[int]:
    """Let exchange time be `second` seconds into a minute now; enters with where that minute ends, in microseconds.

    So a minute ends when the benchmark wants it to. What is started from now on shares the clock.
    """
    unix_s = time.time()
    minute_s = int(unix_s) // 60 * 60
    os.environ["FULLON_CLOCK"] = f"{minute_s + second:.6f}@{unix_s:.6f}x{speed:.6f}"
    try:
        yield (minute_s + 60) * 1_000_000
    finally:
        del os.environ["FULLON_CLOCK"]


async def connect() -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to the database of the series, past all code of ours."""
    return await asyncpg.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        user=os.environ["DB_USER"],
        database=os.environ["DB_OHLCV_NAME"],
        server_settings={"timezone": "UTC"},
    )


def cpu_s(pids: Sequence[int | None]) -> float:
    """Return the CPU seconds that servers and their children have used, as far as they still run."""
    total = 0.0
    for pid in pids:
        if pid is None:
            continue
        server = psutil.Process(pid)
        for process in [server, *server.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


def utc(timestamp_us: int) -> datetime:
    """Return a time as asyncpg wants it."""
    return datetime.fromtimestamp(timestamp_us / 1e6, UTC)
