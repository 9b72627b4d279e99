"""The dual test databases with their schemas, to be copied: migrations take longer than most tests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from demo_data import create_dual_test_databases, drop_dual_test_databases, name_test_database

from fullon_ohlcv.connection import Target, connect
from fullon_orm import dispose_engines


@contextmanager
def template_databases() -> Iterator[tuple[str, str]]:
    """Create them on the servers of the environment, yield their names and drop them."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("DB_NAME", "DB_OHLCV_NAME"):
            patch.setenv(variable, "")  # so that what is set from here on is taken back
        names = asyncio.run(_create())
    yield names
    asyncio.run(drop_dual_test_databases(*names))


async def _create() -> tuple[str, str]:
    names = await create_dual_test_databases(f"{name_test_database()}_template")
    await dispose_engines()
    # Background workers of an extension sit in it otherwise, and a database with sessions cannot be copied.
    connection = await connect(Target.from_env().of("postgres"))
    try:
        for name in names:
            await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1)", names
        )
    finally:
        await connection.close()
    return names
