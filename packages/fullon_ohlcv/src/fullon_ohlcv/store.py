"""The store: rows and the ledger of what they account for, in one PostgreSQL database."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fullon_ohlcv.batches import CandleBatch, TradeBatch
from fullon_ohlcv.connection import (
    CONNECT_TIMEOUT_S,
    Target,
    connect,
    create_pool,
    ensure_database,
    translated,
)
from fullon_ohlcv.intervals import checked
from fullon_ohlcv.records import CandleWrite, Interval, Series, TradeWrite, WriteResult
from fullon_ohlcv.schema import migrate
from fullon_ohlcv.statements import statement
from fullon_ohlcv.timeframe import timeframe_of_channel
from fullon_ohlcv.writing import store_candles, store_trades

if TYPE_CHECKING:
    from asyncpg import Pool, Record
    from asyncpg.pool import PoolConnectionProxy

NAME_BYTES_MAX = 500


def system_now_us() -> int:
    """Return the system's time in microseconds since the epoch."""
    return time.time_ns() // 1000


class TimeseriesStore:
    """Candles, trades and their coverage; `async with TimeseriesStore.open() as store`.

    Any number of tasks may use one store at once; a call waits for one of its connections. Every method raises
    `StorageUnavailable` (retryable) when the server cannot answer; a write that raised, or was cancelled, has either
    stored everything it was given or nothing.
    """

    def __init__(self, target: Target, pool: "Pool[Record]", now_us: Callable[[], int]) -> None:
        self.target = target
        self._pool = pool
        self._now_us = now_us
        self._series: dict[tuple[str, str, str], Series] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, test: bool = False, pool_max: int = 8, now_us: Callable[[], int] = system_now_us
    ) -> "AsyncIterator[TimeseriesStore]":
        """Connect to the database that the environment names; create it and its schema where missing.

        `test` takes `DB_TEST_NAME` instead of `DB_OHLCV_NAME`. Rows may not lie more than a day beyond `now_us`.

        Raises:
            StorageUnavailable: the server cannot be reached; may be tried again.
            StorageMisconfigured: it refuses us, or the environment names no server.
            SchemaMismatch: the database is newer than this code, or something else's.
        """
        target = Target.from_env(test=test)
        if pool_max < 1:
            raise ValueError(f"pool_max is {pool_max}; allowed is from 1")
        with translated(target, "open the time series"):
            await ensure_database(target)
            connection = await connect(target)
            try:
                await migrate(connection)
            finally:
                await connection.close(timeout=CONNECT_TIMEOUT_S)
            pool = await create_pool(target, pool_max)
        try:
            yield cls(target, pool, now_us)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def connection(self, action: str) -> "AsyncIterator[PoolConnectionProxy[Record]]":
        """Lend a connection; what goes wrong with it is said as `cannot <action>: …`."""
        with translated(self.target, action):
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection

    async def series(self, exchange: str, symbol: str, channel: str) -> Series:
        """Return the series, created where it is new. Channels: `trades`, `candles1m`, `candles1h` …

        Raises:
            ValueError: a name that is empty, too long or not text, or an unknown channel.
        """
        key = (exchange, symbol, channel)
        known = self._series.get(key)
        if known is not None:
            return known
        for name, value in (("exchange", exchange), ("symbol", symbol)):
            _check_name(name, value)
        timeframe_of_channel(channel)
        async with self.connection("name a series") as connection:
            series_id = await connection.fetchval(statement("find_series"), *key)
            if series_id is None:
                await connection.execute(statement("create_series"), *key)
                series_id = await connection.fetchval(statement("find_series"), *key)
        return self._series.setdefault(key, Series(series_id, *key))

    async def write_candles(self, writes: Sequence[CandleWrite]) -> WriteResult:
        """Store candles and their coverage, all writes in one transaction.

        Each row is checked on its own: a bad one is reported in `rejected` and its bucket is not covered. A stored
        candle with other values is replaced.

        Raises:
            ValueError: an interval, a reason or a channel that cannot be meant; nothing is stored.
            RowsLost: the server stored less than it was given; nothing is stored.
        """
        batch = CandleBatch.of(writes, self._now_us())
        if not batch.series:
            return WriteResult()
        async with self.connection("write candles") as connection, connection.transaction():
            return await store_candles(connection, batch)

    async def write_trades(self, writes: Sequence[TradeWrite]) -> WriteResult:
        """Store trades, the candles derived from them and the coverage of both, all writes in one transaction.

        Each row is checked on its own: a bad one is reported in `rejected` and its minute is not covered. A trade
        that is stored already stays as it is.

        Raises:
            ValueError: an interval, a reason or a channel that cannot be meant; nothing is stored.
            RowsLost: the server stored less than it was given; nothing is stored.
        """
        batch = TradeBatch.of(writes, self._now_us())
        if not batch.series:
            return WriteResult()
        async with self.connection("write trades") as connection, connection.transaction():
            return await store_trades(connection, batch)

    async def gaps(self, wanted: Mapping[Series, Interval]) -> dict[Series, list[Interval]]:
        """Return wanted − covered − unavailable of every series, oldest first; [] where nothing is missing."""
        by_id = {series.series_id: series for series in wanted}
        asked = [(series.series_id, *span) for series, given in wanted.items() for span in checked([given])]
        gaps: dict[Series, list[Interval]] = {series: [] for series in wanted}
        if not asked:
            return gaps
        async with self.connection("list gaps") as connection:
            rows = await connection.fetch(
                statement("gaps"), *(list(column) for column in zip(*asked, strict=True))
            )
        for series_id, start_us, end_us in rows:
            gaps[by_id[series_id]].append((start_us, end_us))
        return gaps


def _check_name(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; allowed is text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= NAME_BYTES_MAX or "\0" in value:
        raise ValueError(f"{name} is {value[:80]!r}; allowed is text of 1 to {NAME_BYTES_MAX} bytes")
