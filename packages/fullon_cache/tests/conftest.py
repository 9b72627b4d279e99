import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fullon_cache import ConnectionPool
from fullon_embedded import EmbeddedServers, start_servers

REDIS_VARIABLES = [
    f"{prefix}_{name}"
    for prefix in ("REDIS", "CACHE")
    for name in ("HOST", "PORT", "DB", "PASSWORD", "MAX_CONNECTIONS", "SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")
]


@pytest.fixture
async def redis(servers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> ConnectionPool:
    """A database of the shared Redis, empty and this worker's own; the environment names it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    monkeypatch.setenv("REDIS_DB", str(1 + worker % 15))
    pool = await ConnectionPool.shared()
    await pool.run("FLUSHDB")
    return pool


class HurtRedis:
    """A Redis of the test's own, to be hurt."""

    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers

    def kill(self) -> None:
        """End the process without a warning."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again; it reads back what it had written."""
        self._servers.ensure_running()

    def freeze(self) -> None:
        """Leave connections open and unanswered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        pid = self._servers.pids()["Redis"]
        assert pid is not None
        os.kill(pid, number)


@pytest.fixture
def hurt_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HurtRedis]:
    """A private Redis with short time-outs; the environment names it."""
    with start_servers(tmp_path / "servers", postgres=False, durable=False) as private:
        for name in REDIS_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in private.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REDIS_SOCKET_TIMEOUT", "0.3")
        monkeypatch.setenv("REDIS_SOCKET_CONNECT_TIMEOUT", "0.3")
        hurt = HurtRedis(private)
        yield hurt
        if private.pids()["Redis"] is not None:
            hurt.thaw()
