"""Rows into the tables of the store by asyncpg's COPY alone: the bare limit of everything that stores."""

from collections.abc import Iterator

import uvloop
from measuring import Stopwatch, Timed
from stores import connect, utc

from fullon_ohlcv.store import TimeseriesStore

FIRST_US = 1_760_000_000 * 1_000_000
CANDLE_COLUMNS = ("series_id", "timestamp", "open", "high", "low", "close", "volume", "trades")
TRADE_COLUMNS = ("series_id", "timestamp", "price", "volume", "occurrence", "side", "order_type", "trade_id")

Row = tuple[object, ...]


def copy_trades(series: int, rows: int, batch: int, step_us: int) -> Timed:
    """Copy so many trades of each series, the series in turns, `batch` rows a transaction."""
    return uvloop.run(_copy("trades", TRADE_COLUMNS, _batches(_trades(rows, step_us), series, batch)))


def copy_candles(series: int, rows: int, batch: int) -> Timed:
    """Copy so many candles of each series, the series in turns, `batch` rows a transaction."""
    return uvloop.run(_copy("candles", CANDLE_COLUMNS, _batches(_candles(rows), series, batch)))


def copy_minutes(series: int, minutes: int) -> Timed:
    """Copy one minute after the other of so many series, each minute a transaction."""
    candles = _candles(minutes)
    batches = [[(series_id, *candle) for series_id in range(series)] for candle in candles]
    return uvloop.run(_copy("candles", CANDLE_COLUMNS, iter(batches)))


def _trades(rows: int, step_us: int) -> list[Row]:
    return [(utc(FIRST_US + at * step_us), 100.25, 0.5, 0, "buy", "market", str(at)) for at in range(rows)]


def _candles(rows: int) -> list[Row]:
    return [(utc(FIRST_US + at * 60_000_000), 100.5, 102.0, 99.25, 101.0, at / 8, 7) for at in range(rows)]


def _batches(rows: list[Row], series: int, batch: int) -> Iterator[list[Row]]:
    for at in range(0, len(rows), batch):
        for series_id in range(series):
            yield [(series_id, *row) for row in rows[at : at + batch]]


async def _copy(table: str, columns: tuple[str, ...], batches: Iterator[list[Row]]) -> Timed:
    ready = list(batches)
    async with TimeseriesStore.open():
        connection = await connect()
    watch = Stopwatch()
    for rows in ready:
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    cpu_s, wall_s = watch.read()
    await connection.close()
    return Timed(sum(map(len, ready)), cpu_s, wall_s)
