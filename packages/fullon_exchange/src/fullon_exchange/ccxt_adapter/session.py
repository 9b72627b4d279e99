"""Live data of an exchange of ccxt: sockets where it streams, REST where it does not, and their events in order.

CcxtSession ── carriers: one for each address and kind of channel, one task each
                  └─ Connection: one socket after the other, each with its own name
            └─ Poller: what is not streamed
EventBuffer ←── every connection and the poller; one reader takes from it
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from typing import Self

from fullon_exchange.backoff import Backoff
from fullon_exchange.ccxt_adapter.carrier import Carrier, Shared
from fullon_exchange.ccxt_adapter.connection import ask_for
from fullon_exchange.ccxt_adapter.conventions import TradeIds
from fullon_exchange.ccxt_adapter.dialects import Dialect
from fullon_exchange.ccxt_adapter.polling import PolledExchange, Poller
from fullon_exchange.ccxt_adapter.rest import Rest
from fullon_exchange.ccxt_adapter.streams import Seen
from fullon_exchange.ccxt_adapter.traits import can
from fullon_exchange.errors import ExchangeError, NotSupported, TransientExchangeError, UnknownSymbol
from fullon_exchange.history import Settle
from fullon_exchange.interface import VenueTraits
from fullon_exchange.live.buffer import EventBuffer
from fullon_exchange.live.counters import Faults
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Channel, Event, Rejected, Unsubscribed
from fullon_exchange.wire import Key
from fullon_log import get_component_logger

_RECORDS_MAX = 100_000
_TIME_EVERY_S = 600.0


class CcxtSession:
    """Live data of one exchange, as `fullon_exchange.interface.LiveSession`.

    Enter it and leave it in the same task; let one task read `events`.
    """

    def __init__(
        self,
        rest: Rest,
        dialect: Dialect,
        traits: VenueTraits,
        *,
        exchange: PolledExchange,
        settle: Settle,
        server_time: ServerTime,
        backoff: Callable[[], Backoff] = Backoff,
        records_max: int = _RECORDS_MAX,
    ) -> None:
        self._rest = rest
        self._dialect = dialect
        self._traits = traits
        self._exchange = exchange
        self._backoff = backoff
        name = rest.exchange
        self._faults = Faults(name)
        self._buffer = EventBuffer(records_max, pause=self._pause, resume=self._resume)
        self._around = Surroundings(name, "", rest.clock, dialect.sockets, server_time, self._buffer, self._faults)
        self._names = (f"{name}-ccxt-{secrets.token_hex(4)}-{number}" for number in itertools.count(1))
        self._poller = Poller(exchange, self._buffer, rest.clock, settle, self._names)
        compares = not dialect.tested and traits.trade_history
        self._shared = Shared(
            self._around,
            rest.raw,
            dialect,
            Seen(),
            self._names,
            backoff,
            TradeIds(exchange.fetch_newest_trades if compares else None),
            locate=self._locate,
            poll_instead=self._poll,
        )
        self._carriers: list[Carrier] = []
        self._unplaced: dict[Key, None] = {}
        self._wants_changed = asyncio.Event()
        self._time_tried = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_component_logger(f"fullon.exchange.{name}.live")

    @property
    def counters(self) -> Mapping[str, int]:
        """What has been counted: faults by kind (see `Faults`), `connections`, `disconnects`."""
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
        self._start(self._poller.run())
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
            if not (self._streams(channel) or self._polls(channel)):
                sentence = f"{self._rest.exchange} gives no {channel} by way of ccxt"
                self._buffer.put(Rejected(symbol, channel, sentence))
            elif self._carrier_of(key) is None and key not in self._poller.wanted:
                self._unplaced[key] = None
        self._wants_changed.set()

    async def unsubscribe(self, channel: Channel, symbols: Collection[str]) -> None:
        """Stop wanting these symbols; `Unsubscribed` follows once nothing of them is delivered any more."""
        for symbol in symbols:
            key: Key = (channel, symbol)
            carrier = self._carrier_of(key)
            if carrier is not None:
                carrier.drop(key)
            elif key in self._poller.wanted:
                self._poller.drop(key)
            elif key in self._unplaced:
                del self._unplaced[key]
                self._buffer.put(Unsubscribed("", symbol, channel, self._rest.clock.now_us()))

    def reconnect(self, connection: str, reason: str) -> bool:
        """Give up a connection that the caller no longer trusts; False where it is gone already."""
        for carrier in self._carriers:
            if carrier.connection is not None and carrier.connection.name == connection:
                carrier.connection.end(reason)
                return True
        return self._poller.reconnect(connection, reason)

    async def events(self) -> AsyncIterator[list[Event]]:
        """Yield everything that has arrived, in order, until the session is closed."""
        while batch := await self._buffer.take():
            yield batch

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _carrier_of(self, key: Key) -> Carrier | None:
        return next((carrier for carrier in self._carriers if key in carrier.wanted), None)

    def _pause(self) -> None:
        for carrier in self._carriers:
            if carrier.connection is not None:
                carrier.connection.pause()

    def _resume(self) -> None:
        for carrier in self._carriers:
            if carrier.connection is not None:
                carrier.connection.resume()

    # --- where a market's channel comes from ------------------------------------------------------------------

    def _streams(self, channel: Channel) -> bool:
        has = self._rest.raw.has
        if channel == "trades":
            return can(has, "watchTrades")
        return can(has, "watchOHLCV") and channel.removeprefix("candles") in (self._rest.raw.timeframes or ())

    def _polls(self, channel: Channel) -> bool:
        if channel == "trades":
            return self._traits.trade_history
        return channel.removeprefix("candles") in self._traits.timeframes

    async def _place_for_ever(self) -> None:
        """Look up what is newly wanted and give it to a socket with room, or to the poller."""
        backoff = self._backoff()
        while True:
            self._wants_changed.clear()
            try:
                for key in list(self._unplaced):
                    await self._place(key)
                backoff.reset()
            except TransientExchangeError as error:
                self._log.warning("markets cannot be looked up, trying again", error=str(error))
                await asyncio.sleep(backoff.next_s())
                continue
            await self._wants_changed.wait()

    async def _place(self, key: Key) -> None:
        channel, symbol = key
        refusal, url = "", ""
        try:
            await self._exchange.fetch_listing(symbol)
            if self._streams(channel):
                url, refusal = await self._locate(key)
        except UnknownSymbol as error:
            if self._unplaced.pop(key, self) is not self:
                self._buffer.put(Rejected(symbol, channel, str(error)))
            return
        if self._unplaced.pop(key, self) is self:
            return
        if url:
            self._carry(key, url)
        elif self._polls(channel):
            self._poll(key, refusal or "it is not streamed")
        else:
            self._buffer.put(Rejected(symbol, channel, refusal))

    def _poll(self, key: Key, why: str) -> None:
        self._log.info("polled over REST", symbol=key[1], channel=key[0], why=why)
        self._poller.add(key)

    async def _locate(self, key: Key) -> tuple[str, str]:
        """Return the address that streams `key`; or an empty one, and why."""
        market = self._rest.raw.market(key[1])
        if why := self._dialect.why_not_streamed(key[1], market):
            return "", why
        try:
            ask = await ask_for(self._rest.raw, self._dialect, [key], self._around)
        except TransientExchangeError:
            raise
        except ExchangeError as error:
            return "", str(error)
        return ask.url, ""

    def _carry(self, key: Key, url: str) -> None:
        trades = key[0] == "trades"
        bulk = can(self._rest.raw.has, "watchTradesForSymbols" if trades else "watchOHLCVForSymbols")
        carrier = next((one for one in self._carriers if one.fits(url, trades=trades)), None)
        sockets_max = self._around.limits.sockets_max
        if carrier is None and sockets_max is not None and len(self._carriers) >= sockets_max:
            sentence = f"{self._rest.exchange} allows no more than {sockets_max} sockets"
            self._buffer.put(Rejected(key[1], key[0], sentence))
            return
        if carrier is None:
            carrier = Carrier(self._shared, url, trades=trades, bulk=bulk)
            self._carriers.append(carrier)
            self._start(self._run_carrier(carrier))
        carrier.add(key)

    async def _run_carrier(self, carrier: Carrier) -> None:
        await self._time_tried.wait()
        try:
            await carrier.run()
        finally:
            self._carriers.remove(carrier)

    async def _keep_time(self) -> None:
        """Compare clocks; a venue that does not answer, or does not tell, is taken to agree."""
        while True:
            sent_us, sent_s = self._rest.clock.now_us(), time.monotonic()
            try:
                venue_us = await self._exchange.fetch_time()
                received_us = self._rest.clock.now_us()
                self._around.server_time.observe(
                    venue_us, sent_us=sent_us, received_us=received_us, resolution_us=_resolution_us(venue_us)
                )
            except NotSupported:
                self._time_tried.set()
                return
            except ExchangeError as error:
                self._log.warning("the exchange's clock cannot be read", error=str(error))
            self._time_tried.set()
            await asyncio.sleep(max(0.0, sent_s + _TIME_EVERY_S - time.monotonic()))


def _resolution_us(venue_us: int) -> int:
    """Return how coarse a time is told: whole seconds, or milliseconds."""
    return 1_000_000 if venue_us % 1_000_000 == 0 else 1000
