"""REST in place of a stream: closed candles, or the newest trades, each market on a connection of its own.

A poll that fails loses nothing: candles are paged from where the last poll ended, and trades are only vouched for where
two polls overlap. Where they do not, the connection ends and another begins.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError
from fullon_exchange.history import Settle
from fullon_exchange.interface import Listing, Urgency
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Page,
    Rejected,
    Subscribed,
    Trade,
    Trades,
    Unsubscribed,
    Watermark,
)
from fullon_exchange.timeframes import SECOND_US, Timeframe, parse_timeframe
from fullon_exchange.wire import Key
from fullon_log import get_component_logger

_TRADES_EVERY_S = 10.0
_AFTER_CLOSE_US = 4 * SECOND_US
"""How long after it has settled a candle is asked for: whoever waits for it gives it a grace of its own."""
_AGAIN_S = 5.0
_REAL_MIN_S = 0.05
_SEEN_MAX = 2000


class PolledExchange(Protocol):
    """What is asked of an exchange that is polled."""

    async def fetch_time(self) -> int:
        """Return the exchange's own clock, in microseconds."""

    async def fetch_listing(self, symbol: str) -> Listing:
        """Return one market."""

    def fetch_candles(
        self, symbol: str, timeframe: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Candle]]:
        """Yield closed candles page by page."""

    async def fetch_newest_trades(self, symbol: str) -> list[Trade]:
        """Return the newest trades, oldest first."""


@dataclass
class _Polled:
    """One market's channel and how far it has been told."""

    key: Key
    connection: str = ""
    """Its name; empty until the first poll has begun it."""
    position_us: int = 0
    due_us: int = 0
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=_SEEN_MAX))


class Poller:
    """Asks for every wanted market in turn, as the rate budget allows."""

    def __init__(
        self, exchange: PolledExchange, buffer: EventBuffer, clock: Clock, settle: Settle, names: Iterator[str]
    ) -> None:
        self.wanted: dict[Key, _Polled] = {}
        self._exchange = exchange
        self._buffer = buffer
        self._clock = clock
        self._settle = settle
        self._names = names
        self._changed = asyncio.Event()
        self._log = get_component_logger("fullon.exchange.polling")

    def add(self, key: Key) -> None:
        """Poll `key` from now on."""
        self.wanted[key] = _Polled(key)
        self._changed.set()

    def drop(self, key: Key) -> None:
        """Stop polling `key`."""
        polled = self.wanted.pop(key)
        channel, symbol = key
        self._buffer.put(Unsubscribed(polled.connection, symbol, channel, self._clock.now_us()))

    def reconnect(self, connection: str, reason: str) -> bool:
        """Begin anew with the market of `connection`; False where there is none."""
        for polled in self.wanted.values():
            if polled.connection and polled.connection == connection:
                self._end(polled, reason)
                polled.due_us = 0
                self._changed.set()
                return True
        return False

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            self._changed.clear()
            for polled in sorted(self.wanted.values(), key=lambda one: one.due_us):
                if self._clock.now_us() >= polled.due_us and self.wanted.get(polled.key) is polled:
                    await self._poll_safely(polled)
            await self._wait()

    async def _wait(self) -> None:
        """Wait until something is due, or something else is wanted."""
        due_us = min((polled.due_us for polled in self.wanted.values()), default=None)
        left_s = None
        if due_us is not None:
            left_s = max(_REAL_MIN_S, (due_us - self._clock.now_us()) / 1_000_000 / self._clock.speed)
        try:
            async with asyncio.timeout(left_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _poll_safely(self, polled: _Polled) -> None:
        channel, symbol = polled.key
        try:
            if channel == "trades":
                await self._poll_trades(polled)
            else:
                await self._poll_candles(polled, parse_timeframe(channel.removeprefix("candles")))
        except ExchangeError as error:
            if not error.retryable:
                self.wanted.pop(polled.key, None)
                self._end(polled, str(error))
                self._buffer.put(Rejected(symbol, channel, str(error)))
                return
            self._log.info("poll failed, trying again", symbol=symbol, channel=channel, error=str(error))
            polled.due_us = self._clock.now_us() + round(max(_AGAIN_S, _AGAIN_S * self._clock.speed) * 1_000_000)

    def _begin(self, polled: _Polled, since_us: int) -> None:
        channel, symbol = polled.key
        polled.connection, polled.position_us = next(self._names), since_us
        self._buffer.put(Subscribed(polled.connection, symbol, channel, since_us))

    def _end(self, polled: _Polled, reason: str) -> None:
        if polled.connection:
            self._buffer.put(Disconnected(polled.connection, self._clock.now_us(), reason))
        polled.connection = ""
        polled.seen.clear()

    def _wanted_still(self, polled: _Polled) -> bool:
        return self.wanted.get(polled.key) is polled

    async def _poll_candles(self, polled: _Polled, timeframe: Timeframe) -> None:
        """Tell the candles that have closed and settled since the last poll."""
        _, symbol = polled.key
        settled_us = self._settle.until_us(self._clock)
        closed_us = timeframe.floor_us(settled_us)
        if not polled.connection:
            self._begin(polled, closed_us)
        if polled.position_us < closed_us:
            pages = self._exchange.fetch_candles(
                symbol, timeframe.name, polled.position_us, closed_us, urgency=Urgency.LIVE
            )
            async for page in pages:
                if not self._wanted_still(polled):
                    return
                if page.unavailable:
                    self._end(polled, page.unavailable[0][1])
                    self._begin(polled, page.interval[0])
                if page.records:
                    self._buffer.put(Candles(polled.connection, list(page.records), self._clock.now_us()))
                polled.position_us = page.interval[1]
        if polled.position_us < closed_us:
            polled.due_us = self._clock.now_us() + round(_AGAIN_S * 1_000_000)
            return
        self._buffer.put(Watermark(polled.connection, settled_us))
        unsettled_us = self._clock.now_us() - settled_us
        polled.due_us = timeframe.next_us(closed_us) + unsettled_us + _AFTER_CLOSE_US

    async def _poll_trades(self, polled: _Polled) -> None:
        """Tell the trades that are new since the last poll, and vouch for the time between if the two overlap."""
        _, symbol = polled.key
        settled_us = self._settle.until_us(self._clock)
        newest = await self._exchange.fetch_newest_trades(symbol)
        if not self._wanted_still(polled):
            return
        known = set(polled.seen)
        fresh = [trade for trade in newest if trade.trade_id not in known]
        if polled.connection and len(fresh) == len(newest) and newest:
            self._end(polled, "more trades than one poll tells")
        overlaps = bool(polled.connection)
        if not overlaps:
            self._begin(polled, settled_us)
        polled.seen.extend(trade.trade_id for trade in fresh)
        told = [trade for trade in fresh if trade.timestamp_us >= polled.position_us]
        if told:
            self._buffer.put(Trades(polled.connection, told, self._clock.now_us()))
        if overlaps:
            self._buffer.put(Watermark(polled.connection, settled_us))
        polled.due_us = self._clock.now_us() + round(_TRADES_EVERY_S * 1_000_000)
