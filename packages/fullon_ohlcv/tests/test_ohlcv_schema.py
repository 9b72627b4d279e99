"""Schema versions: applied once, newer and foreign ones refused, TimescaleDB only where it is offered."""

import re

import pytest

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.errors import SchemaMismatch
from fullon_ohlcv.statements import migrations, statements, timescale_script
from fullon_ohlcv.store import TimeseriesStore


async def in_database(command: str) -> str:
    connection = await connect(Target.from_env())
    try:
        return await connection.execute(command)
    finally:
        await connection.close()


def test_migrations_are_numbered_without_a_hole() -> None:
    assert list(migrations()) == list(range(1, len(migrations()) + 1))


def test_no_statement_is_empty() -> None:
    assert all(statements().values())
    assert all(timescale_script())


async def test_a_newer_schema_is_refused_with_both_versions(database: str) -> None:
    await in_database("INSERT INTO schema_version (version) VALUES (4711)")
    with pytest.raises(SchemaMismatch, match="update fullon-ohlcv") as refused:
        async with TimeseriesStore.open():
            pass
    assert (refused.value.expected, refused.value.found) == (max(migrations()), 4711)


async def test_somebody_elses_tables_are_refused_and_left_alone(missing_database: str) -> None:
    async with TimeseriesStore.open():
        pass
    await in_database("DROP SCHEMA public CASCADE")
    await in_database("CREATE SCHEMA public; CREATE TABLE candles (mine text)")
    with pytest.raises(SchemaMismatch, match="candles"):
        async with TimeseriesStore.open():
            pass
    assert await in_database("SELECT mine FROM candles") == "SELECT 0"
    assert await in_database("SELECT FROM pg_tables WHERE tablename = 'schema_version'") == "SELECT 0"


async def test_tables_lost_under_an_open_store_are_a_schema_mismatch(store: TimeseriesStore) -> None:
    series = await store.series("kraken", "BTC/USD", "trades")
    await in_database("DROP TABLE unavailable")
    with pytest.raises(SchemaMismatch, match="unavailable"):
        await store.gaps({series: (0, 60_000_000)})


async def test_what_is_said_to_timescaledb_fits_the_tables(database: str) -> None:
    """Stand-ins with the extension's signatures check names and types; the extension itself is in no package."""
    connection = await connect(Target.from_env())
    hypertables, compression = timescale_script()
    try:
        await connection.execute(
            "CREATE FUNCTION create_hypertable(relation regclass, time_column_name name, chunk_time_interval interval,"
            " create_default_indexes boolean) RETURNS text LANGUAGE sql"
            " RETURN (SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = $1 AND attname = $2);"
            "CREATE FUNCTION add_compression_policy(hypertable regclass, compress_after interval)"
            " RETURNS integer LANGUAGE sql RETURN 1"
        )
        assert await connection.execute(hypertables) == "SELECT 1"
        options = re.findall(r"ALTER TABLE (\w+) SET \(timescaledb.compress, (.*?)\);", compression, re.DOTALL)
        assert [table for table, _ in options] == ["candles", "trades"]
        for table, given in options:
            for columns in re.findall(r"'([^']*)'", given):
                await connection.execute(f"SELECT {columns} FROM {table}")
        await connection.execute("".join(re.findall(r"SELECT add_compression_policy.*?;", compression)))
    finally:
        await connection.close()


async def test_an_extension_that_is_not_preloaded_is_left_alone(database: str) -> None:
    assert await in_database("SELECT FROM pg_extension WHERE extname = 'timescaledb'") == "SELECT 0"


async def test_the_limit_of_decompressed_rows_is_lifted_where_timescaledb_is_used(database: str) -> None:
    limit = "SELECT current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true)"
    async with TimeseriesStore.open() as store, store.connection("look") as connection:
        assert await connection.fetchval(limit) is None
    await in_database(
        "SET allow_system_table_mods = on;"
        "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
        " SELECT 4711, 'timescaledb', extowner, extnamespace, false, '2.21.3' FROM pg_extension LIMIT 1"
    )
    async with TimeseriesStore.open() as store, store.connection("look") as connection:
        assert await connection.fetchval(limit) == "0"
