"""The edge to asyncpg: one way to connect, and the translation of what the server and the network raise."""

from typing import TypeAlias

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
    StatementRefused,
)
from fullon_orm.migrations import HEAD

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 2.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Everything that asyncpg raises for a server, a network or a deadline (`TimeoutError` is an `OSError`)."""

_AWAY = ("08", "57P")
"""Connection lost; shut down, crashed, starting."""
_CONTENTION = ("40", "55P03", "55006", "57014", "25P03")
"""Deadlock, serialisation; a lock that is not free; cancelled; a transaction that idled for too long."""
_LIMITS = ("53", "58", "25006")
"""No room, memory or connections; failing files; a server that is read-only."""
_DEFECTS = ("42", "XX", "0A")
"""A statement that the server does not understand or cannot carry out."""


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
        DatabaseMissing: the server has no such database.
    """
    try:
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password or None,
            database=address.database,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={"application_name": "fullon_orm"},
            connection_class=_ClosingInTime,
        )
    except DRIVER_ERRORS as error:
        raise translated(error, address) or error from error


async def close(connection: Connection) -> None:
    """Close the connection, politely where the server still answers."""
    await connection.close()


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
    if state.startswith("28"):
        return AuthenticationFailed(address, reason)
    if state == "3D000":
        return DatabaseMissing(address)
    if state == "42501":
        return PermissionDenied(address, reason)
    if state in {"42P01", "42703"}:
        return SchemaMismatch(
            address, expected=HEAD, found=None, hint=f"{reason}: migrate with `await fullon_orm.init_db()`"
        )
    if state.startswith("22"):
        # The driver finds some of these itself, and its sentence then holds the value, secret or not.
        reason = getattr(error, "message", None) or "it has the wrong type or is out of range"
        return InvalidValue("value", f"PostgreSQL cannot take a value: {reason}")
    if state.startswith(_AWAY):
        return DatabaseUnavailable(address, reason)
    for classes, kind in ((_CONTENTION, DatabaseContended), (_LIMITS, DatabaseLimited), (_DEFECTS, StatementRefused)):
        if state.startswith(classes):
            return kind(address, reason, state)
    return None
