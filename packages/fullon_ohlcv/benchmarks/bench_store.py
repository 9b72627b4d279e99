"""What the store can take: rows per second written and read, and what the ledger costs.

Needs a PostgreSQL named by DB_HOST and friends; makes and drops the database `fullon_ohlcv_bench`.

    python benchmarks/bench_store.py
"""

# ruff: noqa: S101, S311 - chance makes test data, an assertion guards the measurement

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from fullon_ohlcv.batches import CandleBatch, TradeBatch
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.copy_format import CANDLE_COLUMNS, candle_bytes
from fullon_ohlcv.reading import Window, read_candles, read_sources
from fullon_ohlcv.records import CandleRow, CandleWrite, TradeRow, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, Timeframe, from_us, to_us
from fullon_ohlcv.writing import _copy

DATABASE = "fullon_ohlcv_bench"
START_US = to_us(datetime(2025, 1, 1, tzinfo=UTC))
YEAR_MINUTES = 525_600


@contextmanager
def measured(what: str, count: int, unit: str = "rows") -> Iterator[None]:
    started = time.perf_counter()
    yield
    took = time.perf_counter() - started
    print(f"{what:<78} {took * 1000:9.1f} ms {count / took:12,.0f} {unit}/s", flush=True)


def candles(first: int, count: int) -> list[CandleRow]:
    chance = random.Random(first)
    return [
        (START_US + minute * MINUTE_US, 100.0, 101.5, 99.25, 100.5, round(chance.uniform(0.001, 9), 8), 7)
        for minute in range(first, first + count)
    ]


def trades(first: int, count: int, step_us: int) -> list[TradeRow]:
    chance = random.Random(first)
    return [
        (
            START_US + number * step_us,
            round(chance.uniform(90, 110), 2),
            round(chance.uniform(0.001, 9), 8),
            "buy",
            "market",
            str(number),
        )
        for number in range(first, first + count)
    ]


async def main() -> None:
    os.environ["DB_OHLCV_NAME"] = DATABASE
    maintenance = await connect(Target.from_env().of("postgres"))
    await maintenance.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    try:
        async with TimeseriesStore.open() as store:
            await writing(store)
            await ledger(store)
            await reading(store)
    finally:
        await maintenance.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await maintenance.close()


async def writing(store: TimeseriesStore) -> None:
    year = await store.series("bench", "YEAR", "candles1m")
    rows = candles(0, YEAR_MINUTES)
    chunk = 10_000
    with measured("check and encode candles, 10k", chunk):
        CandleBatch.of([CandleWrite(year, rows[:chunk])], store._now_us())
    with measured("write 1 year of 1m candles, 10k a call, fresh", len(rows)):
        for first in range(0, len(rows), chunk):
            part = rows[first : first + chunk]
            await store.write_candles([CandleWrite(year, part, [(part[0][0], part[-1][0] + MINUTE_US)])])
    part = rows[:100_000]
    with measured("write 100k candles again, 10k a call, all known", len(part)):
        for first in range(0, len(part), chunk):
            await store.write_candles([CandleWrite(year, part[first : first + chunk])])
    changed = [(*row[:5], row[5] + 1, row[6]) for row in part]
    with measured("write 100k candles again, 10k a call, all changed", len(part)):
        for first in range(0, len(part), chunk):
            await store.write_candles([CandleWrite(year, changed[first : first + chunk])])
    await compare_encoders(store, rows[:100_000])
    live = [await store.series("bench", f"LIVE{number}", "candles1m") for number in range(2_000)]
    for minute in range(4):
        row = candles(minute, 1)[0]
        span = (row[0], row[0] + MINUTE_US)
        with measured(f"close minute {minute} of 2,000 series: rows and coverage, one call", len(live)):
            await store.write_candles([CandleWrite(series, [row], [span]) for series in live])
    taped = await store.series("bench", "TAPE", "trades")
    folded = await store.series("bench", "TAPE", "candles1m")
    tape = trades(0, 200_000, 100_000)
    with measured("check and encode trades, 10k", chunk):
        TradeBatch.of([TradeWrite(taped, tape[:chunk])], store._now_us())
    with measured("write 200k trades (10 a second), 10k a call, derive candles, fresh", len(tape)):
        for first in range(0, len(tape), chunk):
            part_ = tape[first : first + chunk]
            span = (part_[0][0], part_[-1][0] + 100_000)
            await store.write_trades([TradeWrite(taped, part_, [span], folded)])
    with measured("write 100k trades again, 10k a call, all known", 100_000):
        for first in range(0, 100_000, chunk):
            await store.write_trades([TradeWrite(taped, tape[first : first + chunk], (), folded)])
    busy = [await store.series("bench", f"BUSY{number}", "trades") for number in range(500)]
    made = [await store.series("bench", f"BUSY{number}", "candles1m") for number in range(500)]
    for second in range(62):
        span = (START_US + second * 1_000_000, START_US + (second + 1) * 1_000_000)
        batch = trades(second * 4, 4, 250_000)
        writes = [TradeWrite(series, batch, [span], candle) for series, candle in zip(busy, made, strict=True)]
        if second in (1, 30, 59, 60):
            with measured(f"live second {second}: 4 trades of each of 500 symbols, derived", 2_000):
                await store.write_trades(writes)
        else:
            await store.write_trades(writes)


