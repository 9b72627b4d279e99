"""One venue's live data: sockets that reconnect for ever, and their events in order.

    NativeSession ── slots: up to `streams_max` subscriptions each, one task each
                       └─ Connection: one socket after the other, each with its own name
    EventBuffer ←── every connection; one reader takes from it

A slot owns its subscriptions, a connection carries them for as long as it lasts. So a slot can open a second
connection before it closes the first.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from typing import Self
from urllib.parse import urlsplit

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import RateBudget, shared_budget
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError, TransientExchangeError, UnknownSymbol, VenueClosed
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.connection import Connection
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Channel, Disconnected, Event, Rejected, Unsubscribed
from fullon_exchange.venue import Venue
from fullon_exchange.wire import Key
from fullon_log import get_component_logger

_RECORDS_MAX = 100_000
_TIME_EVERY_S = 600.0
_HOLD_FIRST_S = 30.0
_HOLD_MAX_S = 3600.0


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
        backoff: Callable[[], Backoff] = Backoff,
        records_max: int = _RECORDS_MAX,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._fetch_time = fetch_time
        self._fetch_listing = fetch_listing
        self._backoff = backoff
        self._faults = Faults(venue.name)
        self._buffer = EventBuffer(records_max, pause=self._pause, resume=self._resume)
        self._around = Surroundings(venue.name, url, clock, venue.sockets, server_time, self._buffer, self._faults)
        self._names = (f"{venue.name}-{secrets.token_hex(4)}-{number}" for number in itertools.count(1))
        self._connects = shared_budget(
            f"{venue.name} sockets", urlsplit(url).netloc, venue.sockets.connects, speed=clock.speed
        )
        self._slots: list[_Slot] = []
        self._unassigned: dict[Key, None] = {}
        self._wants_changed = asyncio.Event()
        self._time_tried = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_component_logger(f"fullon.exchange.{venue.name}.live")

    @property
    def counters(self) -> Mapping[str, int]:
        """What has been counted: faults by kind (see `Faults`), `connections`, `disconnects`."""
        return self._faults.counts

    @property
    def buffered(self) -> int:
        """How many records wait to be taken; the gauge of the event buffer."""
        return self._buffer.records

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
        for slot in self._slots:
            if slot.connection is not None and slot.connection.name == connection:
                slot.connection.end(reason)
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

    def _slot_of(self, key: Key) -> "_Slot | None":
        return next((slot for slot in self._slots if key in slot.wanted), None)

    def _pause(self) -> None:
        for slot in self._slots:
            if slot.connection is not None:
                slot.connection.pause()

    def _resume(self) -> None:
        for slot in self._slots:
            if slot.connection is not None:
                slot.connection.resume()

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
            slot = _Slot(self._venue, self._around, self._names, self._backoff(), self._connects)
            self._slots.append(slot)
            self._start(self._run_slot(slot))
        slot.add(key, name)

    async def _run_slot(self, slot: "_Slot") -> None:
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
                self._around.server_time.observe(venue_us, sent_us=sent_us, received_us=received_us)
            except ExchangeError as error:
                self._log.warning("the exchange's clock cannot be read", error=str(error))
            self._time_tried.set()
            await asyncio.sleep(max(0.0, sent_s + _TIME_EVERY_S - time.monotonic()))


def _is_streamed(channel: Channel, traits: VenueTraits) -> bool:
    if channel == "ticker":
        return traits.ticker
    return channel == "trades" or channel.removeprefix("candles") in traits.timeframes


def _hold_s(ended: int) -> float:
    """Return how long after opening a connection to wait before asking for what has ended so many of them."""
    return min(_HOLD_MAX_S, _HOLD_FIRST_S * 2.0 ** min(ended - 2, 10)) if ended > 1 else 0.0


class _Slot:
    """Up to `streams_max` subscriptions and the connection that carries them now."""

    def __init__(
        self, venue: Venue, around: Surroundings, names: Iterator[str], backoff: Backoff, connects: RateBudget
    ) -> None:
        self.wanted: dict[Key, str] = {}
        self.connection: Connection | None = None
        self._venue = venue
        self._around = around
        self._names = names
        self._backoff = backoff
        self._connects = connects
        self._suspects: dict[Key, int] = {}
        """How many connections that carried others have ended without an acknowledgement of these."""
        self._log = get_component_logger(f"fullon.exchange.{venue.name}.live")

    @property
    def has_room(self) -> bool:
        """Whether one more subscription fits."""
        leaving = len(self.connection.leaving) if self.connection is not None else 0
        return len(self.wanted) + leaving < self._venue.sockets.streams_max

    def add(self, key: Key, name: str) -> None:
        """Want `key`, which the venue calls `name`."""
        self.wanted[key] = name
        if self.connection is not None:
            self.connection.refresh()

    def drop(self, key: Key) -> None:
        """Stop wanting `key`."""
        del self.wanted[key]
        if self.connection is not None and self.connection.knows(key):
            self.connection.refresh()
        else:
            self._say_unsubscribed(key)

    async def run(self) -> None:
        """Keep a connection up while anything is wanted."""
        while self.wanted:
            await self._connects.acquire(urgency=Urgency.LIVE)
            holds = {key: _hold_s(ended) for key, ended in self._suspects.items()}
            connection = Connection(next(self._names), self._venue.wire(), self.wanted, self._around, holds=holds)
            reason, closing = "the session was closed", True
            try:
                await connection.open()
                self._around.faults.counts["connections"] += 1
                self.connection = connection
                await connection.serve()
            except TransientExchangeError as error:
                reason, closing = str(error), False
            finally:
                await self._finish(connection, reason, closing=closing)
            self._suspect(connection)
            if connection.data_seen:
                self._backoff.reset()
            if self.wanted:
                await asyncio.sleep(self._backoff.next_s())

    def _suspect(self, connection: Connection) -> None:
        """Note what the venue may have hung up on, or does not answer: asked for, not acknowledged, others were.

        Each time it is asked for later, so that one bad market costs the others ever less.
        """
        self._suspects = {
            key: ended for key, ended in self._suspects.items() if key in self.wanted and not connection.carries(key)
        }
        for channel, symbol in connection.unanswered:
            ended = self._suspects.get((channel, symbol), 0) + connection.carries_any
            self._suspects[channel, symbol] = ended
            if hold_s := _hold_s(ended):
                self._log.warning(
                    "not acknowledged before the connection ended, again; asked for later",
                    symbol=symbol,
                    channel=channel,
                    times=ended,
                    hold_s=hold_s,
                )

    async def _finish(self, connection: Connection, reason: str, *, closing: bool) -> None:
        self.connection = None
        if connection.opened:
            self._around.faults.counts["disconnects"] += 1
            for key in connection.leaving:
                self._say_unsubscribed(key, connection.name)
            now_us = self._around.clock.now_us()
            self._around.buffer.put(Disconnected(connection.name, now_us, reason))
        say = self._log.warning if self.wanted and not closing else self._log.info
        say("connection ended", connection=connection.name, opened=connection.opened, reason=reason)
        await connection.close()

    def _say_unsubscribed(self, key: Key, connection: str = "") -> None:
        channel, symbol = key
        self._around.buffer.put(Unsubscribed(connection, symbol, channel, self._around.clock.now_us()))
