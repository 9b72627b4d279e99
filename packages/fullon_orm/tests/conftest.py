"""Each test finds a migrated database without rows, and a context open on it if it asks for one."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, Self
from uuid import uuid4

import pytest

from fullon_orm import DatabaseContext, dispose_engines, init_db
from fullon_orm.address import Address
from fullon_orm.connection import close, connect
from fullon_orm.database import DatabaseManager, quoted
from fullon_orm.models import Base, CatExchange, Exchange, Symbol, User


def _outside_the_tests_loop(coroutine: Coroutine[Any, Any, object]) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def migrated_database(servers: Mapping[str, str]) -> Iterator[str]:
    """A migrated database of this worker. Emptying it is many times faster than copying a template."""
    name = f"orm_{uuid4().hex[:12]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DB_NAME", name)
        _outside_the_tests_loop(init_db())
    yield name
    _outside_the_tests_loop(DatabaseManager().drop_database(name))


@pytest.fixture
async def database(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database without rows, whose keys count from 1 and which DB_NAME names."""
    monkeypatch.setenv("DB_NAME", migrated_database)
    connection = await connect(Address.from_env())
    # Deleting from small tables is several times faster than truncating them.
    await connection.execute(
        "".join(f"DELETE FROM {quoted(table.name)};" for table in reversed(Base.metadata.sorted_tables))
        + "SELECT setval(pg_get_serial_sequence(tablename, attname), 1, false) FROM pg_tables "
        "JOIN pg_attribute ON attrelid = tablename::regclass AND attnum = 1 WHERE schemaname = 'public'"
    )
    await close(connection)
    return migrated_database


@pytest.fixture
async def missing_database(servers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The name of a database that does not exist, in DB_NAME; the test may make it."""
    name = f"orm_{uuid4().hex[:12]}"
    monkeypatch.setenv("DB_NAME", name)
    yield name
    await DatabaseManager().drop_database(name)


@pytest.fixture
async def db(database: str) -> AsyncIterator[DatabaseContext]:
    """An open context on the test's database."""
    async with DatabaseContext() as context:
        yield context


@pytest.fixture
async def user(db: DatabaseContext) -> User:
    """A stored user."""
    stored = await db.users.add_user(User(mail="admin@fullon"))
    await db.commit()
    return stored


@pytest.fixture
async def kraken(db: DatabaseContext) -> CatExchange:
    """A stored venue."""
    stored = await db.exchanges.create_cat_exchange("kraken")
    await db.commit()
    return stored


@pytest.fixture
async def account(db: DatabaseContext, user: User, kraken: CatExchange) -> Exchange:
    """The user's account at kraken."""
    stored = await db.exchanges.add_user_exchange(Exchange(uid=user.uid, cat_ex_id=kraken.cat_ex_id, name="kraken1"))
    await db.commit()
    return stored


@pytest.fixture
async def symbol(db: DatabaseContext, kraken: CatExchange) -> Symbol:
    """BTC/USD at kraken."""
    stored = await db.symbols.add_symbol(Symbol(symbol="BTC/USD", cat_ex_id=kraken.cat_ex_id))
    await db.commit()
    return stored


class Relay:
    """A TCP door to the PostgreSQL server that can fall silent or be cut."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._silent = False
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Listen on a free port of the loopback; everything is closed on leaving."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def fall_silent(self) -> None:
        """Forward nothing more, in either direction; connections stay open."""
        self._silent = True

    def cut(self) -> None:
        """Break every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target.host.startswith("/"):
            path = f"{self._target.host}/.s.PGSQL.{self._target.port}"
            server_reader, server_writer = await asyncio.open_unix_connection(path)
        else:
            server_reader, server_writer = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, server_writer]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forward(reader, server_writer))
            group.create_task(self._forward(server_reader, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while received := await reader.read(65_536):
                if not self._silent:
                    writer.write(received)
                    await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def relay(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relay]:
    """A relay before the server, to which DB_HOST and DB_PORT lead."""
    async with Relay(Address.from_env()).open() as opened:
        monkeypatch.setenv("DB_HOST", "127.0.0.1")
        monkeypatch.setenv("DB_PORT", str(opened.port))
        yield opened
        await dispose_engines()
