"""init_db: creating the database, migrating it, and refusing what is not its own."""

import asyncio
import sys
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fullon_orm import DatabaseContext, init_db
from fullon_orm.address import Address
from fullon_orm.connection import Connection, close, connect
from fullon_orm.database import DatabaseManager, create_database_url
from fullon_orm.engines import version_mismatch
from fullon_orm.errors import SchemaMismatch
from fullon_orm.migrations import HEAD, VERSIONS
from fullon_orm.models import Base
from fullon_orm.schema import schema_differences

CATALOGUE = """
    SELECT 'column', table_name || '.' || column_name,
           concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function', proname, regexp_replace(prosrc, '\\s+', ' ', 'g')
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


async def _catalogue() -> dict[tuple[str, str], str]:
    connection = await connect(Address.from_env())
    rows = await connection.fetch(CATALOGUE)
    await close(connection)
    return {(kind, name): definition for kind, name, definition in rows if "alembic" not in name}


async def _run(*statements: str) -> None:
    connection: Connection = await connect(Address.from_env())
    for statement in statements:
        await connection.execute(statement)
    await close(connection)


async def _create_all() -> None:
    engine: AsyncEngine = create_async_engine(create_database_url())
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


async def _versions() -> list[str]:
    connection = await connect(Address.from_env())
    rows = await connection.fetch("SELECT version_num FROM alembic_version")
    await close(connection)
    return [row[0] for row in rows]


async def test_init_db_creates_the_database_and_its_schema(missing_database: str) -> None:
    await init_db()
    async with DatabaseContext() as db:
        assert await db.symbols.get_all() == []
    assert await _versions() == [HEAD]


async def test_init_db_again_changes_nothing(database: str) -> None:
    async with DatabaseContext() as db:
        await db.exchanges.create_cat_exchange("kraken")
        await db.commit()
    await init_db()
    async with DatabaseContext() as db:
        assert await db.exchanges.get_exchange_cat_id("kraken") == 1


async def test_racing_processes_all_find_one_schema(missing_database: str) -> None:
    program = "import asyncio, fullon_orm; asyncio.run(fullon_orm.init_db())"
    racers = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(4)]
    async with asyncio.timeout(60):
        assert [await racer.wait() for racer in racers] == [0, 0, 0, 0]
    assert await _versions() == [HEAD]


async def test_racing_tasks_all_find_one_schema(missing_database: str) -> None:
    await asyncio.gather(*(init_db() for _ in range(8)))
    assert await _versions() == [HEAD]


async def test_an_empty_database_says_what_to_do(missing_database: str) -> None:
    await DatabaseManager().create_database(missing_database)
    async with DatabaseContext() as db:
        with pytest.raises(SchemaMismatch, match=r"migrate with `await fullon_orm\.init_db\(\)`"):
            await db.symbols.get_all()


async def test_a_newer_schema_is_refused(missing_database: str) -> None:
    await init_db()
    await _run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer fullon_orm: upgrade this one") as refused:
        await init_db()
    assert (refused.value.expected, refused.value.found) == (HEAD, "9999")
    assert missing_database in str(refused.value)
    with pytest.raises(SchemaMismatch, match="newer fullon_orm: upgrade this one"):
        async with DatabaseContext():
            pytest.fail("entered a newer schema")
    assert await _versions() == ["9999"]


def test_an_older_schema_says_to_migrate() -> None:
    address = Address("db.example", 5432, "me", "", "fullon")
    assert "migrate with `await fullon_orm.init_db()`" in str(version_mismatch(VERSIONS[0], address))


async def test_tables_made_by_create_all_are_adopted(missing_database: str) -> None:
    await DatabaseManager().create_database(missing_database)
    await _create_all()
    await init_db()
    assert await _versions() == [HEAD]


async def test_strange_tables_of_our_names_are_refused(missing_database: str) -> None:
    await DatabaseManager().create_database(missing_database)
    await _run("CREATE TABLE symbols (ticker text)")
    with pytest.raises(SchemaMismatch, match="holds symbols, which fullon_orm did not make"):
        await init_db()
    assert [name for kind, name in await _catalogue() if kind == "column"] == ["symbols.ticker"]


async def test_tables_of_other_programs_are_left_alone(missing_database: str) -> None:
    await DatabaseManager().create_database(missing_database)
    await _run("CREATE TABLE theirs (id int)", "INSERT INTO theirs VALUES (1)")
    await init_db()
    await _run("SELECT 1 / count(*) FROM theirs")


async def test_models_and_migrations_describe_one_schema(database: str) -> None:
    engine = create_async_engine(create_database_url())
    async with engine.connect() as connection:
        assert await connection.run_sync(schema_differences) == []
    await engine.dispose()


async def test_create_all_and_migrations_make_equal_catalogues(
    database: str, missing_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_NAME", database)
    migrated = await _catalogue()
    monkeypatch.setenv("DB_NAME", missing_database)
    await DatabaseManager().create_database(missing_database)
    await _create_all()
    assert await _catalogue() == migrated


def test_the_known_versions_are_those_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", "fullon_orm:migrations")
    revisions: list[Any] = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(reversed([revision.revision for revision in revisions])) == VERSIONS
