"""One venue's live data: sockets that reconnect for ever, and their events in order.

    NativeSession ── slots: up to `streams_max` subscriptions each, one task each
                       └─ Connection: one socket after the other, each with its own name
    EventBuffer ←── every connection; one reader takes from it

A slot owns its subscriptions, a connection carries them for as long as it lasts. So a slot opens a second connection
before it closes one that the venue will cut (`slot.py`).
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Self
from urllib.parse import urlsplit

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import shared_budget
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError, UnknownSymbol, VenueClosed
from fullon_exchange.interface import Listing, VenueTraits
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.connection import Connection
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.live.slot import Slot, Sockets
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Channel, Event, Rejected, Unsubscribed
from fullon_exchange.venue import Venue
from fullon_exchange.wire import Key
from fullon_log import get_component_logger

_RECORDS_MAX = 100_000
_TIME_EVERY_S = 600.0
_SOCKETS_MAX = 1000
"""Sockets of a session where the venue names no limit."""
_CHANGES_MAX = 2
"""Connections of a session that are replaced at once: meanwhile everything they carry comes twice."""


class NativeSession:
    """Live data of one venue, as `fullon_exchange.interface.LiveSession`.

    Enter it and leave it in the same task; let one task read `events`.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        url: str,
        clock: Clock,
        server_time: ServerTime,
        fetch_time: Callable[[], Awaitable[int]],
        fetch_listing: Callable[[str], Awaitable[Listing]],
        age_s: float | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        records_max: int = _RECORDS_MAX,
    ) -> None:
        """Build one; `age_s` is how old a connection may grow, in the venue's seconds, where it may not grow older."""
        self._venue = venue
        self._clock = clock
        self._fetch_time = fetch_time
        self._fetch_listing = fetch_listing
        self._backoff = backoff
        self._faults = Faults(venue.name)
        self._buffer = EventBuffer(records_max, pause=self._pause, resume=self._resume)
        limits = venue.sockets
        age_s = min((age for age in (age_s, limits.age_max_s) if age is not None), default=None)
        self._sockets = Sockets(
            venue,
            Surroundings(venue.name, url, clock, limits, server_time, self._buffer, self._faults, age_s),
            (f"{venue.name}-{secrets.token_hex(4)}-{number}" for number in itertools.count(1)),
            backoff,
            shared_budget(f"{venue.name} sockets", urlsplit(url).netloc, limits.connects, speed=clock.speed),
            places=asyncio.Semaphore(limits.sockets_max or _SOCKETS_MAX),
            changes=asyncio.Semaphore(_CHANGES_MAX),
        )
        self._slots: list[Slot] = []
        self._unassigned: dict[Key, None] = {}
        self._wants_changed = asyncio.Event()
        self._time_tried = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_component_logger(f"fullon.exchange.{venue.name}.live")

    @property
    def counters(self) -> Mapping[str, int]:
        """What has been counted: faults by kind (see `Faults`), `connections`, `disconnects`, `replaced`."""
        return self._faults.counts

    @property
    def buffered(self) -> int:
        """How many records wait to be taken; the gauge of the event buffer."""
        return self._buffer.records

    @property
    def buffer_max(self) -> int:
        """With how many of them the sockets are told to stop reading."""
        return self._buffer.records_max

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._start(self._assign_for_ever())
        self._start(self._keep_time())
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        cancelled = next((error for error in exc if isinstance(error, asyncio.CancelledError)), None)
        try:
            await self._group.__aexit__(type(cancelled) if cancelled else None, cancelled, None)
        finally:
            self._buffer.close()

    async def subscribe(self, channel: Channel, symbols: Collection[str]) -> None:
        """Want these symbols from now on, across reconnects; `Subscribed` or `Rejected` follows for each."""
        for symbol in symbols:
            key: Key = (channel, symbol)
            if not _is_streamed(channel, self._venue.traits):
                self._buffer.put(Rejected(symbol, channel, f"{self._venue.name} does not stream {channel}"))
            elif self._slot_of(key) is None:
                self._unassigned[key] = None
        self._wants_changed.set()

    async def unsubscribe(self, channel: Channel, symbols: Collection[str]) -> None:
        """Stop wanting these symbols; `Unsubscribed` follows once the venue no longer sends them."""
        for symbol in symbols:
            key: Key = (channel, symbol)
            slot = self._slot_of(key)
            if slot is not None:
                slot.drop(key)
            elif key in self._unassigned:
                del self._unassigned[key]
                self._buffer.put(Unsubscribed("", symbol, channel, self._clock.now_us()))

    def reconnect(self, connection: str, reason: str) -> bool:
        """Give up a connection that the caller no longer trusts; False where it is gone already."""
        for one in self._connections():
            if one.name == connection:
                one.end(reason)
                return True
        return False

    async def events(self) -> AsyncIterator[list[Event]]:
        """Yield everything that has arrived, in order, until the session is closed."""
        while batch := await self._buffer.take():
            yield batch

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _slot_of(self, key: Key) -> Slot | None:
        return next((slot for slot in self._slots if key in slot.wanted), None)

    def _connections(self) -> list[Connection]:
        return [connection for slot in self._slots for connection in slot.connections]

    def _pause(self) -> None:
        for connection in self._connections():
            connection.pause()

    def _resume(self) -> None:
        for connection in self._connections():
            connection.resume()

    async def _assign_for_ever(self) -> None:
        """Look up what is newly wanted and give it to a slot with room."""
        backoff = self._backoff()
        while True:
            self._wants_changed.clear()
            try:
                for key in list(self._unassigned):
                    await self._assign(key)
                backoff.reset()
            except ExchangeError as error:
                self._log.warning("markets cannot be looked up, trying again", error=str(error))
                await asyncio.sleep(backoff.next_s())
                continue
            await self._wants_changed.wait()

    async def _assign(self, key: Key) -> None:
        channel, symbol = key
        try:
            name = (await self._fetch_listing(symbol)).wire["ws"]
        except (UnknownSymbol, VenueClosed) as error:
            if self._unassigned.pop(key, self) is not self:
                self._buffer.put(Rejected(symbol, channel, str(error)))
            return
        if self._unassigned.pop(key, self) is self:
            return
        slot = next((slot for slot in self._slots if slot.has_room), None)
        sockets_max = self._venue.sockets.sockets_max
        if slot is None and sockets_max is not None and len(self._slots) >= sockets_max:
            streams = sockets_max * self._venue.sockets.streams_max
            self._buffer.put(Rejected(symbol, channel, f"{self._venue.name} carries no more than {streams} streams"))
            return
        if slot is None:
            slot = Slot(self._sockets)
            self._slots.append(slot)
            self._start(self._run_slot(slot))
        slot.add(key, name)

    async def _run_slot(self, slot: Slot) -> None:
        await self._time_tried.wait()
        try:
            await slot.run()
        finally:
            self._slots.remove(slot)

    async def _keep_time(self) -> None:
        """Compare clocks where the venue's pongs do not; a venue that does not answer is taken to agree."""
        if self._venue.sockets.pong_tells_time:
            self._time_tried.set()
            return
        while True:
            sent_us, sent_s = self._clock.now_us(), time.monotonic()
            try:
                venue_us = await self._fetch_time()
                received_us = self._clock.now_us()
                self._sockets.around.server_time.observe(venue_us, sent_us=sent_us, received_us=received_us)
            except ExchangeError as error:
                self._log.warning("the exchange's clock cannot be read", error=str(error))
            self._time_tried.set()
            await asyncio.sleep(max(0.0, sent_s + _TIME_EVERY_S - time.monotonic()))


def _is_streamed(channel: Channel, traits: VenueTraits) -> bool:
    if channel == "ticker":
        return traits.ticker
    return channel == "trades" or channel.removeprefix("candles") in traits.timeframes
