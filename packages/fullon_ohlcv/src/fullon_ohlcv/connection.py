"""Where the database is, how it is reached, and what its refusals mean."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import asyncpg

from fullon_ohlcv.errors import (
    SchemaMismatch,
    StatementFailed,
    StorageContended,
    StorageError,
    StorageLimited,
    StorageMisconfigured,
    StorageUnavailable,
)
from fullon_ohlcv.statements import migrations, name_of
from fullon_orm import connection as orm
from fullon_orm.address import Address, named_database
from fullon_orm.connection import connect_arguments, prepare_session, tls_failure
from fullon_orm.errors import DatabaseMissing, OrmError

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0

APPLICATION = "fullon_ohlcv"
MARKER = "schema_version"
"""The table that tells in which schema the others are."""
EXTENSIONS = "public"
"""The schema of TimescaleDB's functions."""
SESSION_SETTINGS = {
    "timezone": "UTC",
    "jit": "off",
    # A client that froze in the middle of a write must not keep its series locked for the others.
    "idle_in_transaction_session_timeout": "60s",
}
"""Set after connecting: as startup parameters a connection pooler would refuse them."""

_UNREACHABLE = (
    OSError,
    TimeoutError,
    # asyncpg says so of a connection that was closed underneath, or whose farewell it has not read to the end.
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_AWAY = ("08", "57P")
"""Connection lost; shut down, crashed, starting, dropped. Codes of PostgreSQL's appendix A, as are the following."""
_CONTENTION = ("40", "55P03", "55006", "57014", "25P03")
"""Deadlock, serialisation; a lock that is not free; cancelled; a transaction that idled for too long."""
_LIMITS = ("53", "58", "25006")
"""No room, memory or connections, or beyond a configured limit; failing files; a server that is read-only."""
_REMEDIES = {
    "53100": "free disk space on the server",
    "53200": "the server needs more memory, or fewer programs",
    "53300": "raise max_connections there, or end programs that use it",
    "53400": "raise that limit on the server",
    "25006": "name the primary server in DB_HOST, or end its read-only mode",
}
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
_TO_MEND = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidSchemaNameError,
    # What connection poolers refuse a login with, and what a session that is shared with others leads to.
    asyncpg.ProtocolViolationError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)
"""Refusals that `fullon_orm` explains, for both databases alike."""
_OTHER_SCHEMA = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)


@dataclass(frozen=True)
class Target(Address):
    """One database on one server; the password is in no text."""

    @classmethod
    def from_env(cls, database: str | None = None, *, test: bool = False) -> Self:
        """Read the server as `fullon_orm.address.Address` does, and `DB_OHLCV_NAME`, or with `test` `DB_TEST_NAME`.

        Raises:
            StorageMisconfigured: no server is named, a value cannot be used, or two of them contradict each other.
        """
        variable, default = ("DB_TEST_NAME", "fullon_ohlcv_test") if test else ("DB_OHLCV_NAME", "fullon_ohlcv")
        try:
            return super().from_env(database or named_database(variable, os.environ.get(variable) or default))
        except OrmError as error:
            raise StorageMisconfigured(str(error)) from error

    def of(self, database: str) -> Self:
        """Return another database of the same server."""
        return self.on(database)


async def connect(target: Target) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection, without translating what can go wrong."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        **connect_arguments(target, APPLICATION), timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S
    )
    try:
        await prepare_session(connection, target, marker=MARKER, settings=SESSION_SETTINGS, behind=EXTENSIONS)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def create_pool(target: Target, pool_max: int) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool of at most `pool_max` connections, each made when it is first needed.

    A floor would be kept by a task of asyncpg's that logs a traceback for every attempt while the server is away.
    """

    async def prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await prepare_session(connection, target, marker=MARKER, settings=SESSION_SETTINGS, behind=EXTENSIONS)
        await _prepare_connection(connection)

    return await asyncpg.create_pool(
        **connect_arguments(target, APPLICATION),
        min_size=0,
        max_size=pool_max,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        init=prepare,
        reset=_keep,
    )


async def _prepare_connection(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Give the connection its staging tables; temporary tables write no log and vanish with it.

    Where TimescaleDB is used, lift its limit on rows that one statement may decompress: a correction of many series is
    right to exceed it, and bounds keep every statement to what it changes. It is no startup parameter, for a pooler
    between us and the server need not know it.
    """
    await connection.execute(
        "CREATE TEMPORARY TABLE staged_candles (LIKE candles) ON COMMIT DELETE ROWS;"
        "CREATE TEMPORARY TABLE staged_trades (LIKE trades) ON COMMIT DELETE ROWS;"
        "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false)"
        " FROM pg_extension WHERE extname = 'timescaledb'"
    )


