"""What a session has received and nobody has taken yet: bounded, in order."""

import asyncio
from collections.abc import Callable

from fullon_exchange.records import Candles, Event, Tickers, Trades


class EventBuffer:
    """Events between the sockets and their one reader.

    Full means that the sockets stop reading until half has been taken: the venue's own buffers hold the rest, and
    a venue that tires of it disconnects, which is an event too.
    """

    def __init__(self, records_max: int, *, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.records_max = records_max
        self._pause = pause
        self._resume = resume
        self._events: list[Event] = []
        self._records = 0
        self._full = False
        self._closed = False
        self._filled = asyncio.Event()

    @property
    def records(self) -> int:
        """How many records wait; the gauge of this buffer."""
        return self._records

    @property
    def full(self) -> bool:
        """Whether the sockets have been told to stop reading."""
        return self._full

    def put(self, event: Event) -> None:
        """Append an event; a full buffer pauses the sockets but loses nothing."""
        self._events.append(event)
        self._records += len(event.records) if isinstance(event, (Trades, Candles, Tickers)) else 1
        self._filled.set()
        if self._records >= self.records_max and not self._full:
            self._full = True
            self._pause()

    def close(self) -> None:
        """Let the reader finish: what is here can still be taken, then comes the end."""
        self._closed = True
        self._filled.set()

    async def take(self) -> list[Event]:
        """Return everything that has arrived, waiting for at least one event; empty once closed."""
        while not self._events and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        taken, self._events = self._events, []
        self._records = 0
        if self._full:
            self._full = False
            self._resume()
        return taken
