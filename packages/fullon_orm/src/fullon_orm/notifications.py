"""Hear of changes to exchanges and symbols as they are committed, by whomever."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from fullon_log import get_component_logger
from fullon_orm.address import Address
from fullon_orm.connection import CONNECT_TIMEOUT_S, DRIVER_ERRORS, Connection, close, connect, translated
from fullon_orm.errors import NotificationsLost
from fullon_orm.triggers import CHANNEL

PENDING_MAX = 10_000
"""Different changes that wait to be read; equal ones wait as one."""

PING_INTERVAL_S = 30.0
"""A quiet connection is asked this often whether it still lives: a vanished server sends no farewell."""


@dataclass(frozen=True)
class Change:
    """Something was committed. `operation` is `insert`, `update`, `delete` or `truncate`.

    `table` is `exchanges`, `cat_exchanges` or `symbols`; `cat_ex_id` the venue concerned, or None after
    truncate, which concerns all.
    """

    table: str
    operation: str
    cat_ex_id: int | None


@asynccontextmanager
async def listen() -> AsyncIterator[AsyncIterator[Change]]:
    """Listen on a connection of its own; yields an endless iterator of changes.

        async with listen() as changes:
            ...read what is wanted...
            async for change in changes:
                ...read it again...

    From the moment of entering, no committed change is missed; equal changes not yet read come once.

    Raises:
        NotificationsLost: from the iterator, when the connection is lost; retryable. Enter again and read
            everything again: what happened in between is not told.
        DatabaseUnavailable, AuthenticationFailed, DatabaseMissing, ConfigurationError: on entering.
    """
    address = Address.from_env()
    connection = await connect(address)
    changes = _Changes(connection, address)
    try:
        connection.add_termination_listener(changes.lost)
        try:
            await connection.add_listener(CHANNEL, changes.notified)
        except DRIVER_ERRORS as error:
            raise translated(error, address) or error from error
        yield changes
    finally:
        await close(connection)


class _Changes(AsyncIterator[Change]):
    def __init__(self, connection: Connection, address: Address) -> None:
        self._connection = connection
        self._address = address
        # A dict is a set that remembers who came first.
        self._pending: dict[Change, None] = {}
        self._failure: str | None = None
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._failure is not None:
                raise NotificationsLost(self._address, self._failure)
            self._news.clear()
            try:
                async with asyncio.timeout(PING_INTERVAL_S):
                    await self._news.wait()
            except TimeoutError:
                await self._ping()
        change = next(iter(self._pending))
        del self._pending[change]
        return change

    def notified(self, _: Any, __: int, ___: str, payload: object) -> None:
        change = _parse_change(payload)
        if change is None:
            logger = get_component_logger("fullon.orm.notifications")
            logger.warning("notification ignored: not one of ours", payload=str(payload)[:200])
        elif len(self._pending) < PENDING_MAX:
            self._pending[change] = None
        else:
            self._failure = f"more than {PENDING_MAX} changes wait to be read"
        self._news.set()

    def lost(self, _: Any) -> None:
        self._failure = "the connection that listened was lost"
        self._news.set()

    async def _ping(self) -> None:
        try:
            await self._connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT_S)
        except DRIVER_ERRORS as error:
            raise NotificationsLost(self._address, "the connection that listened is dead") from error


def _parse_change(payload: object) -> Change | None:
    """Return None for what some other program sent through our channel."""
    try:
        match json.loads(str(payload)):
            case {"table": str(table), "operation": str(operation), "cat_ex_id": int() | None as cat_ex_id}:
                return Change(table, operation, cat_ex_id)
    except ValueError:
        return None
    return None
