"""Connecting: what the environment says, what can go wrong, and that the sentence helps whoever must mend it."""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from fullon_embedded import start_servers
from fullon_orm import DatabaseContext, dispose_engines, engines, init_db
from fullon_orm.address import Address
from fullon_orm.connection import close, connect
from fullon_orm.database import DatabaseManager, create_database_url
from fullon_orm.errors import (
    AuthenticationFailed,
    ConfigurationError,
    DatabaseContended,
    DatabaseLimited,
    DatabaseMissing,
    DatabaseUnavailable,
    InvalidValue,
    OrmError,
    PermissionDenied,
    StatementRefused,
)
from fullon_orm.models import User

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
PASSWORD = "p@ss'w\"ord/:?"


async def enter() -> None:
    """Open a context and leave it."""
    async with DatabaseContext():
        pass


def is_one_sentence(error: OrmError) -> bool:
    """What, where and what to do, on one line, without the password."""
    return "\n" not in str(error) and str(error)[0].isupper() and PASSWORD not in str(error)


class TestEnvironment:
    """DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME: read whenever a connection is made."""

    def test_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DB_HOST", "db.example")
        assert create_database_url() == "postgresql+asyncpg://postgres@db.example:5432/fullon"

    def test_everything_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_HOST", "db.example")
        monkeypatch.setenv("DB_PORT", "6543")
        monkeypatch.setenv("DB_USER", "me@home")
        monkeypatch.setenv("DB_PASSWORD", "a/b:c@d")
        monkeypatch.setenv("DB_NAME", "trades 2026")
        expected = "postgresql+asyncpg://me%40home:a%2Fb%3Ac%40d@db.example:6543/trades 2026"
        assert create_database_url() == expected

    def test_a_host_with_a_slash_is_a_socket_directory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_HOST", "/run/postgresql")
        monkeypatch.setenv("DB_PORT", "5433")
        assert "@/other?host=%2Frun%2Fpostgresql&port=5433" in create_database_url("other")

    @pytest.mark.parametrize("port", ["54x2", "0", "65536", "-1", "5432.0", "５４３２"])
    def test_a_port_that_is_none_is_refused(self, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
        monkeypatch.setenv("DB_HOST", "db.example")
        monkeypatch.setenv("DB_PORT", port)
        with pytest.raises(ConfigurationError, match=r"DB_PORT is .*; allowed is a number from 1 to 65535"):
            create_database_url()

    def test_no_host_says_how_to_get_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DB_HOST", raising=False)
        with pytest.raises(ConfigurationError, match=r"DB_HOST is not set; .*python -m fullon_embedded env"):
            create_database_url()
        assert issubclass(ConfigurationError, ValueError)

    def test_a_name_postgresql_would_cut_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_HOST", "db.example")
        monkeypatch.setenv("DB_NAME", "é" * 32)
        with pytest.raises(ConfigurationError, match=r"DB_NAME is .* allowed is 1 to 63 bytes"):
            create_database_url()

    async def test_the_database_can_be_switched_at_run_time(
        self, database: str, missing_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await init_db()
        for name, venue in ((database, "kraken"), (missing_database, "binance")):
            monkeypatch.setenv("DB_NAME", name)
            async with DatabaseContext() as db:
                await db.exchanges.create_cat_exchange(venue)
                await db.commit()
        for name, venue in ((database, "kraken"), (missing_database, "binance")):
            monkeypatch.setenv("DB_NAME", name)
            async with DatabaseContext() as db:
                assert [found.name for found in await db.exchanges.get_cat_exchanges()] == [venue]


@pytest.fixture
async def weak_role(servers: object) -> AsyncIterator[str]:
    """A user who may log in and nothing else."""
    role = f"weak_{uuid4().hex[:8]}"
    admin = await connect(Address.from_env("postgres"))
    await admin.execute(f"CREATE ROLE {role} LOGIN")
    yield role
    await admin.execute(f"DROP ROLE {role}")
    await close(admin)


class TestRefusals:
    """One sentence each: what, where, what to do. Never the password."""

    async def test_nobody_listens(self, missing_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with monkeypatch.context() as patch:
            patch.setenv("DB_HOST", "127.0.0.1")
            patch.setenv("DB_PORT", str(port))
            patch.setenv("DB_PASSWORD", PASSWORD)
            for attempt in (enter, init_db):
                with pytest.raises(DatabaseUnavailable, match=f"at 127.0.0.1:{port} .*check that") as refused:
                    await attempt()
                assert refused.value.retryable
                assert (refused.value.host, refused.value.port) == ("127.0.0.1", port)
                assert is_one_sentence(refused.value)

    async def test_a_server_that_says_nothing(self, missing_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fullon_orm.connection.CONNECT_TIMEOUT_S", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as server, monkeypatch.context() as patch:
            patch.setenv("DB_HOST", "127.0.0.1")
            patch.setenv("DB_PORT", str(server.getsockname()[1]))
            with pytest.raises(DatabaseUnavailable, match="no answer in time") as refused:
                await enter()
        assert is_one_sentence(refused.value)

    async def test_missing_database(self, missing_database: str) -> None:
        with pytest.raises(DatabaseMissing, match=rf"{missing_database}.*init_db\(\).*DB_NAME") as refused:
            await enter()
        assert not refused.value.retryable
        assert is_one_sentence(refused.value)

    async def test_a_user_who_may_not_create_databases(
        self, weak_role: str, missing_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("DB_USER", weak_role)
            with pytest.raises(
                PermissionDenied, match=f"CREATE DATABASE {missing_database} OWNER {weak_role}"
            ) as refused:
                await init_db()
        assert is_one_sentence(refused.value)

    async def test_a_user_who_owns_the_database_may_use_it(
        self, weak_role: str, missing_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        admin = await connect(Address.from_env("postgres"))
        await admin.execute(f"CREATE DATABASE {missing_database} OWNER {weak_role}")
        await close(admin)
        with monkeypatch.context() as patch:
            patch.setenv("DB_USER", weak_role)
            await init_db()
            await enter()

    async def test_a_user_who_may_not_read_the_tables(
        self, weak_role: str, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("DB_USER", weak_role)
            with pytest.raises(PermissionDenied, match=f"GRANT SELECT.* ON TABLE .* TO {weak_role}") as refused:
                await enter()
        assert is_one_sentence(refused.value)


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A PostgreSQL server of its own that asks user `guarded` for PASSWORD."""

    async def guard(environment: dict[str, str]) -> None:
        admin = await connect(Address(environment["DB_HOST"], 5432, environment["DB_USER"], "", "postgres"))
        literal = PASSWORD.replace("'", "''")
        await admin.execute(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{literal}'")
        rules = Path(await admin.fetchval("SHOW hba_file"))
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        await admin.execute("SELECT pg_reload_conf()")
        await close(admin)

    with start_servers(tmp_path_factory.mktemp("guarded"), redis=False) as servers:
        environment = servers.environment()
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, guard(environment)).result()
        yield environment


class TestLogin:
    """Wrong password, unknown user: said, with where to look, without the password."""

    @pytest.fixture
    async def guarded(
        self, guarded_server: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[pytest.MonkeyPatch]:
        for name, value in (guarded_server | {"DB_USER": "guarded", "DB_NAME": "guarded"}).items():
            monkeypatch.setenv(name, value)
        yield monkeypatch
        await dispose_engines()

    async def test_the_right_password_enters(self, guarded: pytest.MonkeyPatch) -> None:
        guarded.setenv("DB_PASSWORD", PASSWORD)
        await init_db()
        async with DatabaseContext() as db:
            assert await db.symbols.get_all() == []

    @pytest.mark.parametrize("password", ["wrong" + PASSWORD, ""])
    async def test_a_wrong_password_is_said(self, guarded: pytest.MonkeyPatch, password: str) -> None:
        guarded.setenv("DB_PASSWORD", password)
        for attempt in (enter, init_db):
            with pytest.raises(AuthenticationFailed, match=r"'guarded'.*check DB_USER and DB") as refused:
                await attempt()
            assert not refused.value.retryable
            assert is_one_sentence(refused.value)
            assert PASSWORD not in "".join(traceback.format_exception(refused.value))

    async def test_an_unknown_user_is_said(self, guarded: pytest.MonkeyPatch) -> None:
        guarded.setenv("DB_USER", "nobody-known")
        with pytest.raises(AuthenticationFailed, match="'nobody-known'") as refused:
            await enter()
        assert is_one_sentence(refused.value)


class TestSecrets:
    """Nothing that prints shows a password, a hash or the second factor."""

    def test_an_address_hides_its_password(self) -> None:
        address = Address("db.example", 5432, "me", PASSWORD, "fullon")
        for shown in (str(address), repr(address), str(address.url), str(DatabaseUnavailable(address, "x"))):
            assert PASSWORD not in shown
            assert "p%40ss" not in shown

    async def test_a_refused_user_is_not_printed(self, db: DatabaseContext) -> None:
        await db.users.add_user(User(mail="a@fullon"))
        for refused_user in (
            User(mail="a@fullon", password="hunter2", f2a="SECONDFACTOR"),
            User(mail="b@fullon", password="hunter2", f2a="SECONDFACTOR", manager=999),
            User(mail="c@fullon", password="hunter2", f2a="SECONDFACTOR", role="king"),
            User(mail=None, password="hunter2", f2a="SECONDFACTOR"),
        ):
            with pytest.raises(OrmError) as refused:
                await db.users.add_user(refused_user)
            printed = "".join(traceback.format_exception(refused.value)) + repr(refused_user)
            for secret in ("hunter2", "SECONDFACTOR", "$argon2"):
                assert secret not in printed

    async def test_failing_sql_does_not_print_its_values(self, db: DatabaseContext) -> None:
        secret = uuid4().hex
        await db.users.add_user(User(mail="b@fullon"))
        for mail in ("b@fullon", None):
            insert = text("INSERT INTO users (mail, f2a) VALUES (:mail, :f2a)")
            with pytest.raises(IntegrityError) as failed:
                async with db.session.begin_nested():
                    await db.session.execute(insert, {"mail": mail, "f2a": secret})
            assert secret not in "".join(traceback.format_exception(failed.value))

        user = User(mail="a@fullon", f2a=secret)
        db.session.add(user)
        await db.flush()
        user.mail = None
        with pytest.raises(InvalidValue) as refused:
            await db.flush()
        assert secret not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("57P01", DatabaseUnavailable),
        ("40001", DatabaseContended),
        ("40P01", DatabaseContended),
        ("55P03", DatabaseContended),
        ("53100", DatabaseLimited),
        ("25006", DatabaseLimited),
        ("42501", PermissionDenied),
        ("42601", StatementRefused),
        ("XX000", StatementRefused),
    ],
)
async def test_what_postgresql_refuses_is_classed_by_its_sqlstate(
    db: DatabaseContext, state: str, kind: type[OrmError]
) -> None:
    raising = f"DO $$BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}', DETAIL = 'hunter2'; END$$"
    with pytest.raises(kind, match="so it is") as refused:
        await db.session.execute(text(raising))
    assert type(refused.value) is kind
    assert is_one_sentence(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.retryable is (kind in {DatabaseUnavailable, DatabaseContended, DatabaseLimited})
    assert ("check that the server runs" in str(refused.value)) is (refused.value.kind == "away")


class TestLostConnections:
    """A connection that breaks is a retryable error; the next context has a new one."""

    async def test_terminated_in_the_middle(self, db: DatabaseContext) -> None:
        async with DatabaseContext() as doomed:
            await terminate_others(db)
            with pytest.raises(DatabaseUnavailable) as refused:
                await doomed.symbols.get_all()
            assert refused.value.retryable
            assert is_one_sentence(refused.value)
        await enter()

    async def test_terminated_before_the_commit(self, db: DatabaseContext) -> None:
        async with DatabaseContext() as doomed:
            await doomed.exchanges.create_cat_exchange("kraken")
            await terminate_others(db)
            with pytest.raises(DatabaseUnavailable):
                await doomed.commit()
        async with DatabaseContext() as other:
            assert await other.exchanges.get_cat_exchanges() == []

    async def test_terminated_while_idle_in_the_pool(self, db: DatabaseContext) -> None:
        await enter()
        await terminate_others(db)
        await enter()

    async def test_over_tcp_too(self, relay: Any) -> None:
        async with DatabaseContext() as db:
            await db.exchanges.create_cat_exchange("kraken")
            relay.cut()
            with pytest.raises(DatabaseUnavailable, match=f"at 127.0.0.1:{relay.port}"):
                await db.commit()
        await enter()

    async def test_a_server_that_falls_silent_is_given_up(self, relay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fullon_orm.connection.COMMAND_TIMEOUT_S", 0.2)
        async with DatabaseContext() as db:
            relay.fall_silent()
            with pytest.raises(DatabaseUnavailable, match="no answer in time"):
                await db.symbols.get_all()

    async def test_a_pooled_connection_that_fell_silent_is_given_up(
        self, relay: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fullon_orm.connection.COMMAND_TIMEOUT_S", 0.2)
        await enter()
        relay.fall_silent()
        with pytest.raises(DatabaseUnavailable, match="no answer in time"):
            await enter()

    async def test_more_contexts_than_connections(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines, "CHECKOUT_TIMEOUT_S", 0.05)
        async with AsyncExitStack() as stack:
            for _ in range(engines.CONNECTIONS_MAX):
                await stack.enter_async_context(DatabaseContext())
            with pytest.raises(DatabaseUnavailable, match="all 15 connections are in use"):
                await enter()
        await enter()


async def terminate_others(db: DatabaseContext) -> None:
    """End every session on this database but the given one."""
    connection = await db.session.connection()
    await connection.exec_driver_sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


class TestEngines:
    """Engines live as long as their event loop, and leave no connection behind."""

    def test_every_loop_has_its_own_and_closes_it(self, database: str) -> None:
        async def add(name: str) -> None:
            async with DatabaseContext() as db:
                await db.exchanges.create_cat_exchange(name)
                await db.commit()

        async def sessions() -> int:
            admin = await connect(Address.from_env("postgres"))
            count: int = await admin.fetchval(SESSIONS, database)
            await close(admin)
            return count

        async def until_none_is_left() -> None:
            async with asyncio.timeout(10):
                while await sessions():
                    pass

        for name in ("kraken", "binance"):
            asyncio.run(add(name))
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda name: asyncio.run(add(name)), ["bitmex", "hyperliquid"]))
        asyncio.run(until_none_is_left())

    async def test_contexts_share_connections(self, database: str) -> None:
        pids = set()
        for _ in range(3):
            async with DatabaseContext() as db:
                pids.add(await db.session.scalar(text("SELECT pg_backend_pid()")))
        assert len(pids) == 1

    async def test_dispose_closes_what_is_idle(self, database: str) -> None:
        await enter()
        await dispose_engines()
        admin = await connect(Address.from_env("postgres"))
        async with asyncio.timeout(10):
            while await admin.fetchval(SESSIONS, database):
                pass
        await close(admin)
        await enter()


class TestHostileDatabaseNames:
    """Quoted, or refused in one sentence; never executed."""

    @pytest.mark.parametrize("name", ['x"; DROP DATABASE postgres; --', "it's 100% €😀", "a" * 63])
    async def test_possible_names_are_quoted(
        self, missing_database: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        manager = DatabaseManager()
        assert await manager.create_database(name)
        with monkeypatch.context() as patch:
            patch.setenv("DB_NAME", name)
            await init_db()
            await enter()
        assert await manager.drop_database(name)

    @pytest.mark.parametrize("name", ["", "a" * 64, "😀" * 16, "a\0b", "\ud800"])
    async def test_impossible_names_are_refused(self, missing_database: str, name: str) -> None:
        for attempt in (DatabaseManager().create_database, DatabaseManager().drop_database):
            with pytest.raises(InvalidValue, match="cannot name a database") as refused:
                await attempt(name)
            assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
    async def test_the_servers_own_are_not_dropped(self, missing_database: str, name: str) -> None:
        with pytest.raises(InvalidValue, match="belongs to the server"):
            await DatabaseManager().drop_database(name)
