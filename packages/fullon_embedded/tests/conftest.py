"""Fixtures of the embedded servers' own tests: fresh data directories, and clients in other processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from fullon_embedded import EmbeddedServers

_CLIENT = """
import json, sys
from pathlib import Path
from fullon_embedded import start_servers

with start_servers(Path(sys.argv[1]), durable=False) as servers:
    print(json.dumps(servers.pids()), flush=True)
    sys.stdin.read()
"""


class Client:
    """A process that uses the servers until `leave` or `kill`."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CLIENT, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def pids(self) -> dict[str, int]:
        """Wait until the servers run; return their process ids."""
        assert self.process.stdout is not None
        pids: dict[str, int] = json.loads(self.process.stdout.readline())
        return pids

    def leave(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0

    def kill(self) -> None:
        """Kill the process if it is still there; harmless otherwise."""
        self.process.kill()
        if self.process.returncode is None:
            self.process.communicate(timeout=30)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def kill_servers() -> Callable[[EmbeddedServers], None]:
    """Kill the servers with -9 and wait until they are dead: the signal is only the beginning of that."""

    def kill(servers: EmbeddedServers) -> None:
        pids = [pid for pid in servers.pids().values() if pid is not None]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            time.sleep(0.001)

    return kill


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """Give a cluster to copy: initdb takes longer than everything else in most tests."""
    with tempfile.TemporaryDirectory(prefix="fullon-embedded-") as top:
        with EmbeddedServers(Path(top, "data"), redis=False, durable=False):
            pass
        yield Path(top, "data", "postgres")


@pytest.fixture
def new_data_dir() -> Iterator[Path]:
    """Give a data directory that does not exist yet; whatever runs on it afterwards is stopped."""
    top = Path(tempfile.mkdtemp(prefix="fullon-embedded-"))
    yield top / "data"
    EmbeddedServers(top / "data").stop()
    shutil.rmtree(top)


@pytest.fixture
def data_dir(new_data_dir: Path, template: Path) -> Path:
    """Give a data directory that has been used before: its cluster is made."""
    new_data_dir.mkdir(mode=0o700)
    shutil.copytree(template, new_data_dir / "postgres")
    return new_data_dir


@pytest.fixture
def join() -> Iterator[Callable[[Path], Client]]:
    """Start a client process on a data directory; those still there at the end are killed."""
    clients: list[Client] = []

    def start(data_dir: Path) -> Client:
        clients.append(Client(data_dir))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()


@pytest.fixture
def connect() -> Callable[[EmbeddedServers], object]:
    """Open a connection to the servers' PostgreSQL."""

    async def open_connection(servers: EmbeddedServers) -> asyncpg.Connection:
        address = servers.environment()
        return await asyncpg.connect(host=address["DB_HOST"], user=address["DB_USER"], database="postgres", timeout=20)

    return open_connection