async def _keep(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Give a connection back as it is: nothing here changes its session, and asking the server to forget takes a turn.

    A transaction that is still open has been rolled back before.
    """


async def connect_or_create(target: Target) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection, creating the database if it is missing; several processes may do this at once."""
    try:
        return await connect(target)
    except asyncpg.PostgresError as error:
        if not isinstance(orm.translated(error, target), DatabaseMissing):
            raise
        await _create_database(target)
    await orm.close(await orm.connect_to_new(target))
    return await connect(target)


async def _create_database(target: Target) -> None:
    try:
        maintenance = await connect(target.of("postgres"))
    except asyncpg.InvalidCatalogNameError:
        maintenance = await connect(target.of("template1"))
    name = '"' + target.database.replace('"', '""') + '"'
    try:
        for delay_s in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, None):
            try:
                await maintenance.execute(
                    f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
                )
            except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                return  # another process was quicker
            except asyncpg.ObjectInUseError:
                if delay_s is None:
                    raise
                await asyncio.sleep(delay_s)  # another process is copying the template
            else:
                return
    finally:
        await maintenance.close(timeout=CONNECT_TIMEOUT_S)


@contextmanager
def _connecting(target: Target, action: str) -> Iterator[None]:
    """Translate what is the same for both databases: TLS, connection poolers, rights, settings that cannot be used."""
    try:
        yield
    except OrmError as error:
        kind = StorageUnavailable if error.retryable else StorageMisconfigured
        raise kind(f"cannot {action}: {error}") from error
    except (OSError, *_TO_MEND) as error:
        failure = tls_failure(error, target) or orm.translated(error, target)
        if isinstance(failure, OrmError) and not failure.retryable:
            raise StorageMisconfigured(f"cannot {action}: {failure}") from error
        raise


@contextmanager
def translated(target: Target, action: str) -> Iterator[None]:
    """Turn what asyncpg and the system raise into the errors of this package, with a sentence for people."""
    try:
        with _connecting(target, action):
            yield
    except (StorageError, ValueError):
        raise  # asyncpg's complaint about an argument is a ValueError besides
    except asyncpg.InvalidPasswordError as error:
        raise StorageMisconfigured(f"cannot {action}: {target} was refused: check DB_USER and DB_PASSWORD") from error
    except _REFUSED as error:
        raise StorageMisconfigured(
            f"cannot {action}: {target}: {_said(error)}: check the role and its rights"
        ) from error
    except _OTHER_SCHEMA as error:
        raise SchemaMismatch(max(migrations()), None, f"{target}: {_said(error)}") from error
    except _UNREACHABLE as error:
        raise StorageUnavailable(
            f"cannot {action}: {target}: {_said(error)}: is the server running and reachable there?"
        ) from error
    except asyncpg.PostgresError as error:
        raise _classed(error, target, action) from error


def _classed(error: asyncpg.PostgresError, target: Target, action: str) -> StorageError:
    """Return our error for what the server said, by its SQLSTATE."""
    state = error.sqlstate or "XX000"
    what = f"cannot {action}: {target}: {_said(error)}"
    if state.startswith(_AWAY):
        return StorageUnavailable(f"{what}: is the server running and reachable there?")
    if state.startswith(_CONTENTION):
        return StorageContended(f"{what} (SQLSTATE {state}): the server is well, the same call works without that")
    if state.startswith(_LIMITS):
        remedy = _REMEDIES.get(state, "the server's own log says more")
        return StorageLimited(f"{what} (SQLSTATE {state}): {remedy}; it is tried again meanwhile")
    name = name_of(getattr(error, "query", None))
    return StatementFailed(
        f"cannot {action}: {target}: statement {name!r} failed with SQLSTATE {state}: {_said(error)}; "
        "this is a defect of fullon-ohlcv or of the server: report it with this sentence",
        statement=name,
        sqlstate=state,
    )


def _said(error: BaseException) -> str:
    """Return what was said in one line; the detail and the hint that `str()` would add may hold a row."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "message", None) or str(error) or type(error).__name__
