"""PostgreSQL and Redis as others run them: TLS, connection poolers, small roles, few connections; real servers."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cli_process import run_cli
from debian_servers import (
    PASSWORD,
    Certificates,
    Server,
    debian_postgres,
    debian_redis,
    make_certificates,
    pgbouncer,
)

from fullon_cache import CacheError, ProcessCache
from fullon_cache.connection_pool import ConnectionPool
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import CandleWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.writer_lock import WriterLock
from fullon_ohlcv_service.commands.checks import (
    Check,
    Verdict,
    check_database,
    check_encryption,
    check_redis,
    check_settings,
)
from fullon_ohlcv_service.config.servers import SERVER_VARIABLES, missing_servers
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig, load_env_file
from fullon_orm import DatabaseContext, dispose_engines, init_db
from fullon_orm import connection as orm_connection
from fullon_orm.errors import OrmError
from fullon_orm.notifications import listen

USERS = ("secure", "certified", "pooled", "small", "limited", "bare")
RULES = """\
hostssl all certified all cert
hostnossl all secure all reject
host all all all scram-sha-256
"""
MINUTE_US = 60_000_000
START_US = 1_767_225_600_000_000


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    with tempfile.TemporaryDirectory(prefix="fullon-certificates-") as directory:
        yield make_certificates(Path(directory), "certified")


@pytest.fixture(scope="module")
def postgres(certificates: Certificates) -> Iterator[Server]:
    """A PostgreSQL of Debian, with roles that may more or less."""
    with debian_postgres(certificates, RULES) as server:
        statements = [f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'" for user in USERS]
        statements += ["ALTER ROLE secure CREATEDB", "ALTER ROLE certified CREATEDB", "ALTER ROLE pooled CREATEDB"]
        asyncio.run(_as_owner(server, "postgres", *statements))
        yield server


async def _as_owner(server: Server, database: str, *statements: str) -> Any:
    connection = await asyncpg.connect(host=server.socket, port=server.port, user="postgres", database=database)
    try:
        for statement in statements:
            answer = await connection.fetch(statement)
        return answer
    finally:
        await connection.close()


@pytest.fixture
async def databases(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """Names for two databases, which are dropped afterwards; nothing of the environment names a server yet."""
    for name in list(os.environ):
        if name.startswith(("DB_", "PG", "OHLCV_", "REDIS_", "CACHE_")) or name in SERVER_VARIABLES:
            monkeypatch.delenv(name)
    for name, value in {"DB_NAME": "wanted", "DB_OHLCV_NAME": "series", "REDIS_HOST": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/nonexistent")
    orm_connection._keep_sessions.clear()
    yield "wanted", "series"
    await dispose_engines()
    await _as_owner(postgres, "postgres", *(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in _NAMES))


_NAMES = ("wanted", "series", "together", "fullon", "fullon_ohlcv")


def environment(patch: pytest.MonkeyPatch, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        patch.setenv(name, str(value))


async def use_both() -> None:
    """Set both databases up, write and read: the least that a collector does."""
    await init_db()
    async with DatabaseContext() as db:
        await db.symbols.get_all()
    async with TimeseriesStore.open() as store, WriterLock() as lock:
        assert await lock.take()
        await store.init_symbol("kraken", "BTC/USD", main="candles")
        series = await store.series("kraken", "BTC/USD", "candles1m")
        row = (START_US, 1.0, 2.0, 0.5, 1.5, 10.0, 3)
        span = (START_US, START_US + MINUTE_US)
        for _ in range(2):  # the second time through the staging table
            await store.write_candles([CandleWrite(series, [row], [span])])
        assert await store.read_candles(series, span) == [row]


async def refusals() -> list[str]:
    """Return what each database says when it is opened."""
    sentences = []
    for attempt in (init_db, _open_store):
        try:
            await attempt()
        except (OrmError, StorageError) as error:
            sentences.append("" if error.retryable else str(error))
    for sentence in sentences:
        assert PASSWORD not in sentence
        assert "s3cret" not in sentence
        assert "\n" not in sentence
    return sentences


async def _open_store() -> None:
    async with TimeseriesStore.open():
        pass


async def doctor() -> dict[str, Check]:
    return {check.name: check async for check in check_database(OhlcvServiceConfig.from_env())}


# TLS -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"DB_SSLMODE": "require"},
        {"DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": "{ca}"},
        {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "{ca}"},
        {"DB_HOST": "127.0.0.1", "DB_SSLMODE": "verify-ca", "DB_SSLROOTCERT": "{ca}"},
        {"DB_USER": "certified", "DB_PASSWORD": "", "DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": "{ca}",
         "DB_SSLCERT": "{cert}", "DB_SSLKEY": "{key}"},
    ],
)  # fmt: skip
async def test_both_databases_are_reached_with_tls_as_libpq_would(
    settings: dict[str, str],
    postgres: Server,
    certificates: Certificates,
    databases: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"ca": certificates.ca, "cert": certificates.cert("client"), "key": certificates.key("client")}
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "secure"})
    environment(monkeypatch, {"DB_PASSWORD": PASSWORD})
    environment(monkeypatch, {name: value.format(**files) for name, value in settings.items()})
    encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    target = Target.from_env("postgres")
    for connecting in (connect(target), orm_connection.connect(target)):
        connection = await connecting
        assert await connection.fetchval(encrypted)
        [row] = [check async for check in check_encryption(connection, target)]
        assert row.verdict is (Verdict.WARNING if settings == {"DB_SSLMODE": "require"} else Verdict.WELL)
        await connection.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": "{other}"}, "DB_SSLROOTCERT must name the CA that signed"),
        ({"DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": "{ca}", "DB_HOST": "127.0.0.1"}, "set DB_SSLMODE=verify-ca"),
        ({"DB_SSLMODE": "verify_full"}, "DB_SSLMODE is 'verify_full'; allowed is disable, allow, prefer, require"),
        ({"DB_SSLMODE": "verify-full"}, "DB_SSLROOTCERT is not set, and DB_SSLMODE is 'verify-full'"),
        ({"DB_SSLROOTCERT": "{ca}"}, "DB_SSLROOTCERT is set, but DB_SSLMODE 'prefer' would not use it"),
        ({"DB_SSLMODE": "require", "DB_SSLROOTCERT": "/nowhere/ca.pem"}, "'/nowhere/ca.pem', which cannot be read"),
        ({"DB_SSLMODE": "require", "DB_SSLROOTCERT": "{key}"}, "which holds no certificate"),
        ({"DB_SSLMODE": "require", "DB_SSLCERT": "{cert}", "DB_SSLKEY": "{ca}"}, "does not go together with the key"),
        ({"DB_SSLMODE": "disable"}, "no encryption"),
    ],
)
async def test_what_is_wrong_with_tls_is_one_sentence_and_a_row_of_the_doctor(
    settings: dict[str, str],
    sentence: str,
    postgres: Server,
    certificates: Certificates,
    databases: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"ca": certificates.ca, "other": certificates.other_ca}
    names |= {"cert": certificates.cert("client"), "key": certificates.key("client")}
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "secure"})
    environment(monkeypatch, {"DB_PASSWORD": PASSWORD})
    environment(monkeypatch, {name: value.format(**names) for name, value in settings.items()})
    found = await refusals()
    assert len(found) == 2
    assert [sentence in one for one in found] == [True, True], found
    row = (await doctor())["PostgreSQL"]
    assert row.verdict is Verdict.FAILED
    assert sentence in row.found


async def test_a_server_without_tls_is_told_from_one_that_is_away(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(postgres, ["pooled"]) as plain:
        settings = {"DB_HOST": "127.0.0.1", "DB_PORT": plain.port, "DB_USER": "pooled", "DB_SSLMODE": "require"}
        environment(monkeypatch, settings)
        found = await refusals()
    assert ["the server offers none" in one for one in found] == [True, True], found


# URLs ------------------------------------------------------------------------------------------------------

QUOTED = "s3cret%2F%40of%3Aall"


async def test_a_url_names_the_server_of_both_databases_and_no_embedded_one_is_wanted(
    postgres: Server, certificates: Certificates, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f"sslmode=verify-full&sslrootcert={certificates.ca}&application_name=mine"
    monkeypatch.setenv("DATABASE_URL", f"postgresql://secure:{QUOTED}@localhost:{postgres.port}/wanted?{query}")
    monkeypatch.delenv("DB_NAME")
    assert missing_servers() == set()
    await use_both()
    found = await _as_owner(postgres, "postgres", "SELECT datname FROM pg_database WHERE datname ~ '^(wanted|series)$'")
    assert sorted(row[0] for row in found) == ["series", "wanted"], "a path is DB_NAME"


async def test_one_database_holds_both_where_there_is_but_one(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await _as_owner(postgres, "postgres", "CREATE DATABASE together OWNER bare")
    monkeypatch.setenv("DATABASE_URL", f"postgres://bare:{QUOTED}@localhost:{postgres.port}/")
    environment(monkeypatch, {"DB_NAME": "together", "DB_OHLCV_NAME": "together"})
    await use_both()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"DATABASE_URL": f"postgresql://u:{QUOTED}@one/x", "DB_HOST": "two"},
            "contradict each other: 'one' and 'two'",
        ),
        ({"DATABASE_URL": f"postgresql://u:{QUOTED}@one/x", "DB_PASSWORD": "s3cret"}, "DB_PASSWORD and DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:s3cret#x@h/x"}, "DATABASE_URL cannot be read as a URL"),
        ({"DATABASE_URL": "postgresql://u:s3cret/x@h/x"}, "DATABASE_URL cannot be read as a URL"),
        ({"DATABASE_URL": "mysql://u:s3cret@h/x"}, "begins with something else than postgresql://"),
        ({"DATABASE_URL": "postgresql://u:s3cret@a,b/x"}, "names several servers"),
        ({"DATABASE_URL": "postgresql://u:s3cret@h/x?sslmod=require"}, "has the parameter 'sslmod', which is not"),
        ({"DATABASE_URL": "postgresql://u:s3cret@h/x?sslmode=requir"}, "DB_SSLMODE is 'requir'; allowed is disable"),
        ({"DB_HOST": f"postgresql://u:{QUOTED}@h/x"}, "DB_HOST holds a URL"),
    ],
)
async def test_a_url_that_cannot_be_meant_is_one_sentence_without_its_password(
    settings: dict[str, str], sentence: str, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, settings)
    found = await refusals()
    assert len(found) == 2
    assert [sentence in one for one in found] == [True, True], found
    row = (await doctor())["PostgreSQL"]
    assert sentence in row.found
    assert "s3cret" not in row.found


# PgBouncer -------------------------------------------------------------------------------------------------


async def test_a_pooler_of_sessions_needs_no_settings_of_its_own(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"pool_mode": "session", "default_pool_size": 3, "server_login_retry": 1}
    with pgbouncer(postgres, ["pooled"], **settings) as pooler:
        environment(monkeypatch, {"DB_HOST": "127.0.0.1", "DB_PORT": pooler.port, "DB_USER": "pooled"})
        await use_both()  # neither database is there yet
        async with listen():
            pass
        rows = await doctor()
        await dispose_engines()
    assert rows["pooler"].verdict is Verdict.WELL


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_of_transactions_is_refused_in_one_sentence(
    mode: str, postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await _as_owner(postgres, "postgres", *(f"CREATE DATABASE {name} OWNER pooled" for name in databases))
    with pgbouncer(postgres, ["pooled"], pool_mode=mode) as pooler:
        environment(monkeypatch, {"DB_HOST": "127.0.0.1", "DB_PORT": pooler.port, "DB_USER": "pooled"})
        found = await refusals()
        row = (await doctor())["PostgreSQL"]
    assert ["DB_DIRECT_URL" in one for one in found] == [True, True], found
    assert row.verdict is Verdict.FAILED
    assert "pool_mode=session" in row.found


async def test_beside_a_pooler_of_transactions_the_server_itself_can_be_named(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(postgres, ["pooled"], pool_mode="transaction") as pooler:
        monkeypatch.setenv("DATABASE_URL", f"postgresql://pooled:{QUOTED}@127.0.0.1:{pooler.port}/wanted")
        monkeypatch.setenv("DB_DIRECT_URL", f"postgresql://localhost:{postgres.port}")
        await use_both()
        async with listen():
            pass


async def test_the_daemon_ends_in_one_sentence_where_sessions_are_shared(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _as_owner(postgres, "postgres", *(f"CREATE DATABASE {name} OWNER pooled" for name in databases))
    with pgbouncer(postgres, ["pooled"], pool_mode="transaction") as pooler:
        environment(monkeypatch, {"DB_HOST": "127.0.0.1", "DB_PORT": pooler.port, "DB_USER": "pooled"})
        environment(monkeypatch, {"OHLCV_HTTP_BIND": "", "LOG_FILE_PATH": tmp_path / "log"})
        done = await run_cli("run")
    assert "pool_mode=session" in done.sentence


# Rights ----------------------------------------------------------------------------------------------------


async def test_a_role_that_owns_its_databases_needs_nothing_else(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for statement in blocks_of_page("sql", "CREATE ROLE collector").strip().split("\n"):
        await _as_owner(postgres, "postgres", statement)
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "collector"})
    environment(monkeypatch, {"DB_PASSWORD": "secret", "DB_NAME": "", "DB_OHLCV_NAME": ""})
    await use_both()
    assert (await doctor())["permissions"].verdict is Verdict.WELL
    async with TimeseriesStore.open() as store:
        await store.require_rights(["kraken", "binance"])


async def test_every_right_that_is_missing_is_named_as_a_grant_until_all_works(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an administrator does it who grants what each sentence asks for, on databases that are not the user's."""
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "small"})
    environment(monkeypatch, {"DB_PASSWORD": PASSWORD})
    wanted, series = databases
    for name in databases:
        await _as_owner(postgres, "postgres", f"CREATE DATABASE {name}")
        await _as_owner(postgres, name, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        await _as_owner(postgres, name, "REVOKE ALL ON SCHEMA public FROM PUBLIC")

    granted = []
    while (error := await _refusal_of_use()) is not None:
        assert not error.retryable
        found = re.search(r"run: (.+?)(; or name another user|$)", str(error))
        assert found is not None, error
        for statement in found[1].split("; "):
            name = wanted if isinstance(error, OrmError) else series
            assert (name, statement) not in granted, f"{statement} was asked for twice"
            granted.append((name, statement))
            await _as_owner(postgres, name, statement)
    assert granted == [
        (wanted, "GRANT USAGE, CREATE ON SCHEMA public TO small"),
        (series, "GRANT USAGE, CREATE ON SCHEMA public TO small"),
        (series, "GRANT TEMPORARY ON DATABASE series TO small"),
        (series, "GRANT CREATE ON DATABASE series TO small"),
    ]


async def _refusal_of_use() -> OrmError | StorageError | None:
    try:
        await init_db()
        async with TimeseriesStore.open() as store:
            await store.require_rights(["kraken", "binance"])
        await use_both()
    except (OrmError, StorageError) as error:
        return error
    return None


async def test_init_and_run_name_the_grant_without_which_nothing_could_be_collected(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user who owns the tables and may create nothing else: the views of a new exchange would be refused."""
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "bare"})
    environment(monkeypatch, {"DB_PASSWORD": PASSWORD, "OHLCV_HTTP_BIND": "", "LOG_FILE_PATH": tmp_path / "log"})
    for name in databases:
        await _as_owner(postgres, "postgres", f"CREATE DATABASE {name}")
        await _as_owner(postgres, name, "GRANT ALL ON SCHEMA public TO bare")
    for command in (("init", "--yes", "--exchange", "kraken", "--write", str(tmp_path / ".env")), ("run",)):
        done = await run_cli(*command)
        assert "GRANT CREATE ON DATABASE series TO bare" in done.sentence
        assert "Ready" not in done.out


async def test_both_databases_keep_to_the_schema_that_is_named_or_found_first(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "bare"})
    environment(monkeypatch, {"DB_PASSWORD": PASSWORD})
    for name in databases:
        await _as_owner(postgres, "postgres", f"CREATE DATABASE {name}")
        await _as_owner(postgres, name, "CREATE SCHEMA bare AUTHORIZATION bare")
    await _as_owner(postgres, "postgres", "GRANT CREATE ON DATABASE series TO bare")
    await use_both()  # the user's own schema comes first in the search_path
    where = "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('symbols', 'candles')"
    for name in databases:
        assert [row[0] for row in await _as_owner(postgres, name, where)] == ["bare"]

    await dispose_engines()
    await _as_owner(postgres, "postgres", "GRANT CREATE ON DATABASE wanted TO bare")
    monkeypatch.setenv("OHLCV_SCHEMA", "Market Data")
    await use_both()
    for name in databases:
        found = sorted(row[0] for row in await _as_owner(postgres, name, where))
        assert found == ['"Market Data"', "bare"]


async def test_with_three_connections_both_databases_are_used_and_a_writer_waits_for_its_turn(
    postgres: Server, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, {"DB_HOST": "localhost", "DB_PORT": postgres.port, "DB_USER": "limited"})
    environment(monkeypatch, {"DB_PASSWORD": PASSWORD})
    for name in databases:
        await _as_owner(postgres, "postgres", f"CREATE DATABASE {name} OWNER limited")
    await _as_owner(postgres, "postgres", "ALTER ROLE limited CONNECTION LIMIT 3")
    await init_db()
    async with TimeseriesStore.open() as store, WriterLock() as lock:
        assert await lock.take()
        async with DatabaseContext() as db:
            await db.symbols.get_all()
        series = await store.series("kraken", "BTC/USD", "candles1m")
        spans = [(START_US + n * MINUTE_US, START_US + (n + 1) * MINUTE_US) for n in range(12)]
        async with asyncio.TaskGroup() as group:
            for span in spans:
                group.create_task(store.write_candles([CandleWrite(series, [], [span])]))
        [summary] = (await store.summaries({series: (spans[0][0], spans[-1][1])})).values()
        assert summary.covered_us == 12 * MINUTE_US
        with pytest.raises(OrmError, match=r"no connection is left: .*CONNECTION LIMIT"):
            async with listen():
                pass


# Redis -----------------------------------------------------------------------------------------------------


async def _ping() -> float:
    try:
        async with ProcessCache() as cache:
            return await cache.ping()
    finally:
        await ConnectionPool.close_all()


def blocks_of_page(language: str, word: str) -> str:
    """Return the block of docs/deploying.md in which a word stands."""
    page = (Path(__file__).parents[2] / "docs/deploying.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    [found] = [block for block in blocks if word in block]
    return str(found)


@pytest.fixture(scope="module")
def redis(certificates: Certificates) -> Iterator[Server]:
    """A Redis of Debian that speaks TLS, with a user who may what docs/deploying.md says."""
    user = blocks_of_page("text", "ACL SETUSER").replace(">secret", f">{PASSWORD}").split()[2:]
    with debian_redis("--user", *user, "--user", "default", "off", tls=certificates) as server:
        yield server


@pytest.mark.parametrize("with_url", [True, False])
async def test_redis_is_reached_with_tls_as_a_user_with_few_rights(
    with_url: bool,
    redis: Server,
    certificates: Certificates,
    databases: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_CA_FILE", certificates.ca)
    if with_url:
        monkeypatch.delenv("REDIS_HOST")
        monkeypatch.setenv("REDIS_URL", f"rediss://collector:{QUOTED}@localhost:{redis.port}/2")
        assert "redis" not in missing_servers()
    else:
        environment(monkeypatch, {"REDIS_HOST": "localhost", "REDIS_PORT": redis.port, "REDIS_SSL": "true"})
        environment(monkeypatch, {"REDIS_USERNAME": "collector", "REDIS_PASSWORD": PASSWORD})
    async with ProcessCache() as cache:
        process_id = await cache.register_process("ohlcv", "daemon")
        assert await cache.stop_process(process_id)
    found = [check async for check in check_redis()]
    await ConnectionPool.close_all()
    assert found[0].verdict is Verdict.WELL, found
    assert not [check for check in found if check.verdict is Verdict.FAILED]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"REDIS_CA_FILE": "{other}", "REDIS_SSL": "true"}, "REDIS_CA_FILE must name the CA that signed it"),
        ({"REDIS_SSL": "true"}, "REDIS_CA_FILE must name the CA that signed it"),
        ({"REDIS_HOST": "127.0.0.1", "REDIS_CA_FILE": "{ca}", "REDIS_SSL": "true"}, "as its certificate does"),
        ({"REDIS_CA_FILE": "/nowhere/ca.pem", "REDIS_SSL": "true"}, "'/nowhere/ca.pem', which cannot be read"),
        ({"REDIS_CA_FILE": "{key}", "REDIS_SSL": "true"}, "which holds no certificate"),
        ({"REDIS_CA_FILE": "{ca}"}, "REDIS_CA_FILE is set, but nothing asks for TLS"),
        ({"REDIS_SSL": "maybe"}, "REDIS_SSL is 'maybe'; allowed is true"),
        (
            {"REDIS_SSL": "true", "REDIS_CA_FILE": "{ca}", "REDIS_PASSWORD": "s3cret"},
            "REDIS_USERNAME or REDIS_PASSWORD",
        ),
        ({"REDIS_URL": "redis://collector:s3cret@elsewhere"}, "contradict each other: 'elsewhere' and 'localhost'"),
        ({"REDIS_URL": "redis://collector:s3cret#x@localhost"}, "REDIS_URL cannot be read as a URL"),
        ({"REDIS_URL": "http://collector:s3cret@localhost"}, "REDIS_URL begins with something else"),
        ({"REDIS_HOST": "redis://collector:s3cret@localhost"}, "REDIS_HOST holds a URL"),
        ({"REDIS_SSL": "false"}, "whether it wants TLS (REDIS_SSL)"),
    ],
)
async def test_what_is_wrong_with_redis_is_one_sentence_and_a_row_of_the_doctor(
    settings: dict[str, str],
    sentence: str,
    redis: Server,
    certificates: Certificates,
    databases: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"ca": certificates.ca, "other": certificates.other_ca, "key": certificates.key("client")}
    environment(monkeypatch, {"REDIS_HOST": "localhost", "REDIS_PORT": redis.port, "REDIS_USERNAME": "collector"})
    if "REDIS_URL" not in settings:
        monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    environment(monkeypatch, {name: value.format(**names) for name, value in settings.items()})
    with pytest.raises(CacheError) as refused:
        await _ping()
    [row] = [check async for check in check_redis()]
    for said in (str(refused.value), row.found):
        assert sentence in said
        assert "s3cret" not in said
        assert "\n" not in said
    assert row.verdict is Verdict.FAILED


async def test_a_redis_without_tls_that_is_asked_for_it_is_a_sentence_that_names_the_setting(
    databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with debian_redis() as plain:
        environment(monkeypatch, {"REDIS_HOST": "localhost", "REDIS_PORT": plain.port, "REDIS_SSL": "true"})
        monkeypatch.setenv("REDIS_SOCKET_CONNECT_TIMEOUT", "0.5")
        with pytest.raises(CacheError, match=r"Redis is not available: .*TLS \(REDIS_SSL\)"):
            await _ping()


def test_a_line_of_env_that_cannot_be_read_does_not_print_its_value(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('DB_PASSWORD="s3cret\n')
    with pytest.raises(ValueError, match="DB_PASSWORD") as refused:
        load_env_file(file)
    assert "s3cret" not in str(refused.value)


def test_the_doctor_knows_the_schema_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OHLCV_SCHEMA", "market")
    assert not [one for one in check_settings(tmp_path / ".env") if "OHLCV_SCHEMA" in one.found]
