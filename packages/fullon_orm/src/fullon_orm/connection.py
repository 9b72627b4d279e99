"""The edge to asyncpg: one way to connect, and the translation of what the server and the network raise."""

import asyncio
import re
from collections.abc import Mapping
from ssl import SSLCertVerificationError, SSLEOFError, SSLError, SSLZeroReturnError
from typing import Any, TypeAlias

import asyncpg

from fullon_orm.address import Address
from fullon_orm.errors import (
    AuthenticationFailed,
    DatabaseContended,
    DatabaseLimited,
    DatabaseMissing,
    DatabaseUnavailable,
    InvalidValue,
    OrmError,
    PermissionDenied,
    SchemaMismatch,
    SharedSessions,
    StatementRefused,
    TlsFailed,
)
from fullon_orm.migrations import HEAD

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 2.0
POOLER_CHECK_S = 2.0
POOLER_CHECKS = 3
NEW_DATABASE_ATTEMPTS = 4
NEW_DATABASE_RETRY_S = 0.5

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Everything that asyncpg raises for a server, a network or a deadline (`TimeoutError` is an `OSError`)."""

_AWAY = ("08", "57P")
"""Connection lost; shut down, crashed, starting."""
_CONTENTION = ("40", "55P03", "55006", "57014", "25P03")
"""Deadlock, serialisation; a lock that is not free; cancelled; a transaction that idled for too long."""
_LIMITS = ("53", "58", "25006")
"""No room, memory or connections; failing files; a server that is read-only."""


class _ClosingInTime(asyncpg.Connection):
    """A connection whose end is bounded in time, also where SQLAlchemy closes it without a limit of its own."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Close politely where the server still answers."""
        try:
            await super().close(timeout=timeout or CLOSE_TIMEOUT_S)
        except DRIVER_ERRORS:
            self.terminate()


async def connect(address: Address) -> Connection:
    """Open a connection of its own, outside every pool; the caller closes it with `close`.

    Raises:
        DatabaseUnavailable: the server does not answer within 10 s; retryable.
        AuthenticationFailed: wrong user or password.
        TlsFailed: no encrypted connection as `DB_SSLMODE` demands it.
        SharedSessions: a connection pooler that keeps no session.
        DatabaseMissing: the server has no such database.
    """
    try:
        connection = await asyncpg.connect(
            **connect_arguments(address, "fullon_orm"),
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            connection_class=_ClosingInTime,
        )
        try:
            await prepare_session(connection, address, marker="alembic_version")
        except BaseException:
            await connection.close()
            raise
    except DRIVER_ERRORS as error:
        raise tls_failure(error, address) or translated(error, address) or error from error
    return connection


async def connect_to_new(address: Address) -> Connection:
    """Open a connection to a database that was just created.

    PgBouncer, which has met its absence before, does not ask the server again for 15 s (`server_login_retry`).
    """
    for _ in range(NEW_DATABASE_ATTEMPTS - 1):
        try:
            return await connect(address)
        except (DatabaseUnavailable, DatabaseMissing):
            await asyncio.sleep(NEW_DATABASE_RETRY_S)
    return await connect(address)


def connect_arguments(address: Address, application_name: str) -> dict[str, Any]:
    """Return what asyncpg is to be called with, for a connection or a pool.

    The name of the application is the only startup parameter: a connection pooler refuses most others. What else a
    session needs is set by `prepare_session`.

    Raises:
        ConfigurationError: a file of `DB_SSL…` cannot be used.
    """
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password or None,
        "database": address.database,
        "ssl": address.tls(),
        "server_settings": {"application_name": application_name},
    }


_PREPARE = """
WITH place AS MATERIALIZED (
    SELECT coalesce(
        nullif($1, ''),
        (SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE pg_class.oid = to_regclass($2)),
        current_schema()::text
    ) AS schema, current_setting('search_path') AS path
), path AS MATERIALIZED (
    SELECT set_config(
        'search_path',
        concat_ws(', ', quote_ident(schema), nullif(CASE WHEN $1 = '' THEN path ELSE $5 END, '')),
        false
    ) FROM place
), others AS MATERIALIZED (
    SELECT count(set_config(name, value, false)) FROM unnest($3::text[], $4::text[]) AS wanted(name, value)
)
SELECT pg_backend_pid() FROM path, others
"""


