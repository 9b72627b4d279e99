"""Pytest plugin: the fixture `servers`, one embedded PostgreSQL and Redis for a whole test run.

All xdist workers share one temporary data directory; whoever needs the servers first starts them. Servers
that the environment already names (DB_HOST or DATABASE_URL; REDIS_HOST, CACHE_HOST or REDIS_URL) are used as they
are. The directory goes away with the run; what a killed run left behind is stopped and removed by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fullon_embedded.errors import DataDirectoryBusy
from fullon_embedded.servers import EmbeddedServers, start_servers

_DIRECTORY_VARIABLE = "FULLON_TEST_SERVERS_DIR"
_PREFIX = "fullon-test-"
_run_lock = pytest.StashKey[tuple[Path, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the run's data directory, in the controlling process; the workers inherit it."""
    if hasattr(config, "workerinput") or _DIRECTORY_VARIABLE in os.environ:
        return
    _remove_abandoned()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    config.stash[_run_lock] = (directory, _lock(directory))
    os.environ[_DIRECTORY_VARIABLE] = str(directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what a crashed worker left running and remove the directory."""
    if (held := config.stash.get(_run_lock, None)) is None:
        return
    directory, fd = held
    os.environ.pop(_DIRECTORY_VARIABLE, None)
    _remove(directory)
    os.close(fd)


@pytest.fixture(scope="session")
def servers() -> Iterator[Mapping[str, str]]:
    """Run PostgreSQL and Redis for the session; their variables are in os.environ and are returned."""
    wants_postgres = not any(os.environ.get(name) for name in ("DB_HOST", "DATABASE_URL", "DB_DIRECT_URL"))
    wants_redis = not any(os.environ.get(name) for name in ("REDIS_HOST", "CACHE_HOST", "REDIS_URL"))
    embedded = start_servers(
        Path(os.environ[_DIRECTORY_VARIABLE], "servers"),
        postgres=wants_postgres,
        redis=wants_redis,
        durable=False,
    )
    with embedded, pytest.MonkeyPatch.context() as patch:
        environment = embedded.environment()
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


def _lock(directory: Path) -> int:
    """Hold a lock in `directory` for the run's life; raises BlockingIOError if another run holds it."""
    fd = os.open(directory / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    return fd


def _remove_abandoned() -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if directory.stat().st_uid != os.geteuid() or not (directory / "run.lock").exists():
                continue
            fd = _lock(directory)
        except (BlockingIOError, FileNotFoundError):
            # Another run's, alive or just being removed.
            continue
        _remove(directory)
        os.close(fd)


def _remove(directory: Path) -> None:
    try:
        EmbeddedServers(directory / "servers").stop()
    except DataDirectoryBusy as error:
        sys.stderr.write(f"A test left a process behind. {error}\n")
        return
    shutil.rmtree(directory)
