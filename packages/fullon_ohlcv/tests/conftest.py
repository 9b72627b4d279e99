"""Real databases for the tests: one per test, copied from a template that has the schema."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from uuid import uuid4

import pytest
from server_commands import on_server

from fullon_ohlcv.store import TimeseriesStore


@pytest.fixture(scope="session")
def template(servers: Mapping[str, str]) -> Iterator[str]:
    """A database with the schema, to be copied."""
    name = f"ohlcv_template_{uuid4().hex[:12]}"

    async def make() -> None:
        async with TimeseriesStore.open():
            pass
        # Background workers of an extension sit in it otherwise, and a database with sessions cannot be copied.
        await on_server(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DB_OHLCV_NAME", name)
        asyncio.run(make())
    yield name
    asyncio.run(on_server(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(template: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The test's own database, which DB_OHLCV_NAME and DB_TEST_NAME name."""
    name = f"ohlcv_{uuid4().hex[:12]}"
    await on_server(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    monkeypatch.setenv("DB_OHLCV_NAME", name)
    monkeypatch.setenv("DB_TEST_NAME", name)
    yield name
    await on_server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(database: str) -> AsyncIterator[TimeseriesStore]:
    """A store on the test's own database."""
    async with TimeseriesStore.open() as store:
        yield store


@pytest.fixture
def missing_database(servers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a database that does not exist yet."""
    name = f'ohlcv "new" {uuid4().hex[:12]}'
    monkeypatch.setenv("DB_OHLCV_NAME", name)
    yield name
    quoted = name.replace('"', '""')
    asyncio.run(on_server(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)'))


@pytest.fixture(autouse=True)
def _new_york(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC always, whatever the environment says."""
    monkeypatch.setitem(os.environ, "TZ", "America/New_York")