async def prepare_session(
    connection: Connection,
    address: Address,
    *,
    marker: str,
    settings: Mapping[str, str] | None = None,
    behind: str = "",
) -> None:
    """Set what a session needs, and make sure that it keeps it.

    Unqualified names mean the schema of `OHLCV_SCHEMA`, else the one in which the table `marker` is found, else the
    first of the server's search_path: what was created in one schema stays there when another appears before it.
    Behind a schema that is named only those of `behind` are searched.

    Raises:
        SharedSessions: a connection pooler that keeps no session.
    """
    wanted = settings or {}
    values = (list(wanted), list(wanted.values()))
    pid = await connection.fetchval(_PREPARE, address.schema, marker, *values, behind)
    if pid == connection.get_server_pid():
        return  # nothing stands between
    server = (address.host, address.port, address.user, address.database)
    if server not in _keep_sessions:
        if await _shares_sessions(connection, address):
            raise SharedSessions(address)
        _keep_sessions.add(server)


_keep_sessions: set[tuple[str, int, str, str]] = set()
"""Databases behind connection poolers that were found to keep sessions."""


async def _shares_sessions(connection: Connection, address: Address) -> bool:
    """Return whether another client is served by the process that serves `connection`.

    A pooler of sessions that has none left lets the other wait; that is not sharing.
    """
    asked = "SELECT pg_backend_pid()"
    try:
        other = await asyncpg.connect(**connect_arguments(address, "fullon pooler check"), timeout=POOLER_CHECK_S)
    except DRIVER_ERRORS:
        return False
    try:
        async with asyncio.timeout(POOLER_CHECK_S):
            for _ in range(POOLER_CHECKS):
                ours = await connection.fetchval(asked)
                async with other.transaction():
                    if await other.fetchval(asked) == ours or await connection.fetchval(asked) != ours:
                        return True
    except TimeoutError:
        return False
    except asyncpg.PostgresError:
        return True  # a statement that was prepared is not there, or transactions are refused
    finally:
        other.terminate()
    return False


async def close(connection: Connection) -> None:
    """Close the connection, politely where the server still answers."""
    await connection.close()


def tls_failure(error: BaseException, address: Address) -> TlsFailed | None:
    """Return our error for a connection that was not made for want of TLS; None for every other cause."""
    if isinstance(error, SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        if "ostname mismatch" in reason or "IP address mismatch" in reason:
            advice = "name the server in DB_HOST as its certificate does, or set DB_SSLMODE=verify-ca"
        else:
            advice = "DB_SSLROOTCERT must name the CA that signed the server's certificate"
        return TlsFailed(address, f"the server's certificate is refused: {reason}", advice)
    if isinstance(error, SSLError) and not isinstance(error, SSLEOFError | SSLZeroReturnError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return TlsFailed(address, reason, "check DB_SSLMODE, DB_SSLCERT and DB_SSLKEY, and the server's own settings")
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return TlsFailed(
            address, "the server offers none", f"let it (ssl = on), or lower DB_SSLMODE from {address.sslmode!r}"
        )
    return None


def translated(error: BaseException | None, address: Address) -> OrmError | None:
    """Return our error for one of the driver's, None for those that are the caller's own affair."""
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable(address, "no answer in time")
    if isinstance(error, OSError):
        return DatabaseUnavailable(address, error.strerror or str(error) or type(error).__name__)
    if isinstance(error, asyncpg.PostgresError):
        return _translated_by_state(error, address)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return DatabaseUnavailable(address, str(error))
    return None


def _translated_by_state(error: asyncpg.PostgresError, address: Address) -> OrmError | None:
    """Translate by SQLSTATE. `message` is the server's sentence without the row that `str()` would add."""
    state = error.sqlstate or ""
    reason = getattr(error, "message", None) or type(error).__name__
    # PgBouncer says 08P01 of whatever goes wrong while it logs in.
    is_login = state.startswith("28") or (state == "08P01" and re.search(r"authentication failed|no such user", reason))
    if is_login:
        return AuthenticationFailed(address, reason)
    if state == "3D000" or (state == "08P01" and re.search(r"database .*does not exist|no such database", reason)):
        return DatabaseMissing(address)
    if state in {"26000", "42P05"}:
        return SharedSessions(address)
    if state in {"42501", "3F000"}:
        return PermissionDenied(address, reason)
    if state in {"42P01", "42703"}:
        return SchemaMismatch(
            address, expected=HEAD, found=None, hint=f"{reason}: migrate with `await fullon_orm.init_db()`"
        )
    if state.startswith("22"):
        # The driver finds some of these itself, and its sentence then holds the value, secret or not.
        reason = getattr(error, "message", None) or "it has the wrong type or is out of range"
        return InvalidValue("value", f"PostgreSQL cannot take a value: {reason}")
    if state == "53300":
        reason = f"no connection is left: {reason}: raise max_connections there, or the user's CONNECTION LIMIT"
    if state.startswith(_AWAY):
        return DatabaseUnavailable(address, reason)
    for classes, kind in ((_CONTENTION, DatabaseContended), (_LIMITS, DatabaseLimited)):
        if state.startswith(classes):
            return kind(address, reason, state)
    return None if state.startswith("23") else StatementRefused(address, reason, state)
