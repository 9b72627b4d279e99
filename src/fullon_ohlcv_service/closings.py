"""Telling of minutes that have closed: read back once they are committed, and published in Redis.

Collecting only leaves a note here. What is told comes from the database, so that a message never says more than
can be read there; Redis may be away for as long as it likes.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from fullon_cache import CacheError, ClosedCandle, ClosedCandles
from fullon_exchange.clock import MINUTE_US, Clock
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.intervals import union
from fullon_ohlcv.records import ClosedMinute, Interval, Series
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import from_us

PENDING_MAX = 100_000
"""Minutes that wait to be told; beyond it all are dropped, for a listener cannot use them any more."""
READ_MAX = 5_000
"""Minutes read back and published at a time."""
RETRY_S = 1.0


class Closings:
    """Publishes every newly covered live minute once and in order, traded or verified empty."""

    def __init__(self, clock: Clock, store: TimeseriesStore, cache: ClosedCandles) -> None:
        self._clock = clock
        self._store = store
        self._cache = cache
        self._log = get_component_logger("fullon.ohlcv.closed")
        self._told_until_us: dict[Series, int] = {}
        self._pending: dict[Series, list[Interval]] = {}
        self._pending_minutes = 0
        self._noted = asyncio.Event()
        self._is_running = False
        self._said = ""
        self.told = 0
        """Messages published."""
        self.dropped = 0
        """Minutes that were not told, since Redis or the database was away for too long."""

    def note(self, committed: Mapping[Series, Sequence[Interval]]) -> None:
        """Remember what live has just covered of each series of 1m candles, whole minutes; never waits.

        Does nothing unless `run()` is running.
        """
        if not self._is_running:
            return
        for series, covered in committed.items():
            told_us = self._told_until_us.get(series, 0)
            new = [(max(start_us, told_us), end_us) for start_us, end_us in union(covered) if end_us > told_us]
            if not new:
                continue
            self._told_until_us[series] = new[-1][1]
            self._pending.setdefault(series, []).extend(new)
            self._pending_minutes += sum(end_us - start_us for start_us, end_us in new) // MINUTE_US
        if self._pending_minutes > PENDING_MAX:
            self._drop(f"more than {PENDING_MAX} minutes wait")
        if self._pending:
            self._noted.set()

    async def run(self) -> None:
        """Publish until cancelled; a Redis that is away is said once."""
        self._is_running = True
        try:
            while True:
                await self._noted.wait()
                self._noted.clear()
                taken, self._pending, self._pending_minutes = self._pending, {}, 0
                wanted = [(series, interval) for series, intervals in taken.items() for interval in intervals]
                for minutes in _portions(wanted):
                    await self._publish(minutes)
        finally:
            self._is_running = False

    async def _publish(self, wanted: Sequence[tuple[Series, Interval]]) -> None:
        minutes = await self._read(wanted)
        closed_at = from_us(self._clock.now_us())
        try:
            await self._cache.publish([_message(minute, closed_at) for minute in minutes])
        except CacheError as error:
            # Whoever listened has lost the connection too, and reads the database.
            self.dropped += len(minutes)
            if str(error) != self._said:
                self._said = str(error)
                self._log.warning("closed candles are not told for now; they are stored", why=self._said)
        else:
            self.told += len(minutes)
            if self._said:
                self._said = ""
                self._log.info("closed candles are told again", not_told=self.dropped)

    async def _read(self, wanted: Sequence[tuple[Series, Interval]]) -> list[ClosedMinute]:
        while True:
            try:
                return await self._store.read_closed(wanted)
            except TransientStorageError as error:
                await asyncio.sleep(max(RETRY_S, error.retry_after_s or 0))

    def _drop(self, why: str) -> None:
        self.dropped += self._pending_minutes
        self._log.warning("closed candles not told", why=why, minutes=self._pending_minutes)
        self._pending.clear()
        self._pending_minutes = 0


def _portions(wanted: Sequence[tuple[Series, Interval]]) -> Iterator[list[tuple[Series, Interval]]]:
    portion: list[tuple[Series, Interval]] = []
    minutes = 0
    for series, (start_us, end_us) in wanted:
        portion.append((series, (start_us, end_us)))
        minutes += (end_us - start_us) // MINUTE_US
        if minutes >= READ_MAX:
            yield portion
            portion, minutes = [], 0
    if portion:
        yield portion


def _message(minute: ClosedMinute, closed_at: datetime) -> ClosedCandle:
    timestamp_us, *prices, volume, trades = minute.candle or (minute.timestamp_us, None, None, None, None, 0.0, 0)
    return ClosedCandle(
        exchange=minute.series.exchange,
        symbol=minute.series.symbol,
        timestamp=from_us(timestamp_us),
        state="traded" if minute.candle else "verified_empty",
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume,
        trades=trades,
        closed_at=closed_at,
    )
