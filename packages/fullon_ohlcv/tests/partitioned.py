"""The shared tables partitioned by time on plain PostgreSQL: what TimescaleDB's chunks are, as far as planning goes."""

from datetime import datetime, timedelta

import asyncpg

Connection = asyncpg.Connection  # type: ignore[type-arg]


async def partition(connection: Connection, table: str, start: datetime, count: int, width: timedelta) -> None:
    """Replace the empty table by one of `count` partitions, each as wide as `width`, from `start` on.

    Their names end in their numbers, from 0000.
    """
    fold = await connection.fetchval("SELECT pg_get_functiondef('fold_minutes'::regproc)")
    triggers = await connection.fetch(
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1::text::regclass AND NOT tgisinternal", table
    )
    await connection.execute(f"ALTER TABLE {table} RENAME TO whole_{table}")
    await connection.execute(f"CREATE TABLE {table} (LIKE whole_{table} INCLUDING ALL) PARTITION BY RANGE (timestamp)")
    script = [fold, *(trigger for (trigger,) in triggers), f"DROP TABLE whole_{table} CASCADE"]
    for number in range(count):
        first, end = start + number * width, start + (number + 1) * width
        script.append(f"CREATE TABLE {table}_{number:04} PARTITION OF {table} FOR VALUES FROM ('{first}') TO ('{end}')")
    # The function would go with the old table: it is bound to the new one first.
    await connection.execute(";\n".join(script))