async def compare_encoders(store: TimeseriesStore, rows: list[CandleRow]) -> None:
    """COPY of the same fresh rows, encoded here and by asyncpg, from integer microseconds both."""
    async with store.connection("compare") as connection:
        for _ in range(3):
            transaction = connection.transaction()
            await transaction.start()
            with measured("COPY 100k candles, encoded here", len(rows)):
                await _copy(connection, "candles", CANDLE_COLUMNS, [candle_bytes(900_000, row) for row in rows])
            with measured("COPY 100k candles, encoded by asyncpg", len(rows)):
                records = [(900_001, from_us(row[0]), *row[1:]) for row in rows]
                await connection.copy_records_to_table("candles", records=records, columns=list(CANDLE_COLUMNS))
            await transaction.rollback()


async def ledger(store: TimeseriesStore) -> None:
    live = [await store.series("bench", f"LIVE{number}", "candles1m") for number in range(2_000)]
    month = (START_US - 30 * 1440 * MINUTE_US, START_US + 10 * MINUTE_US)
    for _ in range(2):
        with measured("gaps of 2,000 series", len(live), "series"):
            await store.gaps(dict.fromkeys(live, month))
    with measured("summaries of 2,000 series", len(live), "series"):
        await store.summaries(dict.fromkeys(live, month))
    with measured("coverage maps of 2,000 series", len(live), "series"):
        await store.coverage_maps(dict.fromkeys(live, month))
    year = await store.series("bench", "YEAR", "candles1m")
    taped = await store.series("bench", "TAPE", "trades")
    with measured("classify 30 days of candles", 43_200, "minutes"):
        await store.classify(year, (START_US, START_US + 43_200 * MINUTE_US))
    with measured("classify 30 days of trades", 43_200, "minutes"):
        await store.classify(taped, (START_US, START_US + 43_200 * MINUTE_US))
    torn = await store.series("bench", "TORN", "candles1m")
    holes = [(START_US + 2 * n * MINUTE_US, START_US + (2 * n + 1) * MINUTE_US) for n in range(5_000)]
    await store.write_candles([CandleWrite(torn, [], holes)])
    for _ in range(2):
        with measured("cover one more minute of a series of 5,000 fragments", 1, "calls"):
            end_us = START_US + 20_000 * MINUTE_US
            await store.write_candles([CandleWrite(torn, [], [(end_us, end_us + MINUTE_US)])])


async def reading(store: TimeseriesStore) -> None:
    minute = Timeframe(1, "minute")
    year = (START_US, START_US + YEAR_MINUTES * MINUTE_US)
    async with store.connection("read") as connection:
        await connection.execute("ANALYZE candles")
        series = await store.series("bench", "YEAR", "candles1m")
        query = "SELECT timestamp, open, high, low, close, volume FROM candles WHERE series_id = $1 ORDER BY timestamp"
        for _ in range(2):
            with measured("for comparison: asyncpg's own fetch of a year of 1m candles", YEAR_MINUTES):
                await connection.fetch(query, series.series_id)
        for _ in range(2):
            with measured("read a year of 1m candles as tuples", YEAR_MINUTES):
                sources = await read_sources(connection, "bench", "YEAR", minute)
                rows = await read_candles(connection, sources, Window(minute, *year))
        assert len(rows) == YEAR_MINUTES
        for count, unit in ((5, "minute"), (1, "hour"), (1, "day"), (1, "week"), (1, "month")):
            wanted = Timeframe(count, unit)
            with measured(f"roll a year of 1m candles up to {wanted}", YEAR_MINUTES):
                await read_candles(connection, sources, Window(wanted, *year))


if __name__ == "__main__":
    asyncio.run(main())
