"""Schema versions: applied once, newer and foreign ones refused, TimescaleDB only where it is offered."""

import re
from collections.abc import Mapping
from uuid import uuid4

import pytest
from server_commands import on_server

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.errors import SchemaMismatch
from fullon_ohlcv.statements import migrations, statements, timescale
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timescale import Policy, compress_after, find_retention_policies


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
    assert all(statements("timescale.sql").values())


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


STAND_INS = (
    "CREATE FUNCTION create_hypertable(relation regclass, time_column_name name, chunk_time_interval interval,"
    " create_default_indexes boolean, migrate_data boolean) RETURNS text LANGUAGE sql"
    " RETURN (SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = $1 AND attname = $2)",
    "CREATE FUNCTION add_compression_policy(hypertable regclass, compress_after interval)"
    " RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE PROCEDURE add_columnstore_policy(hypertable regclass, after interval) LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION remove_compression_policy(hypertable regclass, if_exists boolean)"
    " RETURNS boolean LANGUAGE sql RETURN true",
    "CREATE PROCEDURE remove_columnstore_policy(hypertable regclass, if_exists boolean) LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA timescaledb_information",
    "CREATE VIEW timescaledb_information.chunks AS SELECT 'trades'::name AS hypertable_name, now() AS range_end",
    "CREATE TABLE timescaledb_information.jobs (proc_name name, hypertable_name name, config jsonb)",
)
"""Functions and views with the extension's signatures, to check names and types; the extension is in no package."""


async def test_what_is_sent_to_timescaledb_fits_the_tables(database: str) -> None:
    connection = await connect(Target.from_env())
    try:
        for command in STAND_INS:
            await connection.execute(command)
        await connection.execute(timescale("make_hypertables").format(migrate_data="false"))
        for name in ("compression_policies", "columnstore_policies"):
            await connection.execute(timescale(name).format(candles_days=60, trades_days=14))
        await connection.execute(timescale("remove_compression"))
        await connection.execute(timescale("remove_columnstore"))
        for script in (timescale("compress"), timescale("compress_by_columnstore")):
            options = re.findall(r"ALTER TABLE (\w+) SET \(timescaledb\.(.*?)\);", script, re.DOTALL)
            assert [table for table, _ in options] == ["candles", "trades"]
            for table, given in options:
                for columns in re.findall(r"'([^']*)'", given):
                    await connection.execute(f"SELECT {columns} FROM {table}")
    finally:
        await connection.close()


async def test_a_release_that_does_not_know_one_syntax_of_compression_gets_the_other(database: str) -> None:
    """Stand-ins of a release without the older functions: the newer procedures are called."""
    connection = await connect(Target.from_env())
    jobs = "INSERT INTO timescaledb_information.jobs VALUES ('policy_compression', $1, $2)"
    try:
        for command in STAND_INS:
            if "compression_policy" not in command:
                await connection.execute(command)
        assert not await compress_after(connection, 30)  # plain tables have no policy to change
        await connection.execute(jobs, "candles", '{"compress_after": "60 days"}')
        await connection.execute(jobs, "trades", '{"compress_after": "14 days"}')
        assert not await compress_after(connection, None)
        async with connection.transaction():
            assert await compress_after(connection, 30)
        policy = '{"drop_after": "90 days"}'
        await connection.execute(
            "INSERT INTO timescaledb_information.jobs VALUES ('policy_retention', 'trades', $1)", policy
        )
        assert await find_retention_policies(connection) == [Policy("trades", "90 days")]
    finally:
        await connection.close()


async def test_an_extension_that_is_not_used_is_left_alone(database: str) -> None:
    connection = await connect(Target.from_env())
    try:
        offered = await connection.fetchval(timescale("offered"))
        used = await connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
        assert used == int(offered)
        if not offered:
            assert not await compress_after(connection, 30)
            assert await find_retention_policies(connection) == []
    finally:
        await connection.close()


async def test_a_role_that_may_only_create_databases_makes_the_schema(
    servers: Mapping[str, str], missing_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"collector_{uuid4().hex[:8]}"
    await on_server(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")
    try:
        with monkeypatch.context() as patch:
            patch.setenv("DB_USER", role)
            patch.setenv("DB_PASSWORD", "secret")
            async with TimeseriesStore.open() as store:
                series = await store.series("kraken", "BTC/USD", "trades")
                assert await store.check_rows(series) == []
    finally:
        quoted = missing_database.replace('"', '""')
        await on_server(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)', f"DROP ROLE {role}")


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
