"""Fixtures of the service's tests: a pair of fresh databases and a Redis database of their own."""

import os
from collections.abc import AsyncIterator

import pytest

from fullon_orm.database import DatabaseManager


@pytest.fixture
async def fresh_databases(servers: object, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Name two databases that do not exist yet, and a Redis database for this worker; drop them afterwards."""
    suffix = os.urandom(4).hex()
    names = {"DB_NAME": f"orm_{suffix}", "DB_OHLCV_NAME": f"ohlcv_{suffix}", "DB_TEST_NAME": f"test_{suffix}"}
    for variable, name in names.items():
        monkeypatch.setenv(variable, name)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    monkeypatch.setenv("REDIS_DB", str(8 + int(worker) % 8))
    yield
    manager = DatabaseManager()
    for name in names.values():
        await manager.drop_database(name)
