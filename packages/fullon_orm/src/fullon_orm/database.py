"""Databases as a whole: their address, creating and dropping them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from fullon_orm.address import Address, check_database_name
from fullon_orm.connection import DRIVER_ERRORS, Connection, close, connect, translated
from fullon_orm.engines import dispose_engines
from fullon_orm.errors import DatabaseMissing, InvalidValue

_SERVERS_OWN = frozenset({"postgres", "template0", "template1"})


def create_database_url(database: str | None = None) -> str:
    """Return `postgresql+asyncpg://…` of the environment's server, for `database` or else `DB_NAME`.

    The password is in it: use it to connect, do not print it.

    Raises:
        ConfigurationError: `DB_HOST` is not set, or `DB_PORT` or `DB_NAME` cannot be used.
        InvalidValue: `database` cannot be the name of a database.
    """
    return Address.from_env(database).url.render_as_string(hide_password=False)


class DatabaseManager:
    """Creates and drops databases on the server that the environment names at the time of the call."""

    async def create_database(self, name: str) -> bool:
        """Create an empty UTF-8 database; True if it is new, False if it was there.

        Any number of processes may race for the same name: one gets True.

        Raises:
            InvalidValue: not a possible name (1 to 63 bytes; quotes, blanks and emoji are all right).
            PermissionDenied: the user lacks CREATEDB.
            DatabaseUnavailable: no connection; retryable.
        """
        address = Address.from_env(name)
        # template0, because nobody can be connected to it: a session in template1 makes CREATE DATABASE fail.
        statement = f"CREATE DATABASE {quoted(name)} TEMPLATE template0 ENCODING 'UTF8'"
        async with _maintenance(address) as connection:
            try:
                await connection.execute(statement)
            except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                # The second is what the loser of a race gets, from the index of pg_database.
                return False
        return True

    async def drop_database(self, name: str) -> bool:
        """Drop the database, ending the sessions in it; True if it was there, False if not.

        Raises:
            InvalidValue: not a possible name, or one of the server's own databases.
            PermissionDenied: the user does not own it.
            DatabaseUnavailable: no connection; retryable.
        """
        if name in _SERVERS_OWN:
            raise InvalidValue(f"database {name!r}", f"{name!r} belongs to the server and is not dropped")
        address = Address.from_env(name)
        await dispose_engines(name)
        async with _maintenance(address) as connection:
            try:
                await connection.execute(f"DROP DATABASE {quoted(name)} WITH (FORCE)")
            except asyncpg.InvalidCatalogNameError:
                return False
        return True


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier."""
    check_database_name(name)
    return '"' + name.replace('"', '""') + '"'


@asynccontextmanager
async def _maintenance(address: Address) -> AsyncIterator[Connection]:
    """Connect to the server beside the database `address` names; errors speak of that database."""
    try:
        connection = await connect(address.on("postgres"))
    except DatabaseMissing:
        connection = await connect(address.on("template1"))
    try:
        yield connection
    except DRIVER_ERRORS as error:
        raise translated(error, address) or error from error
    finally:
        await close(connection)
