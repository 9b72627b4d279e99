"""Engines, one per address and event loop, made on first use and closed with the loop."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
from sqlalchemy import NullPool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fullon_orm.address import Address
from fullon_orm.connection import DRIVER_ERRORS, Connection, close, connect, translated
from fullon_orm.errors import OrmError, SchemaMismatch
from fullon_orm.migrations import HEAD, VERSIONS

CONNECTIONS_MAX = 15
"""Per engine: 5 are kept open, 10 more for a rush; who comes later waits up to `CHECKOUT_TIMEOUT_S`."""
CONNECTIONS_KEPT = 5
CHECKOUT_TIMEOUT_S = 30.0

_lives: dict[asyncio.AbstractEventLoop, "_Life"] = {}


class _Life:
    """The engines of one event loop.

    A connection belongs to the loop that opened it and can be closed nowhere else. A loop tells nobody that
    it ends, except its asynchronous generators: `asyncio.run` closes those while the loop still turns.
    """

    def __init__(self) -> None:
        self.engines: dict[Address, AsyncEngine] = {}
        self.generator = self._until_the_loop_ends()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _lives.pop(asyncio.get_running_loop(), None)
            for engine in self.engines.values():
                await engine.dispose()


async def engine_for(address: Address) -> AsyncEngine:
    """Return this event loop's engine for `address`. It connects when it is used, not before."""
    loop = asyncio.get_running_loop()
    if loop not in _lives:
        for other in list(_lives):
            if other.is_closed():
                _lives.pop(other, None)
        _lives[loop] = _Life()
        await anext(_lives[loop].generator)
    engines = _lives[loop].engines
    if address not in engines:
        engines[address] = _engine(address)
    return engines[address]


async def dispose_engines(database: str | None = None) -> None:
    """Close this event loop's idle connections, of every database or of the one named."""
    life = _lives.get(asyncio.get_running_loop())
    if life is None:
        return
    for address in [a for a in life.engines if database in {None, a.database}]:
        await life.engines.pop(address).dispose()


def _engine(address: Address) -> AsyncEngine:
    async def opened() -> Connection:
        connection = await connect(address)
        try:
            await _check_version(connection, address)
        except BaseException:
            await close(connection)
            raise
        return connection

    engine = create_async_engine(
        address.url,
        async_creator=opened,
        pool_pre_ping=True,
        pool_size=CONNECTIONS_KEPT,
        max_overflow=CONNECTIONS_MAX - CONNECTIONS_KEPT,
        pool_timeout=CHECKOUT_TIMEOUT_S,
        hide_parameters=True,
    )
    _translate_errors(engine, address)
    return engine


def engine_for_migration(address: Address) -> AsyncEngine:
    """Return an engine that keeps no connection and takes the database at whatever version it is."""

    async def opened() -> Connection:
        return await connect(address)

    engine = create_async_engine(address.url, async_creator=opened, poolclass=NullPool, hide_parameters=True)
    _translate_errors(engine, address)
    return engine


def _translate_errors(engine: AsyncEngine, address: Address) -> None:
    """Raise our errors in place of SQLAlchemy's, whatever statement meets them."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def translate(context: ExceptionContext) -> OrmError | None:
        if context.is_pre_ping:
            return None  # The pool replaces a dead connection by itself.
        error = context.original_exception
        # SQLAlchemy wraps most of the driver's errors in its own kind and keeps the original as the cause.
        cause = error.__cause__
        if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
            cause.detail = None  # PostgreSQL may put the whole row there, and tracebacks would print it.
        return translated(error, address) or translated(cause, address)


async def _check_version(connection: Connection, address: Address) -> None:
    """Refuse tables of another version; no version at all is for the first query to find out.

    Raises:
        SchemaMismatch: older than the code, or newer.
    """
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return
        found = await connection.fetchval("SELECT version_num FROM alembic_version")
    except DRIVER_ERRORS as error:
        raise translated(error, address) or error from error
    if found not in {None, HEAD}:
        raise version_mismatch(found, address)


def version_mismatch(found: str, address: Address) -> SchemaMismatch:
    """Return the error that says what to do about a database at version `found`."""
    hint = (
        "migrate with `await fullon_orm.init_db()`"
        if found in VERSIONS
        else "it was made by a newer fullon_orm: upgrade this one, or name another database in DB_NAME"
    )
    return SchemaMismatch(address, expected=HEAD, found=found, hint=hint)
