"""Up to `streams_max` subscriptions, and the connections that carry them one after the other.

A connection that is due, because of its age or because the venue has announced its end, is replaced before it is cut:

    open a second one ─► subscribe everything ─► all acknowledged, both have proved that moment ─► close the first

Until then the first stays in service, and so it does if the second fails; then it is tried again later. The records of
both are handed on meanwhile, and what is subscribed or unsubscribed reaches both.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import RateBudget
from fullon_exchange.errors import TransientExchangeError
from fullon_exchange.interface import Urgency
from fullon_exchange.live.connection import Connection
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.records import Disconnected, Unsubscribed
from fullon_exchange.venue import Venue
from fullon_exchange.wire import Key
from fullon_log import get_component_logger

_HOLD_FIRST_S = 30.0
_HOLD_MAX_S = 3600.0
_LOOK_MAX_S = 3600.0


@dataclass(frozen=True)
class Sockets:
    """What the slots of a session share to open connections."""

    venue: Venue
    around: Surroundings
    names: Iterator[str]
    backoff: Callable[[], Backoff]
    connects: RateBudget
    places: asyncio.Semaphore
    """As many as sockets may be open at once; whoever has one open holds one."""
    changes: asyncio.Semaphore
    """As many as connections may be replaced at once."""


class Slot:
    """Up to `streams_max` subscriptions, the connection that carries them now, and the one that will replace it."""

    def __init__(self, sockets: Sockets) -> None:
        self.wanted: dict[Key, str] = {}
        self.connections: list[Connection] = []
        """Those that are open, the older one first."""
        self._sockets = sockets
        self._around = sockets.around
        self._limits = sockets.venue.sockets
        self._backoff = sockets.backoff()
        self._change_backoff = sockets.backoff()
        self._serving: set[Connection] = set()
        """Those that are open or will be."""
        self._news = asyncio.Event()
        self._ended = False
        self._said = ""
        self._not_opened = ""
        """Why the last connection could not be opened; empty where it could."""
        self._suspects: dict[Key, int] = {}
        """How many connections that carried others have ended without an acknowledgement of these."""
        self._log = get_component_logger(f"fullon.exchange.{sockets.venue.name}.live")

    @property
    def has_room(self) -> bool:
        """Whether one more subscription fits."""
        leaving = max((len(connection.leaving) for connection in self.connections), default=0)
        return not self._ended and len(self.wanted) + leaving < self._limits.streams_max

    def add(self, key: Key, name: str) -> None:
        """Want `key`, which the venue calls `name`."""
        self.wanted[key] = name
        for connection in self.connections:
            connection.refresh()

    def drop(self, key: Key) -> None:
        """Stop wanting `key`."""
        del self.wanted[key]
        knowing = [connection for connection in self.connections if connection.knows(key)]
        for connection in knowing:
            connection.refresh()
        if not knowing:
            self._say_unsubscribed(key)

    async def run(self) -> None:
        """Keep a connection up while anything is wanted."""
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew_for_ever(group))
            while self.wanted:
                await self._serve(self._new_connection(), Urgency.LIVE)
                await self._when(lambda: not self._serving)
                if self.wanted:
                    await asyncio.sleep(self._backoff.next_s())
            self._ended = True
            renewing.cancel()

    async def _when(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds, which only news of a connection can bring about."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    # --- one connection -----------------------------------------------------------------------------------------

    def _new_connection(self) -> Connection:
        holds = {
            key: _hold_s(ended)
            for key, ended in self._suspects.items()
            if not any(connection.carries(key) for connection in self.connections)
        }
        return Connection(
            next(self._sockets.names),
            self._sockets.venue.wire(),
            self.wanted,
            self._around,
            holds=holds,
            on_news=self._news.set,
        )

    async def _serve(self, connection: Connection, urgency: Urgency) -> None:
        """Open a connection when the budget allows, and let it carry what is wanted until it ends."""
        self._serving.add(connection)
        try:
            async with self._sockets.places:
                await self._sockets.connects.acquire(urgency=urgency)
                await self._open_and_serve(connection)
        finally:
            self._serving.discard(connection)
            self._news.set()

    async def _open_and_serve(self, connection: Connection) -> None:
        reason, closing = "the session was closed", True
        try:
            await connection.open()
            self._around.faults.counts["connections"] += 1
            self.connections.append(connection)
            await connection.serve()
        except TransientExchangeError as error:
            reason, closing = str(error), False
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
            await self._finish(connection, connection.ended or reason, quiet=closing or connection.replaced)
        self._suspect(connection)
        if connection.data_seen:
            self._backoff.reset()

    def _suspect(self, connection: Connection) -> None:
        """Note what the venue may have hung up on, or does not answer: asked for, not acknowledged, others were.

        Each time it is asked for later, so that one bad market costs the others ever less.
        """
        self._suspects = {
            key: ended for key, ended in self._suspects.items() if key in self.wanted and not connection.carries(key)
        }
        for channel, symbol in connection.unanswered:
            if any(other.carries((channel, symbol)) for other in self.connections):
                continue
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

    async def _finish(self, connection: Connection, reason: str, *, quiet: bool) -> None:
        if connection.opened:
            self._around.faults.counts["disconnects"] += 1
            for key in connection.leaving:
                self._say_unsubscribed(key, connection.name)
            now_us = self._around.clock.now_us()
            self._around.buffer.put(Disconnected(connection.name, now_us, reason))
        say = self._log.info if quiet or not self.wanted else self._log.warning
        if not connection.opened and reason == self._not_opened:
            say = self._log.debug  # logged already; it is tried again with growing pauses
        self._not_opened = "" if connection.opened else reason
        say("connection ended", connection=connection.name, opened=connection.opened, reason=reason)
        await connection.close()

    def _say_unsubscribed(self, key: Key, connection: str = "") -> None:
        channel, symbol = key
        self._around.buffer.put(Unsubscribed(connection, symbol, channel, self._around.clock.now_us()))

    # --- its replacement ----------------------------------------------------------------------------------------

    async def _renew_for_ever(self, group: asyncio.TaskGroup) -> None:
        """Replace each connection when it is due."""
        while True:
            old = await self._next_due()
            async with self._sockets.changes:
                if old not in self.connections:
                    continue
                trouble = await self._replace(old, group)
            if trouble is None:
                self._around.faults.counts["replaced"] += 1
                self._change_backoff.reset()
                self._said = ""
            elif old in self.connections:
                self._put_off(old, trouble)

    async def _next_due(self) -> Connection:
        while True:
            self._news.clear()
            wait_s = _LOOK_MAX_S
            for connection in self.connections:
                wait_s = min(wait_s, connection.renew_at - time.monotonic())
                if wait_s <= 0:
                    return connection
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def _replace(self, old: Connection, group: asyncio.TaskGroup) -> str | None:
        """Let another connection take over from `old`; return None, or why that failed."""
        if self._sockets.places.locked():
            return "every socket that the venue allows is in use"
        new = self._new_connection()
        serving = group.create_task(self._serve(new, Urgency.REPAIR))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.change_timeout_s):
                await self._when(lambda: serving.done() or old not in self.connections or new.succeeds(old))
        if new.succeeds(old):
            old.give_way(f"{old.renew_reason}; replaced by {new.name}")
            await self._when(lambda: old not in self.connections)
            return None
        if old in self.connections or not new.opened:
            new.end(f"not ready to replace {old.name} within {self._limits.change_timeout_s:g} s")
            serving.cancel()
            await asyncio.wait([serving])
        return new.ended or "the old one was lost meanwhile"

    def _put_off(self, old: Connection, trouble: str) -> None:
        """Leave a connection in service although it is due, and try again later."""
        old.renew_at = time.monotonic() + self._change_backoff.next_s()
        if trouble != self._said:
            self._said = trouble
            self._log.warning(
                "connection not replaced, it stays in service",
                connection=old.name,
                due=old.renew_reason,
                why=trouble,
            )


def _hold_s(ended: int) -> float:
    """Return how long after opening a connection to wait before asking for what has ended so many of them."""
    return min(_HOLD_MAX_S, _HOLD_FIRST_S * 2.0 ** min(ended - 2, 10)) if ended > 1 else 0.0
