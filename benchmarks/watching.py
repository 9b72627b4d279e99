"""Somebody who waits for the rows of a minute."""

import asyncio
import time

import uvloop
from stores import connect, utc
from venue_rest import MINUTE_US, ExchangeClock, VenueName

from fullon_ohlcv.store import TimeseriesStore

_POLL_S = 0.005
_PATIENCE_S = 12.0


def watch_rows(venue: VenueName, number: int, minute_end_us: int) -> list[float] | None:
    """Ask for the rows of the minute until all are there; return how long after its end each was.

    None where not everything was subscribed when the minute ended.
    """
    return uvloop.run(_watch_rows(venue, number, minute_end_us))


async def _watch_rows(venue: VenueName, number: int, minute_end_us: int) -> list[float] | None:
    clock = ExchangeClock()
    async with TimeseriesStore.open():
        connection = await connect()
    await clock.sleep_until(minute_end_us)
    ended_s = time.time()
    rows = await connection.fetch("SELECT series_id FROM series WHERE exchange = $1 AND channel = 'candles1m'", venue)
    missing = {row["series_id"] for row in rows}
    if len(missing) < number:
        return None
    opened_at = utc(minute_end_us - MINUTE_US)
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
    await connection.close()
    return delays_s
