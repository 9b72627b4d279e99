"""Live data of an exchange of ccxt: sockets where it streams, REST where it does not, and their events in order.

CcxtSession ── carriers: one for each address and kind of channel, one task each
                  └─ Connection: one socket after the other, each with its own name
            └─ Poller: what is not streamed
EventBuffer ←── every connection and the poller; one reader takes from it
"""

import itertools
import secrets
from collections.abc import Callable
from typing import Self

from fullon_exchange.backoff import Backoff
from fullon_exchange.ccxt_adapter.carrier import Carrier, Shared
from fullon_exchange.ccxt_adapter.connection import Connection, ask_for
from fullon_exchange.ccxt_adapter.conventions import TradeIds
from fullon_exchange.ccxt_adapter.dialects import Dialect
from fullon_exchange.ccxt_adapter.polling import PolledExchange, Poller
from fullon_exchange.ccxt_adapter.rest import Rest
from fullon_exchange.ccxt_adapter.streams import Seen
from fullon_exchange.ccxt_adapter.traits import can
from fullon_exchange.errors import ExchangeError, TransientExchangeError, UnknownSymbol
from fullon_exchange.history import Settle
from fullon_exchange.interface import VenueTraits
from fullon_exchange.live.base import RECORDS_MAX, SessionBase
from fullon_exchange.live.intake import Surroundings
from fullon_exchange.live.time import ServerTime
from fullon_exchange.records import Channel, Rejected
from fullon_exchange.wire import Key

_MOVES_MAX = 10
"""Sockets that are tried for one market that the exchange does not answer."""


class CcxtSession(SessionBase):
    """Live data of one exchange, as `fullon_exchange.interface.LiveSession`."""

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
        records_max: int = RECORDS_MAX,
    ) -> None:
        name = rest.exchange
        super().__init__(name, rest.clock, server_time, backoff=backoff, records_max=records_max)
        self._rest = rest
        self._dialect = dialect
        self._traits = traits
        self._exchange = exchange
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
            move=self._move,
        )
        self._carriers: list[Carrier] = []
        self._moves: dict[Key, int] = {}
        """How many sockets have been tried for what the exchange does not answer."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._start(self._poller.run())
        return self

    def reconnect(self, connection: str, reason: str) -> bool:
        """Give up a connection that the caller no longer trusts; False where it is gone already."""
        return super().reconnect(connection, reason) or self._poller.reconnect(connection, reason)

    def _refusal(self, channel: Channel) -> str | None:
        if self._streams(channel) or self._polls(channel):
            return None
        return f"{self._rest.exchange} gives no {channel} by way of ccxt"

    def _carrier_of(self, key: Key) -> Carrier | Poller | None:
        if key in self._poller.wanted:
            return self._poller
        return next((carrier for carrier in self._carriers if key in carrier.wanted), None)

    def _connections(self) -> list[Connection]:
        return [carrier.connection for carrier in self._carriers if carrier.connection is not None]

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

    async def _place(self, key: Key) -> None:
        """Look up a market and give it to a socket with room, or to the poller."""
        channel, symbol = key
        refusal, url = "", ""
        try:
            await self._exchange.fetch_listing(symbol)
            if self._streams(channel):
                url, refusal = await self._locate(key)
        except UnknownSymbol as error:
            if self._take(key):
                self._buffer.put(Rejected(symbol, channel, str(error)))
            return
        if not self._take(key):
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

    def _move(self, carrier: Carrier, keys: list[Key]) -> None:
        """Try another socket for what the exchange has not answered, or REST where that does not help.

        Another one helps where the exchange carries others on the first: a socket may have fewer channels than it says.
        """
        moved = 0
        for key in keys:
            self._moves[key] = tried = self._moves.get(key, 0) + 1
            if carrier.is_full and tried <= _MOVES_MAX:
                self._carry(key, carrier.url, after=self._carriers.index(carrier) + 1)
                moved += 1
            else:
                self._poll(key, "its subscription is not answered")
        self._log.warning(
            "subscriptions not answered in time",
            count=len(keys),
            example=f"{keys[0][1]} {keys[0][0]}",
            on_another_socket=moved,
            polled=len(keys) - moved,
        )

    def _carry(self, key: Key, url: str, *, after: int = 0) -> None:
        """Give `key` to a socket with room, of those from number `after` on."""
        trades = key[0] == "trades"
        bulk = can(self._rest.raw.has, "watchTradesForSymbols" if trades else "watchOHLCVForSymbols")
        carrier = next((one for one in self._carriers[after:] if one.fits(url, trades=trades)), None)
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

    async def _fetch_time_us(self) -> tuple[int, int]:
        venue_us = await self._exchange.fetch_time()
        return venue_us, resolution_us(venue_us)


def resolution_us(venue_us: int) -> int:
    """Return how coarse a time is told: whole seconds, or milliseconds."""
    return 1_000_000 if venue_us % 1_000_000 == 0 else 1000
