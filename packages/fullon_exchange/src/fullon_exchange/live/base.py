"""What every session of live data has: what is wanted and who carries it, events in order, the venue's clock, tasks.

How a market reaches its carrier is each session's own.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from typing import Protocol, Self

from fullon_exchange.backoff import Backoff
from fullon_exchange.clock import Clock
from fullon_exchange.errors import ExchangeError, NotSupported
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Channel, Event, Rejected, Unsubscribed
from fullon_exchange.wire import Key
from fullon_log import get_component_logger

RECORDS_MAX = 100_000
_TIME_EVERY_S = 600.0


class Carrying(Protocol):
    """Something that carries wanted markets."""

    def drop(self, key: Key) -> None:
        """Carry one no longer; `Unsubscribed` follows."""


class Connected(Protocol):
    """A connection with a name."""

    @property
    def name(self) -> str:
        """What its events call it."""

    def end(self, reason: str) -> None:
        """Give it up."""

    def pause(self) -> None:
        """Read no further for now."""

    def resume(self) -> None:
        """Read on."""


class SessionBase(ABC):
    """The part of `fullon_exchange.interface.LiveSession` that is the same for every venue.

    Enter it and leave it in the same task; let one task read `events`.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        server_time: ServerTime,
        *,
        backoff: Callable[[], Backoff],
        records_max: int,
        reads_time: bool = True,
    ) -> None:
        """Build one for the venue `name`; without `reads_time` its clock is known from elsewhere."""
        self._name = name
        self._clock = clock
        self._server_time = server_time
        self._backoff = backoff
        self._reads_time = reads_time
        self._faults = Faults(name)
        self._buffer = EventBuffer(records_max, pause=self._pause, resume=self._resume)
        self._unplaced: dict[Key, None] = {}
        """What is wanted and has no carrier yet."""
        self._wants_changed = asyncio.Event()
        self._time_tried = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_component_logger(f"fullon.exchange.{name}.live")

    # what a session knows -----------------------------------------------------------------------------

    @abstractmethod
    def _refusal(self, channel: Channel) -> str | None:
        """Return why no market of this channel can be had; None where some can."""

    @abstractmethod
    def _carrier_of(self, key: Key) -> Carrying | None:
        """Return who carries `key`."""

    @abstractmethod
    def _connections(self) -> Iterable[Connected]:
        """Return the connections there are now."""

    @abstractmethod
    async def _place(self, key: Key) -> None:
        """Give `key` to a carrier, or reject it; do neither if it is wanted no longer. It leaves `_unplaced` (`_take`).

        Raises:
            ExchangeError: the venue cannot be asked now.
        """

    @abstractmethod
    async def _fetch_time_us(self) -> tuple[int, int]:
        """Return the venue's time, and to how many microseconds it is cut.

        Raises:
            NotSupported: it tells none.
            ExchangeError: it cannot be asked now.
        """

    # for whoever uses it ------------------------------------------------------------------------------

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
        self._start(self._place_for_ever())
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
        refusal = self._refusal(channel)
        for symbol in symbols:
            key: Key = (channel, symbol)
            if refusal is not None:
                self._buffer.put(Rejected(symbol, channel, refusal))
            elif self._carrier_of(key) is None:
                self._unplaced[key] = None
        self._wants_changed.set()

    async def unsubscribe(self, channel: Channel, symbols: Collection[str]) -> None:
        """Stop wanting these symbols; `Unsubscribed` follows once nothing of them is delivered any more."""
        for symbol in symbols:
            key: Key = (channel, symbol)
            if (carrier := self._carrier_of(key)) is not None:
                carrier.drop(key)
            elif key in self._unplaced:
                del self._unplaced[key]
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

    # for a session ------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, key: Key) -> bool:
        """Tell whether `key` still waits to be placed, and let it wait no longer."""
        return self._unplaced.pop(key, self) is not self

    def _pause(self) -> None:
        for connection in self._connections():
            connection.pause()

    def _resume(self) -> None:
        for connection in self._connections():
            connection.resume()

    async def _place_for_ever(self) -> None:
        backoff = self._backoff()
        while True:
            self._wants_changed.clear()
            try:
                for key in list(self._unplaced):
                    await self._place(key)
                backoff.reset()
            except ExchangeError as error:
                self._log.warning("markets cannot be looked up, trying again", error=str(error))
                await asyncio.sleep(backoff.next_s())
                continue
            await self._wants_changed.wait()

    async def _keep_time(self) -> None:
        """Compare clocks, at first before any socket is opened: what is over must not be a matter of our clock.

        A venue that tells no time is taken to agree, and so is one whose pongs tell it while REST cannot be asked.
        """
        backoff = self._backoff()
        while True:
            sent_us, sent_s = self._clock.now_us(), time.monotonic()
            try:
                venue_us, resolution_us = await self._fetch_time_us()
                self._server_time.observe(
                    venue_us, sent_us=sent_us, received_us=self._clock.now_us(), resolution_us=resolution_us
                )
            except NotSupported:
                break
            except ExchangeError as error:
                self._log.warning("the exchange's clock cannot be read", error=str(error))
                if self._reads_time and error.retryable and not self._time_tried.is_set():
                    await asyncio.sleep(backoff.next_s())
                    continue
            self._time_tried.set()
            if not self._reads_time:
                return
            await asyncio.sleep(max(0.0, sent_s + _TIME_EVERY_S - time.monotonic()))
        self._time_tried.set()
