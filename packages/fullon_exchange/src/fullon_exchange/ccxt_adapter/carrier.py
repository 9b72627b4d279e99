"""What keeps the subscriptions of one address alive: one connection after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import shared_budget
from fullon_exchange.ccxt_adapter.connection import Connection, place_of
from fullon_exchange.ccxt_adapter.conventions import TradeIds
from fullon_exchange.ccxt_adapter.dialects import Dialect
from fullon_exchange.ccxt_adapter.streams import Seen
from fullon_exchange.errors import TransientExchangeError
from fullon_exchange.interface import Urgency
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.origin import resolve
from fullon_exchange.records import Disconnected, Unsubscribed
from fullon_exchange.wire import Key
from fullon_log import get_component_logger


@dataclass(frozen=True)
class Shared:
    """What the carriers of a session share."""

    around: Surroundings
    raw: Any
    """ccxt's object."""
    dialect: Dialect
    seen: Seen
    names: Iterator[str]
    """Of connections, each unique across processes."""
    backoff: Callable[[], Backoff]
    ids: TradeIds
    locate: Callable[[Key], Awaitable[tuple[str, str]]]
    """Return the address that streams a market's channel; or an empty one, and why."""
    poll_instead: Callable[[Key, str], None]
    """Poll a market's channel whose stream is not to be used, and say why."""
    move: Callable[["Carrier", list[Key]], None]
    """Carry elsewhere what a carrier has given up because the exchange did not answer it."""


class Carrier:
    """Up to `streams_max` subscriptions of one address and the connection that carries them now."""

    def __init__(self, shared: Shared, url: str, *, trades: bool, bulk: bool) -> None:
        """`trades` or candles, not both; `bulk` says whether several markets fit into one message."""
        self.wanted: dict[Key, str] = {}
        self.connection: Connection | None = None
        self.url = url
        self.trades = trades
        self._shared = shared
        self.is_full = False
        """Whether the exchange has ignored more subscriptions beside those that it carries."""
        self._bulk = bulk
        self._around = around = shared.around
        self._backoff = shared.backoff()
        self._not_opened = ""
        """Why the last connection could not be opened; empty where it could."""
        self._connects = shared_budget(
            f"{around.exchange} sockets by ccxt",
            urlsplit(resolve(around.exchange, url)).netloc,
            around.limits.connects,
            speed=around.clock.speed,
        )
        self._log = get_component_logger(f"fullon.exchange.{around.exchange}.live")

    def fits(self, url: str, *, trades: bool) -> bool:
        """Tell whether one more subscription at `url` fits."""
        leaving = len(self.connection.leaving) if self.connection is not None else 0
        room = not self.is_full and len(self.wanted) + leaving < self._around.limits.streams_max
        return room and trades is self.trades and place_of(url) == place_of(self.url)

    def add(self, key: Key) -> None:
        """Want `key`."""
        self.wanted[key] = key[1]
        if self.connection is not None:
            self.connection.refresh()

    def drop(self, key: Key) -> None:
        """Stop wanting `key`."""
        del self.wanted[key]
        if self.connection is not None and self.connection.carries(key):
            self.connection.refresh()
        else:
            self._say_unsubscribed(key)

    def _spurn(self, key: Key, why: str) -> None:
        """Stop wanting `key` from this stream: it is polled instead."""
        if key in self.wanted:
            self.drop(key)
            self._shared.poll_instead(key, why)

    def _give_up(self, keys: list[Key]) -> None:
        """Carry no longer what the exchange has not answered."""
        late = [key for key in keys if key in self.wanted]
        if not late:
            return
        self.is_full = self.is_full or (self.connection is not None and self.connection.carries_any)
        for key in late:
            self.drop(key)
        self._shared.move(self, late)

    async def run(self) -> None:
        """Keep a connection up while anything is wanted."""
        while self.wanted:
            await self._connects.acquire(urgency=Urgency.LIVE)
            self.connection = connection = self._new_connection()
            reason, closing = "the session was closed", True
            try:
                await connection.run()
            except TransientExchangeError as error:
                reason, closing = str(error), False
            finally:
                await self._finish(connection, reason, closing=closing)
            if connection.data_seen:
                self._backoff.reset()
            if self.wanted:
                await asyncio.sleep(self._backoff.next_s())
                await self._find_address()

    def _new_connection(self) -> Connection:
        shared = self._shared
        return Connection(
            next(shared.names),
            self.url,
            self.wanted,
            shared.around,
            raw=shared.raw,
            dialect=shared.dialect,
            seen=shared.seen,
            ids=shared.ids,
            spurn=self._spurn,
            on_unanswered=self._give_up,
            bulk=self._bulk,
        )

    async def _find_address(self) -> None:
        """Ask ccxt for the address again where it carries a token."""
        key = next(iter(self.wanted), None)
        if key is None or place_of(self.url) == self.url:
            return
        self._shared.dialect.forget_address(self._shared.raw)
        try:
            url, _ = await self._shared.locate(key)
        except TransientExchangeError as error:
            self._log.warning("no new address", error=str(error))
        else:
            self.url = url or self.url

    async def _finish(self, connection: Connection, reason: str, *, closing: bool) -> None:
        self.connection = None
        faults = self._around.faults
        if connection.opened:
            faults.counts["connections"] += 1
            faults.counts["disconnects"] += 1
            for key in connection.leaving:
                self._say_unsubscribed(key, connection.name)
            now_us = self._around.clock.now_us()
            self._around.buffer.put(Disconnected(connection.name, now_us, reason))
        say = self._log.warning if self.wanted and not closing else self._log.info
        if not connection.opened and reason == self._not_opened:
            say = self._log.debug  # logged already; it is tried again with growing pauses
        self._not_opened = "" if connection.opened else reason
        say("connection ended", connection=connection.name, opened=connection.opened, reason=reason)
        await connection.close()

    def _say_unsubscribed(self, key: Key, connection: str = "") -> None:
        channel, symbol = key
        self._around.buffer.put(Unsubscribed(connection, symbol, channel, self._around.clock.now_us()))
