"""One writer per database: a session-level advisory lock, released by the server when its holder dies."""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Self

import asyncpg

from fullon_ohlcv.connection import CONNECT_TIMEOUT_S, Target, connect, translated
from fullon_ohlcv.statements import statement

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    from fullon_ohlcv.writing import AnyConnection

_KEY = 0x66756C6C6F6E  # "fullon"


class Writer(NamedTuple):
    """Who writes to a database: the server's process for it, where it comes from, since when."""

    server_pid: int
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"from {self.host} since {self.since:%Y-%m-%d %H:%M:%S} UTC (server process {self.server_pid})"


async def find_writer(connection: "AnyConnection") -> Writer | None:
    """Return who holds the lock of this connection's database; None where nobody does, or the connection itself."""
    row = await connection.fetchrow(statement("writer_lock_holder"), _KEY, timeout=CONNECT_TIMEOUT_S)
    return None if row is None else Writer(row["pid"], row["host"], row["backend_start"])


class WriterLock:
    """Says which of several programs writes to a database of time series; `async with WriterLock() as lock`.

    The lock lives as long as its connection. A server that restarts, or a network that breaks, takes it away:
    call `take()` now and then; it gets the lock back, or says that another has it.
    """

    def __init__(self, *, test: bool = False) -> None:
        self._target = Target.from_env(test=test)
        self._connection: Connection[Record] | None = None

    async def __aenter__(self) -> Self:
        """Take nothing yet."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Let go."""
        await self._disconnect()

    async def take(self) -> bool:
        """Take the lock if nobody holds it; True where it is ours now or was before.

        Raises:
            StorageUnavailable: the server cannot be reached.
        """
        with translated(self._target, "take the writer's lock"):
            try:
                if self._connection is None:
                    self._connection = await connect(self._target)
                held = await self._connection.fetchval(statement("take_writer_lock"), _KEY, timeout=CONNECT_TIMEOUT_S)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._disconnect()
                raise
        return bool(held)

    async def holder(self) -> str | None:
        """Return a sentence about who holds the lock; None where nobody does or we do."""
        if self._connection is None:
            return None
        with translated(self._target, "ask for the writer"):
            writer = await find_writer(self._connection)
        return None if writer is None else str(writer)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with asyncio.timeout(1.0):
                    await connection.close()
