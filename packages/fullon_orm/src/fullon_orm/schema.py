"""The schema: created and brought up to date by Alembic, from migrations shipped in the package.

Alembic is imported by what uses it: a quarter of a second, which programs that only read are spared.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, inspect, text

from fullon_log import get_component_logger
from fullon_orm.address import Address
from fullon_orm.connection import DRIVER_ERRORS, close, connect, connect_to_new, translated
from fullon_orm.connection import Connection as ServerConnection
from fullon_orm.database import DatabaseManager, quoted
from fullon_orm.engines import engine_for_migration, version_mismatch
from fullon_orm.errors import DatabaseMissing, DatabaseUnavailable, PermissionDenied, SchemaMismatch
from fullon_orm.migrations import HEAD, VERSIONS
from fullon_orm.models import Base

MIGRATION_TIMEOUT_S = 60.0
"""How long to wait while somebody else migrates, here or in another process."""

_LOCK_KEY = 0x66756C6C6F6E  # "fullon": the number under which processes queue in PostgreSQL.

_alembic_in_use = threading.Lock()


async def init_db() -> None:
    """Create the environment's database if it is missing, and migrate it to this code's version.

    Idempotent. Any number of processes may call it at once: one does the work, the others wait. A migration
    happens wholly or not at all.

    Raises:
        SchemaMismatch: the schema is newer than the code, or holds tables of our names that are not ours.
        PermissionDenied: the user may not create the database or its tables.
        DatabaseUnavailable: no connection, or another process migrates for longer than 60 s; retryable.
        AuthenticationFailed, ConfigurationError: somebody must mend the environment.
    """
    address = Address.from_env()
    logger = get_component_logger("fullon.orm.schema")
    if await _create_if_missing(address):
        logger.info("database created", database=address.database, host=address.host)
    engine = engine_for_migration(address)
    async with _alembic_to_ourselves(address), engine.begin() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"))
        found = await connection.run_sync(_migrate, address)
    if found != HEAD:
        logger.info("schema migrated", database=address.database, found=found or "none", version=HEAD)


async def _create_if_missing(address: Address) -> bool:
    """Look first: a user who may not create databases may well own this one."""
    is_new = False
    try:
        connection = await connect(address)
    except DatabaseMissing:
        is_new = await DatabaseManager().create_database(address.database)
        connection = await connect_to_new(address)
    try:
        await _find_place(connection, address)
    finally:
        await close(connection)
    return is_new


async def _find_place(connection: ServerConnection, address: Address) -> None:
    """Have a schema for the tables: the one that `OHLCV_SCHEMA` names, or any of the search_path.

    Raises:
        PermissionDenied: there is none that the user may use.
    """
    try:
        if address.schema and await connection.fetchval("SELECT to_regnamespace($1)", quoted(address.schema)) is None:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(address.schema)}")
        if await connection.fetchval("SELECT current_schema()") is None:
            raise PermissionDenied(address, f"permission denied for schema {address.schema or 'public'}")
    except DRIVER_ERRORS as error:
        raise translated(error, address) or error from error


@asynccontextmanager
async def _alembic_to_ourselves(address: Address) -> AsyncIterator[None]:
    """Wait until no other task or thread runs Alembic: its migrations speak to one module-wide context."""
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            while not _alembic_in_use.acquire(blocking=False):  # noqa: ASYNC110 - the holder may be a thread
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise DatabaseUnavailable(address, "another migration runs in this process") from error
    try:
        yield
    finally:
        _alembic_in_use.release()


def _migrate(connection: Connection, address: Address) -> str | None:
    """Bring the schema to `HEAD` and return the version it had, None for an empty database."""
    from alembic import command  # noqa: PLC0415 - only a schema that changes needs it
    from alembic.config import Config  # noqa: PLC0415 - only a schema that changes needs it
    from alembic.migration import MigrationContext  # noqa: PLC0415 - only a schema that changes needs it

    context = MigrationContext.configure(connection)
    found = context.get_current_revision()
    if found == HEAD:
        return found
    if found is not None and found not in VERSIONS:
        raise version_mismatch(found, address)
    config = Config()
    config.set_main_option("script_location", "fullon_orm:migrations")
    config.attributes["connection"] = connection
    if found is None and _own_tables(connection):
        _refuse_strange_tables(connection, address)
        command.stamp(config, "head")
    else:
        command.upgrade(config, "head")
    return found


def _own_tables(connection: Connection) -> list[str]:
    return sorted(set(inspect(connection).get_table_names()) & set(Base.metadata.tables))


def _refuse_strange_tables(connection: Connection, address: Address) -> None:
    """Accept tables without a version only if they are what `Base.metadata.create_all` makes."""
    if not schema_differences(connection):
        return
    raise SchemaMismatch(
        address,
        expected=HEAD,
        found=None,
        hint=f"it holds {', '.join(_own_tables(connection))}, which fullon_orm did not make: "
        "name another database in DB_NAME",
    )


def schema_differences(connection: Connection) -> list[Any]:
    """Return what Alembic would change to make the database's tables equal to the models; [] if equal.

    Tables of other owners are not looked at.
    """
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - only a schema that changes needs it
    from alembic.migration import MigrationContext  # noqa: PLC0415 - only a schema that changes needs it

    def ours(_: object, name: str | None, kind: str, reflected: bool, counterpart: object) -> bool:
        return not (kind == "table" and reflected and counterpart is None)

    options = {"include_object": ours, "compare_server_default": True}
    differences: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
    return differences
