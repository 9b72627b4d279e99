"""Where the database is, how it is reached, and what its refusals mean."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

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

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0

SERVER_SETTINGS = {
    "application_name": "fullon_ohlcv",
    "timezone": "UTC",
    "search_path": "public",
    "jit": "off",
    # A client that froze in the middle of a write must not keep its series locked for the others.
    "idle_in_transaction_session_timeout": "60s",
}

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
_OTHER_SCHEMA = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)


@dataclass(frozen=True, slots=True)
class Target:
    """One database on one server; the password is in no text."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def from_env(cls, *, test: bool = False) -> "Target":
        """Read `DB_HOST` (a name, an address or a socket directory), `DB_PORT`, `DB_USER`, `DB_PASSWORD` and
        `DB_OHLCV_NAME`, or with `test` `DB_TEST_NAME`.

        Raises:
            StorageMisconfigured: no host, or a value that cannot be meant.
        """
        host = os.environ.get("DB_HOST", "")
        if not host:
            raise StorageMisconfigured(
                "DB_HOST is not set: name a PostgreSQL server (host name, address or socket directory), "
                "or start the embedded one, whose environment() sets it"
            )
        port = os.environ.get("DB_PORT") or "5432"
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise StorageMisconfigured(f"DB_PORT is {port!r}; allowed is a number from 1 to 65535")
        variable, default = ("DB_TEST_NAME", "fullon_ohlcv_test") if test else ("DB_OHLCV_NAME", "fullon_ohlcv")
        database = os.environ.get(variable) or default
        if len(database.encode()) > 63 or "\0" in database:
            raise StorageMisconfigured(f"{variable} is {database!r}; allowed is a name of at most 63 bytes")
        user = os.environ.get("DB_USER") or "postgres"
        return cls(host, int(port), user, os.environ.get("DB_PASSWORD", ""), database)

    def of(self, database: str) -> "Target":
        """Return another database of the same server."""
        return replace(self, database=database)

    def __str__(self) -> str:
        return f"database {self.database!r} on {self.host}:{self.port} as user {self.user!r}"


async def connect(target: Target) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection, without translating what can go wrong."""
    return await asyncpg.connect(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password or None,
        database=target.database,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=SERVER_SETTINGS,
    )


async def create_pool(target: Target, pool_max: int) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool of at most `pool_max` connections, each made when it is first needed.

    A floor would be kept by a task of asyncpg's that logs a traceback for every attempt while the server is away.
    """
    return await asyncpg.create_pool(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password or None,
        database=target.database,
        min_size=0,
        max_size=pool_max,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=SERVER_SETTINGS,
        init=_prepare_connection,
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
    except asyncpg.InvalidCatalogNameError:
        await _create_database(target)
        return await connect(target)


async def _create_database(target: Target) -> None:
    maintenance = await connect(target.of("postgres"))
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
def translated(target: Target, action: str) -> Iterator[None]:
    """Turn what asyncpg and the system raise into the errors of this package, with a sentence for people."""
    try:
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
