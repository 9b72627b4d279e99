"""Live data of one venue by callbacks: a thin face over one shared session."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from fullon_exchange.errors import NotSupported, UnknownSymbol
from fullon_exchange.interface import Exchange, LiveSession
from fullon_exchange.records import (
    Candles,
    Channel,
    Disconnected,
    Event,
    Rejected,
    Subscribed,
    Tickers,
    Trades,
)
from fullon_exchange.records import Trade as TradeRecord
from fullon_log import get_component_logger
from fullon_orm.models import Trade

Callback = Callable[[Any], Awaitable[None]]
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CALLBACK_TIMEOUT_S = 30.0
_START_TIMEOUT_S = 10.0
_STREAM_TIMEFRAMES = frozenset({"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"})


class WebsocketHandler:
    """WebSocket of one account's venue; get it from `ExchangeQueue.get_websocket_handler`.

    Subscriptions outlive reconnects. Callbacks are awaited one after the other, in the order of the stream; one
    that raises or takes longer than 30 seconds is logged and does not disturb the others.
    """

    def __init__(self, exchange: Exchange, spawn: Spawn, *, uid: int | None, ex_id: int | None) -> None:
        self.exchange = exchange
        self._spawn = spawn
        self._uid = uid
        self._ex_id = ex_id
        self._session: LiveSession | None = None
        self._serving: asyncio.Task[None] | None = None
        self._connections: set[str] = set()
        self._numbers = itertools.count(1)
        self._callbacks: dict[tuple[Channel, str], dict[str, Callback]] = {}
        self._log = get_component_logger(f"fullon.exchange.{exchange.name}.websocket")

    @property
    def has(self) -> dict[str, bool]:
        """What the handler can do."""
        candles = bool(self.exchange.traits.timeframes)
        return {"ws": True, "watchOHLCV": candles, "watchTrades": True, "watchTicker": self.exchange.traits.ticker}

    async def connect(self) -> None:
        """Start the session; harmless when it runs. Sockets open with the first subscription."""
        if self._serving is not None and not self._serving.done():
            return
        started = asyncio.Event()
        self._serving = self._spawn(self._serve(started))
        async with asyncio.timeout(_START_TIMEOUT_S):
            await started.wait()

    async def disconnect(self) -> None:
        """End the session and all subscriptions; harmless when it does not run."""
        serving, self._serving = self._serving, None
        self._callbacks.clear()
        if serving is not None and not serving.done():
            serving.cancel()
            await asyncio.wait([serving])

    def is_connected(self) -> bool:
        """Tell whether the session runs and, once anything is subscribed, whether the venue carries it."""
        running = self._serving is not None and not self._serving.done()
        return running and (not self._callbacks or bool(self._connections))

    async def subscribe_ohlcv(self, symbol: str, timeframe: str, callback: Callback) -> str:
        """Call back with `[[ts_ms, open, high, low, close, volume], …]`, also while a candle is in progress.

        Raises:
            NotSupported: the venue does not stream candles of this timeframe.
            UnknownSymbol: not listed.
        """
        if timeframe not in _STREAM_TIMEFRAMES or timeframe not in self.exchange.traits.timeframes:
            raise NotSupported(f"candles of {timeframe!r} are not streamed", exchange=self.exchange.name, symbol=symbol)
        channel: Channel = f"candles{timeframe}"  # type: ignore[assignment]  # built from a timeframe
        return await self._subscribe(channel, symbol, callback)

    async def subscribe_trades(self, symbol: str, callback: Callback) -> str:
        """Call back with one `fullon_orm.models.Trade` after the other.

        Raises:
            UnknownSymbol: not listed.
        """
        return await self._subscribe("trades", symbol, callback)

    async def subscribe_ticker(self, symbol: str, callback: Callback) -> str:
        """Call back with dicts of `symbol`, `timestamp` (ms), `last`, `bid`, `ask`, `volume` (base units, 24 h).

        Raises:
            NotSupported: the venue does not stream tickers.
            UnknownSymbol: not listed.
        """
        if not self.exchange.traits.ticker:
            raise NotSupported("tickers are not streamed", exchange=self.exchange.name, symbol=symbol)
        return await self._subscribe("ticker", symbol, callback)

    async def unsubscribe(self, subscription_id: str) -> bool:
        """End one subscription; False where there is none of this id."""
        for (channel, symbol), callbacks in list(self._callbacks.items()):
            if callbacks.pop(subscription_id, None) is not None:
                if not callbacks:
                    del self._callbacks[channel, symbol]
                    if self._session is not None:
                        await self._session.unsubscribe(channel, [symbol])
                return True
        return False

    async def _subscribe(self, channel: Channel, symbol: str, callback: Callback) -> str:
        if symbol not in await self.exchange.fetch_listings():
            raise UnknownSymbol("is not listed", exchange=self.exchange.name, symbol=symbol)
        await self.connect()
        subscription_id = f"{self.exchange.name}:{symbol}:{channel}:{next(self._numbers)}"
        self._callbacks.setdefault((channel, symbol), {})[subscription_id] = callback
        if self._session is not None:
            await self._session.subscribe(channel, [symbol])
        return subscription_id

    async def _serve(self, started: asyncio.Event) -> None:
        """Run the session; entered and left in this one task, whoever connects and disconnects."""
        try:
            async with self.exchange.live() as session:
                self._session = session
                started.set()
                async for events in session.events():
                    for event in events:
                        await self._dispatch(event)
        finally:
            self._session = None
            self._connections.clear()

    async def _dispatch(self, event: Event) -> None:
        match event:
            case Trades():
                for record in event.records:
                    if record.volume:
                        await self._call("trades", record.symbol, self._trade(record))
            case Candles():
                for candle in event.records:
                    values = [candle.open, candle.high, candle.low, candle.close, candle.volume]
                    channel: Channel = f"candles{candle.timeframe}"  # type: ignore[assignment]  # built from a timeframe
                    await self._call(channel, candle.symbol, [[candle.timestamp_us // 1000, *values]])
            case Tickers():
                for ticker in event.records:
                    values_by_name = {
                        "symbol": ticker.symbol,
                        "timestamp": ticker.timestamp_us // 1000,
                        "last": ticker.last,
                        "bid": ticker.bid,
                        "ask": ticker.ask,
                        "volume": ticker.volume,
                    }
                    await self._call("ticker", ticker.symbol, values_by_name)
            case Subscribed():
                self._connections.add(event.connection)
            case Disconnected():
                self._connections.discard(event.connection)
                self._log.warning("disconnected, reconnecting", reason=event.reason)
            case Rejected():
                self._callbacks.pop((event.channel, event.symbol), None)
                self._log.error(
                    "subscription rejected", symbol=event.symbol, channel=event.channel, reason=event.reason
                )
            case _:
                pass

    def _trade(self, record: TradeRecord) -> Trade:
        return Trade(
            trade_id=record.trade_id,
            ex_trade_id=record.trade_id,
            uid=self._uid,
            ex_id=self._ex_id,
            symbol=record.symbol,
            side=record.side,
            order_type=record.order_type,
            volume=record.volume,
            price=record.price,
            cost=record.price * record.volume,
            time=_EPOCH + timedelta(microseconds=record.timestamp_us),
        )

    async def _call(self, channel: Channel, symbol: str, value: object) -> None:
        for subscription_id, callback in list(self._callbacks.get((channel, symbol), {}).items()):
            try:
                async with asyncio.timeout(_CALLBACK_TIMEOUT_S):
                    await callback(value)
            except Exception:  # noqa: BLE001 -- the callback is foreign code; its failure must not end the stream
                self._log.exception("a callback failed", subscription=subscription_id)
