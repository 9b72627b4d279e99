"""What is done about a stream that is overdue: look over REST, then climb a ladder until data comes again.

    look          over REST: has the market traded since the stream spoke last? If not, it is quiet, not sick.
    1 resubscribe the symbol
    2 reconnect   the socket that carries it

Every step takes back what the silence was thought to prove: those minutes are unknown again, and history polls REST
for them, and for every further minute, until the stream is acknowledged anew.
"""

import asyncio
from collections.abc import Callable

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.errors import ExchangeError, UnknownSymbol
from fullon_exchange.interface import Exchange, LiveSession, Urgency
from fullon_exchange.records import Channel, Event
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv_service.freshness import Freshness, Heard, Overdue
from fullon_ohlcv_service.runtime import Runtime

CHECK_S = 5.0
"""Seconds of the clock between two checks."""
SETTLE_US = 5_000_000
"""How long REST is given to know a trade that the stream should have told."""
LOOKS_MAX = 10
"""Symbols of one venue that are looked at in one check."""
RELEASE_S = 10.0
"""How long the end of a run may take to reach the ledger."""


class StaleStreamGuard:
    """Watches the freshness of one venue's channel and mends what is stale."""

    def __init__(
        self,
        runtime: Runtime,
        exchange: Exchange,
        session: LiveSession,
        channel: Channel,
        on_gap: Callable[[str], None],
        *,
        understood: Callable[[str], bool] = lambda symbol: True,
    ) -> None:
        """Build one; `understood(symbol)` is False while nobody knows what the times of a stream mean."""
        self._runtime = runtime
        self._understood = understood
        self._exchange = exchange
        self._session = session
        self._channel = channel
        self._on_gap = on_gap
        self._freshness = Freshness()
        self._log = get_component_logger("fullon.ohlcv.live" if channel == "candles1m" else "fullon.trade.live")
        self._doubted: set[str] = set()
        self.resubscribed = 0
        self.reconnected = 0

    def feed(self, events: list[Event]) -> None:
        """Take what has arrived."""
        self._freshness.feed(events, self._exchange.clock.now_us())

    def heard(self) -> dict[str, Heard]:
        """Return, of each symbol that has told anything, what it told last."""
        return self._freshness.heard()

    async def run(self) -> None:
        """Check until cancelled."""
        try:
            while True:
                await self._runtime.clock.sleep(CHECK_S)
                overdue = self._freshness.overdue(self._exchange.clock.now_us())
                self._trust(self._doubted - {one.symbol for one in overdue})
                await self._look_at(overdue[:LOOKS_MAX])
        finally:
            self._trust(self._doubted)

    async def _look_at(self, overdue: list[Overdue]) -> None:
        reconnected: set[str] = set()
        for one in overdue:
            if one.connection in reconnected or (one.lagging and not self._understood(one.symbol)):
                continue
            try:
                if one.lagging or await self._has_traded_since(one):
                    await self._climb(one, reconnected)
                else:
                    self._freshness.forgive(one.symbol)
                self._trust({one.symbol})
            except UnknownSymbol:
                self._freshness.forgive(one.symbol)
                self._runtime.markets.doubt(self._exchange.name)
            except (ExchangeError, TransientStorageError) as error:
                self._log.info(
                    "a silent stream cannot be examined now",
                    exchange=self._exchange.name,
                    symbol=one.symbol,
                    why=str(error),
                )
                self._doubt(one, str(error))

    def _doubt(self, one: Overdue, why: str) -> None:
        """Say on the board that nobody can tell whether a silent stream is quiet or sick."""
        self._doubted.add(one.symbol)
        reason = f"{one.reason}, and it cannot be asked over REST whether that is the market: {why}"
        board, now_us = self._runtime.board, self._exchange.clock.now_us()
        board.doubt(self._exchange.name, one.symbol, self._channel, reason, now_us)

    def _trust(self, symbols: set[str]) -> None:
        for symbol in symbols & self._doubted:
            self._runtime.board.trust(self._exchange.name, symbol, self._channel)
        self._doubted -= symbols

    async def _has_traded_since(self, one: Overdue) -> bool:
        """Ask REST for what the stream should have told by now."""
        exchange, end_us = self._exchange, self._exchange.clock.now_us() - SETTLE_US
        if self._channel == "trades" and exchange.traits.trade_history:
            start_us = one.last_event_us + 1
            if start_us >= end_us:
                return False
            async for trades in exchange.fetch_trades(one.symbol, start_us, end_us, urgency=Urgency.REPAIR):
                if trades.records:
                    return True
            return False
        start_us, end_us = floor_minute_us(one.last_event_us) + MINUTE_US, floor_minute_us(end_us)
        if start_us >= end_us:
            return False
        async for candles in exchange.fetch_candles(one.symbol, "1m", start_us, end_us, urgency=Urgency.REPAIR):
            if any(candle.volume > 0 for candle in candles.records):
                return True
        return False

    async def _climb(self, one: Overdue, reconnected: set[str]) -> None:
        step = self._freshness.escalate(one.symbol, self._exchange.clock.now_us())
        if step == 0:
            return
        resubscribe = step == 1 and not one.lagging
        self._log.warning(
            "stale stream",
            exchange=self._exchange.name,
            symbol=one.symbol,
            why=one.reason,
            step="resubscribe" if resubscribe else "reconnect",
        )
        if resubscribe:
            self.resubscribed += 1
            await self._session.unsubscribe(self._channel, [one.symbol])
        else:
            self.reconnected += 1
            reconnected.add(one.connection)
            self._session.reconnect(one.connection, f"{one.symbol}: {one.reason}")
        await self._take_back(one)
        if resubscribe:
            await self._session.subscribe(self._channel, [one.symbol])

    async def _take_back(self, one: Overdue) -> None:
        """Wait until the run has ended, then uncover what the silence was thought to prove."""
        series = await self._runtime.store.series(self._exchange.name, one.symbol, self._channel)
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._runtime.claims.released(series)
        except TimeoutError:
            self._log.warning("the run of a stale stream did not end in time", series=str(series))
        interval = (floor_minute_us(one.last_event_us), self._exchange.clock.now_us())
        await self._runtime.store.uncover(series, interval)
        self._on_gap(self._exchange.name)
