"""`fullon-ohlcv database`: what is done to the database of the time series as a whole."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import typer

from fullon_ohlcv.connection import Target, connect, translated
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timescale import ROWS_MIGRATED_PER_S, Usage, make_hypertables, read_database_bytes, read_usage
from fullon_ohlcv.writer_lock import WriterLock
from fullon_ohlcv_service.commands.again import progress
from fullon_ohlcv_service.commands.environment import help_without_command
from fullon_ohlcv_service.commands.screen import Yes, confirm, make_console
from fullon_ohlcv_service.commands.session import complete
from fullon_ohlcv_service.commands.times import say_span
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.errors import CommandError

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

POLL_S = 1.0

app = typer.Typer(
    callback=help_without_command,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The database of the time series.",
)


@app.command("use-timescale")
def use_timescale(*, yes: Yes = False) -> None:
    """Make TimescaleDB's hypertables of plain tables, with all their rows.

    In one transaction: until it has ended nothing has changed, and the daemon must be stopped. As much disk as the
    tables take is needed besides, until they are compressed.

    \b
    Examples:
      fullon-ohlcv database use-timescale
    """
    complete(_use_timescale(yes=yes))


async def _use_timescale(*, yes: bool) -> None:
    config = OhlcvServiceConfig.from_env()
    target = Target.from_env(test=config.test_mode)
    async with TimeseriesStore.open(test=config.test_mode) as store, WriterLock(test=config.test_mode) as lock:
        async with store.connection("look for TimescaleDB") as looking:
            usage = await read_usage(looking)
        refuse(usage, target)
        if not await lock.take():
            raise CommandError(f"the daemon is running, {await lock.holder() or 'just now'}: stop it first")
        takes = say_span(max(1.0, usage.rows / ROWS_MIGRATED_PER_S))
        what = f"{usage.rows:,} rows, {usage.bytes / 1e9:,.1f} GB; it will take about {takes} and as much disk again"
        if not confirm(f"Move {what}?", yes=yes):
            raise CommandError(f"nothing moved; {what}: --yes moves them")
        with progress("moving", usage.bytes) as advance:
            async with store.connection("watch it") as watching, asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch(watching, advance))
                try:
                    await _move(target)
                finally:
                    watch.cancel()
        await store.compress_after(config.compress_after_days or None)
    make_console().print(f"moved {usage.rows:,} rows to TimescaleDB; start the daemon again")


async def _move(target: Target) -> None:
    with translated(target, "move to TimescaleDB"):
        connection = await connect(target)
        try:
            async with connection.transaction():
                await make_hypertables(connection, migrate_data=True)
        finally:
            await connection.close()


def refuse(usage: Usage, target: Target) -> None:
    """Say why nothing can be moved, or need be.

    Raises:
        CommandError: the server does not offer the extension, or it is used already.
    """
    if usage.used_version:
        raise CommandError(f"{target} uses TimescaleDB {usage.used_version} already")
    if not usage.is_offered:
        raise CommandError(
            f"the server of {target} does not offer TimescaleDB: install it there and add timescaledb to "
            "shared_preload_libraries"
        )


async def _watch(connection: "AnyConnection", advance: Callable[[int], None]) -> None:
    """Show how the database grows; where it cannot be asked, the bar stands still."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        seen = await read_database_bytes(connection)
        while True:
            await asyncio.sleep(POLL_S)
            now = await read_database_bytes(connection)
            advance(max(0, now - seen))
            seen = max(seen, now)
