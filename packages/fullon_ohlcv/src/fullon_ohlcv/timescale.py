"""TimescaleDB: making hypertables of the tables, compressing them, and looking at what others have set up there."""

from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from fullon_ohlcv.statements import timescale

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

CANDLES_COMPRESSED_AFTER_DAYS = 60
TRADES_COMPRESSED_AFTER_DAYS = 14


MIGRATE_TIMEOUT_S = 7 * 86_400.0
ROWS_MIGRATED_PER_S = 200_000
"""Measured with 4 million rows: 216,000."""


class Usage(NamedTuple):
    """Whether TimescaleDB is used, whether the server offers it, and how much the two large tables hold."""

    used_version: str | None
    is_offered: bool
    rows: int
    bytes: int


class Policy(NamedTuple):
    """A background job that removes old chunks of a hypertable."""

    table: str
    drop_after: str


async def make_hypertables(connection: "AnyConnection", *, migrate_data: bool = False) -> None:
    """Create the extension, turn both tables into hypertables, compressed where the licence allows it.

    The caller holds a transaction. `migrate_data` moves the rows of tables that are not empty.
    """
    script = timescale("make_hypertables").format(migrate_data=str(migrate_data).lower())
    await connection.execute(timescale("create_extension"))
    await connection.execute(script, timeout=MIGRATE_TIMEOUT_S)
    if await connection.fetchval(timescale("may_compress")):
        await _either(connection, timescale("compress"), timescale("compress_by_columnstore"))
        await _add_policies(connection, CANDLES_COMPRESSED_AFTER_DAYS, TRADES_COMPRESSED_AFTER_DAYS)


async def read_usage(connection: "AnyConnection") -> Usage:
    """Return what `database use-timescale` and `doctor` decide by; the number of rows is that of the tallies."""
    used = await connection.fetchval(timescale("used_version"))
    offered = await connection.fetchval(timescale("offered"))
    [(rows, size_bytes)] = await connection.fetch(timescale("size"))
    return Usage(used, bool(offered), rows, size_bytes)


async def read_database_bytes(connection: "AnyConnection") -> int:
    """Return the size of the database: it grows while rows are moved, for other sessions to see."""
    size_bytes: int = await connection.fetchval(timescale("database_bytes"))
    return size_bytes


async def compress_after(connection: "AnyConnection", days: int | None) -> bool:
    """Compress chunks of both tables after so many days, by default 60 of candles and 14 of trades.

    Return whether anything was changed: never on plain tables.
    """
    wanted = {"candles": days or CANDLES_COMPRESSED_AFTER_DAYS, "trades": days or TRADES_COMPRESSED_AFTER_DAYS}
    if not await connection.fetchval(timescale("is_used")):
        return False
    rows = await connection.fetch(timescale("compression_days"))
    found = {row["hypertable_name"]: row["days"] for row in rows}
    if not found or found == wanted:
        return False
    await _either(connection, timescale("remove_compression"), timescale("remove_columnstore"))
    await _add_policies(connection, wanted["candles"], wanted["trades"])
    return True


async def find_retention_policies(connection: "AnyConnection") -> list[Policy]:
    """Return the policies that remove chunks behind this program's back."""
    if not await connection.fetchval(timescale("is_used")):
        return []
    return [Policy(*row) for row in await connection.fetch(timescale("retention_policies"))]


async def _add_policies(connection: "AnyConnection", candles_days: int, trades_days: int) -> None:
    days = {"candles_days": candles_days, "trades_days": trades_days}
    await _either(
        connection,
        timescale("compression_policies").format(**days),
        timescale("columnstore_policies").format(**days),
    )


async def _either(connection: "AnyConnection", first: str, second: str) -> None:
    """Run `first`; where this release does not know its words, `second`."""
    try:
        async with connection.transaction():
            await connection.execute(first)
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidParameterValueError, asyncpg.PostgresSyntaxError):
        await connection.execute(second)
