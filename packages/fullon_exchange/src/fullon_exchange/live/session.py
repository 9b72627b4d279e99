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
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import shared_budget
from fullon_exchange.clock import Clock
from fullon_exchange.errors import UnknownSymbol, VenueClosed
from fullon_exchange.interface import Listing, VenueTraits
from fullon_exchange.live.base import RECORDS_MAX, SessionBase
from fullon_exchange.live.connection import Connection
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.live.slot import Slot, Sockets
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Channel, Rejected
from fullon_exchange.venue import Venue
from fullon_exchange.wire import Key

_SOCKETS_MAX = 1000
"""Sockets of a session where the venue names no limit."""
_CHANGES_MAX = 2
"""Connections of a session that are replaced at once: meanwhile everything they carry comes twice."""


class NativeSession(SessionBase):
    """Live data of one venue, as `fullon_exchange.interface.LiveSession`."""

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
        records_max: int = RECORDS_MAX,
    ) -> None:
        """Build one; `age_s` is how old a connection may grow, in the venue's seconds, where it may not grow older."""
        super().__init__(
            venue.name,
            clock,
            server_time,
            backoff=backoff,
            records_max=records_max,
            reads_time=not venue.sockets.pong_tells_time,
        )
        self._venue = venue
        self._fetch_time = fetch_time
        self._fetch_listing = fetch_listing
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

    def _refusal(self, channel: Channel) -> str | None:
        if _is_streamed(channel, self._venue.traits):
            return None
        return f"{self._venue.name} does not stream {channel}"

    def _carrier_of(self, key: Key) -> Slot | None:
        return next((slot for slot in self._slots if key in slot.wanted), None)

    def _connections(self) -> list[Connection]:
        return [connection for slot in self._slots for connection in slot.connections]

    async def _place(self, key: Key) -> None:
        """Look up a market and give it to a slot with room."""
        channel, symbol = key
        try:
            name = (await self._fetch_listing(symbol)).wire["ws"]
        except (UnknownSymbol, VenueClosed) as error:
            if self._take(key):
                self._buffer.put(Rejected(symbol, channel, str(error)))
            return
        if not self._take(key):
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

    async def _fetch_time_us(self) -> tuple[int, int]:
        return await self._fetch_time(), 0


def _is_streamed(channel: Channel, traits: VenueTraits) -> bool:
    if channel == "ticker":
        return traits.ticker
    return channel == "trades" or channel.removeprefix("candles") in traits.timeframes
