"""What ten years of partitions cost: plain tables against 131 of candles and 522, or 131, of trades.

Partitions of plain PostgreSQL stand for the chunks of TimescaleDB: the planner excludes both by the same conditions.
The first call is on a new connection. Needs a PostgreSQL named by DB_HOST and friends; makes and drops databases
`fullon_ohlcv_chunks_…`.

    python packages/fullon_ohlcv/benchmarks/bench_chunks.py
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.edges import read_newest
from fullon_ohlcv.ledger import read_minutes
from fullon_ohlcv.reading import read_sources
from fullon_ohlcv.records import CandleWrite, Series, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US, Timeframe, to_us

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from partitioned import partition

START = datetime(2015, 1, 5, tzinfo=UTC)
DAYS = 131 * 28
END_US = to_us(START) + (DAYS - 1) * DAY_US
CANDLE_SERIES, TRADE_SERIES = 60, 15
CALLS = 9
LAYOUTS = {"plain": None, "trades of 7 days": (522 + 2, 7), "trades of 28 days": (131, 28)}
_CANDLES = """
INSERT INTO candles (series_id, timestamp, open, high, low, close, volume, trades)
SELECT series_id, at, 1, 1, 1, 1, 1, 1
FROM generate_series($1::timestamptz, $2, interval '{}') AS at, unnest($3::int[]) AS series_id
"""
_TRADES = """
INSERT INTO trades (series_id, timestamp, price, volume, occurrence, side, order_type, trade_id)
SELECT series_id, at, 1, 1, 0, 'buy', 'market', extract(epoch FROM at)::bigint::text
FROM generate_series($1::timestamptz, $2, interval '{}') AS at, unnest($3::int[]) AS series_id
"""


class Database:
    """A store over ten years of rows, more of them in the last day."""

    def __init__(self, store: TimeseriesStore) -> None:
        self.store = store
        self.candles: list[Series] = []
        self.trades: list[Series] = []
        self.folded: list[Series] = []
        self.second = 0

    async def fill(self) -> None:
        store = self.store
        self.candles = [await store.series("bench", f"C{n}", "candles1m") for n in range(CANDLE_SERIES)]
        self.trades = [await store.series("bench", f"T{n}", "trades") for n in range(TRADE_SERIES)]
        self.folded = [await store.series("bench", f"T{n}", "candles1m") for n in range(TRADE_SERIES)]
        start, day, end = START, START + timedelta(days=DAYS - 2), START + timedelta(days=DAYS - 1)
        ids = [one.series_id for one in (*self.candles, *self.folded)]
        async with store.connection("fill") as connection:
            just = timedelta(microseconds=1)
            for first, last, step in ((start, day - just, "12 hours"), (day, end - just, "1 minute")):
                await connection.execute(_CANDLES.format(step), first, last, ids)
                trade_ids = [one.series_id for one in self.trades]
                await connection.execute(_TRADES.format(step.replace("12 ", "3 ")), first, last, trade_ids)
            pairs = zip(self.folded, self.trades, strict=True)
            linked = [(candles.series_id, trades.series_id) for candles, trades in pairs]
            await connection.executemany("UPDATE series SET candles_id = $1 WHERE series_id = $2", linked)
            await connection.execute("ANALYZE candles")
            await connection.execute("ANALYZE trades")
        whole = [(to_us(START), END_US)]
        await store.write_candles([CandleWrite(one, [], whole) for one in (*self.candles, *self.folded)])
        await store.write_trades([TradeWrite(one, [], whole) for one in self.trades])

    async def live_trades(self) -> None:
        """One more second of three trades of every series, folded."""
        at_us = END_US + self.second * 1_000_000
        self.second += 1
        rows = [(at_us + n, 1.0, 1.0, "buy", "market", str(at_us + n)) for n in range(3)]
        pairs = zip(self.trades, self.folded, strict=True)
        await self.store.write_trades([TradeWrite(one, rows, [(at_us, at_us + 1_000_000)], of) for one, of in pairs])

    async def same_trades(self) -> None:
        self.second -= 1
        await self.live_trades()

    async def last_day(self) -> None:
        async with self.store.connection("read") as connection:
            await read_minutes(connection, self.trades[0], (END_US - DAY_US, END_US))

    async def summaries(self) -> None:
        await self.store.summaries(dict.fromkeys(self.candles, (to_us(START), END_US)))

    async def closed(self) -> None:
        await self.store.read_closed([(one, (END_US - 2 * MINUTE_US, END_US)) for one in self.candles[:15]])

    async def sources(self) -> None:
        async with self.store.connection("read") as connection:
            await read_sources(connection, "bench", "T0", Timeframe(1, "minute"))

    async def newest(self) -> None:
        async with self.store.connection("read") as connection:
            await read_newest(connection, [*self.candles, *self.trades])


async def measure(layout: tuple[int, int] | None, name: str) -> dict[str, tuple[float, float]]:
    """Return for every call the milliseconds of the first on a new connection, and of those that follow."""
    os.environ["DB_OHLCV_NAME"] = name
    async with TimeseriesStore.open(pool_max=1) as store:
        pass
    connection = await connect(Target.from_env())
    if layout is not None:
        await partition(connection, "candles", START, DAYS // 28 + 1, timedelta(days=28))
        await partition(connection, "trades", START, layout[0] + 1, timedelta(days=layout[1]))
    await connection.close()
    async with TimeseriesStore.open(pool_max=1) as store:
        filled = Database(store)
        await filled.fill()
    took: dict[str, tuple[float, float]] = {}
    for what in ("live_trades", "same_trades", "last_day", "summaries", "closed", "sources", "newest"):
        async with TimeseriesStore.open(pool_max=1) as store:
            filled.store = store
            async with store.connection("connect"):
                pass
            call: Callable[[], Awaitable[None]] = getattr(filled, what)
            times_ms = []
            for _ in range(CALLS):
                began_s = time.perf_counter()
                await call()
                times_ms.append((time.perf_counter() - began_s) * 1000)
            took[what] = times_ms[0], median(times_ms[1:])
    return took


async def main() -> None:
    maintenance = await connect(Target.from_env().of("postgres"))
    took: dict[str, dict[str, tuple[float, float]]] = {}
    try:
        for number, (label, layout) in enumerate(LAYOUTS.items()):
            name = f"fullon_ohlcv_chunks_{number}"
            await maintenance.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            try:
                took[label] = await measure(layout, name)
            finally:
                await maintenance.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await maintenance.close()
    plain = took["plain"]
    print(f"{'first call, later calls: ms (times plain)':<28}" + "".join(f"{label:>36}" for label in took))
    for what, (first_ms, later_ms) in plain.items():
        cells = [
            f"{first:8.1f} ({first / first_ms:4.1f}) {later:8.1f} ({later / later_ms:4.1f})"
            for first, later in (found[what] for found in took.values())
        ]
        print(f"{what:<28}" + "".join(f"{cell:>36}" for cell in cells), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
