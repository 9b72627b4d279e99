"""The database's schema: numbered SQL scripts, applied once each, by one process at a time."""

import asyncpg

from fullon_log import get_component_logger
from fullon_ohlcv.errors import SchemaMismatch
from fullon_ohlcv.relation_names import quoted
from fullon_ohlcv.statements import migrations, timescale
from fullon_ohlcv.timescale import make_hypertables

_LOCK = 0x736368656D61  # "schema": any number that everybody who migrates agrees on, and nobody else takes
_log = get_component_logger("fullon.ohlcv.schema")


async def migrate(connection: "asyncpg.Connection[asyncpg.Record]", schema: str = "") -> None:
    """Bring the tables to this code's version, in one transaction that excludes other migrations.

    They are in the first schema of the search_path; `schema`, where given, is that one, and is created if missing.
    The connection must be one that is closed afterwards.

    Raises:
        SchemaMismatch: the database is newer than this code, or holds tables that are not ours.
    """
    expected = max(migrations())
    if await _found_version(connection) == expected:
        return
    # Taken outside of the transaction, for that begins with a fresh view of the catalogue; ends with the connection.
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    async with connection.transaction():
        if schema and await connection.fetchval("SELECT to_regnamespace($1)", quoted(schema)) is None:
            await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
        found = await _found_version(connection)
        if found > expected:
            raise SchemaMismatch(expected, found, "update fullon-ohlcv, or use another DB_OHLCV_NAME")
        if found == 0:
            await connection.execute(
                "CREATE TABLE schema_version (version integer PRIMARY KEY, applied_at timestamptz DEFAULT now())"
            )
        for version, script in migrations().items():
            if version > found:
                await _apply(connection, version, script)
        if found == 0:
            await _use_timescale(connection)


async def _found_version(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    if await connection.fetchval("SELECT to_regclass(quote_ident(current_schema()) || '.schema_version')") is None:
        return 0
    found: int | None = await connection.fetchval("SELECT max(version) FROM schema_version")
    return found or 0


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", version: int, script: str) -> None:
    """Run a migration; where it names `public`, the schema of the tables is meant."""
    schema = await connection.fetchval("SELECT quote_ident(current_schema())")
    try:
        await connection.execute(script.replace("public.", f"{schema}."))
    except (asyncpg.DuplicateTableError, asyncpg.DuplicateFunctionError) as error:
        raise SchemaMismatch(version, None, f"{error}; use an empty database, set by DB_OHLCV_NAME") from error
    await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", version)


async def _use_timescale(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Make hypertables where the server offers TimescaleDB; a plain server, or a refusal, changes nothing else."""
    if not await connection.fetchval(timescale("offered")):
        return
    try:
        async with connection.transaction():
            await make_hypertables(connection)
    except asyncpg.PostgresError as error:
        # No right to create it, another licence, an unknown release: nothing depends on it.
        _log.warning("TimescaleDB is offered but cannot be used, tables stay plain", reason=str(error))
