"""Somebody who waits for the rows of a minute."""

import asyncio
import time
from typing import TYPE_CHECKING

import uvloop
from stores import connect, utc
from venue_rest import MINUTE_US, ExchangeClock, VenueName

from fullon_ohlcv.store import TimeseriesStore

if TYPE_CHECKING:
    import asyncpg

_POLL_S = 0.005
_PATIENCE_S = 12.0
_MINUTES_MAX = 6
_READY: dict[VenueName, str] = {
    "kraken": "SELECT count(*) FROM series WHERE channel = 'candles1m'",
    # Its first candles are compared with REST before they are stored.
    "binance": "SELECT count(DISTINCT series_id) FROM candles",
}
"""How many symbols are collected as they will be from now on."""


def watch_rows(venue: VenueName, number: int, minute_end_us: int, minutes: int) -> list[float]:
    """Ask for the rows of so many minutes, one after the other, until all are there.

    Returns how long after the end of its minute each row was there. The first minute is the first one that ends, not
    before `minute_end_us`, with everything subscribed and compared.
    """
    return uvloop.run(_watch_rows(venue, number, minute_end_us, minutes))


async def _watch_rows(venue: VenueName, number: int, minute_end_us: int, minutes: int) -> list[float]:
    clock = ExchangeClock()
    async with TimeseriesStore.open():
        connection = await connect()
    delays_s: list[float] = []
    for end_us in range(minute_end_us, minute_end_us + _MINUTES_MAX * MINUTE_US, MINUTE_US):
        await clock.sleep_until(end_us)
        if delays_s or await connection.fetchval(_READY[venue]) >= number:
            delays_s += await _watch_minute(connection, end_us)
        if len(delays_s) >= minutes * number:
            await connection.close()
            return delays_s
    raise RuntimeError(f"{number} symbols were not collected within {_MINUTES_MAX - minutes} minutes")


async def _watch_minute(connection: "asyncpg.Connection[asyncpg.Record]", end_us: int) -> list[float]:
    """Ask for the rows of the minute that ends now until all are there; return how long each took."""
    ended_s = time.time()
    series = await connection.fetch("SELECT series_id FROM series WHERE channel = 'candles1m'")
    missing = {row["series_id"] for row in series}
    number = len(missing)
    opened_at = utc(end_us - MINUTE_US)
    readable = await connection.prepare("SELECT series_id FROM candles WHERE timestamp = $1 AND series_id = ANY($2)")
    delays_s: list[float] = []
    while missing:
        found = await readable.fetch(opened_at, list(missing))
        now_s = time.time()
        delays_s += [now_s - ended_s] * len(found)
        missing -= {row["series_id"] for row in found}
        if now_s > ended_s + _PATIENCE_S:
            raise RuntimeError(f"{len(missing)} of {number} candles are not there {_PATIENCE_S:.0f} s after the minute")
        await asyncio.sleep(_POLL_S)
    return delays_s
