"""Live trades: WebSocket → Redis stream, the durable hand-over to the batcher."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import ClassVar

from fullon_cache import CacheError
from fullon_exchange.interface import Exchange
from fullon_exchange.records import Channel, Disconnected, Event, Subscribed, Trades, Unsubscribed, Watermark
from fullon_log import get_component_logger
from fullon_ohlcv_service.live import LiveCollector, Sink
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.frames import StreamEntry, encode_entry
from fullon_orm.models import Symbol

PENDING_TRADES_MAX = 200_000
"""Trades that wait in memory while Redis is away; beyond it all are given up and their minutes stay gaps."""
ENTRY_EVENTS_MAX = 200
GATHER_S = 0.25
"""Frames that arrive within this time travel together: an entry costs more than the trades in it."""
PROVED_GATHER_S = 0.03
"""How soon a watermark ends the gathering: a minute may be complete with it, and other connections have theirs."""
RETRY_S = 0.25
RETRY_MAX_S = 5.0
DRAIN_S = 2.0


class TradeSink:
    """Hands the events of one venue to its Redis stream, in order."""

    def __init__(self, runtime: Runtime, exchange: str) -> None:
        self._runtime = runtime
        self._exchange = exchange
        self._log = get_component_logger("fullon.trade.live")
        self._pending: deque[Event] = deque()
        self._pending_trades = 0
        self._arrived = asyncio.Event()
        self._proved = asyncio.Event()
        self._carried: dict[str, dict[str, None]] = {}
        """By connection: the symbols it carries."""
        self._away = False
        self._sequence = 0
        self.buffer_max = PENDING_TRADES_MAX
        self.given_up = 0

    @property
    def buffered(self) -> int:
        """How many trades wait to be handed over."""
        return self._pending_trades

    def feed(self, events: list[Event]) -> None:
        """Take events; if the buffer is full, give up what waits and begin a new run."""
        for event in events:
            match event:
                case Trades():
                    self._pending_trades += len(event.records)
                case Watermark():
                    self._proved.set()
                case Subscribed():
                    self._carried.setdefault(event.connection, {})[event.symbol] = None
                case Unsubscribed():
                    self._carried.get(event.connection, {}).pop(event.symbol, None)
                case Disconnected():
                    self._carried.pop(event.connection, None)
                case _:
                    pass
        self._pending.extend(events)
        if self._pending_trades > PENDING_TRADES_MAX:
            self._give_up()
        self._arrived.set()

    async def run(self) -> None:
        """Append to the stream until cancelled; while Redis is away, wait and keep what fits."""
        retry_s = RETRY_S
        while True:
            await self._gather()
            try:
                await self._append_pending()
            except CacheError as error:
                if not self._away:
                    self._log.warning("redis away, trades wait", exchange=self._exchange, why=str(error))
                self._away = True
                await asyncio.sleep(retry_s)
                retry_s = min(RETRY_MAX_S, retry_s * 2)
            else:
                if self._away:
                    self._log.info("redis back, trades handed over", exchange=self._exchange)
                    self._away = False
                    # Redis may have come back without what it held: what follows is a new run.
                    self.restart_runs("redis was away")
                retry_s = RETRY_S

    async def _gather(self) -> None:
        """Return a while after something has arrived, soon after a watermark."""
        await self._arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._proved.wait()
                await asyncio.sleep(PROVED_GATHER_S)
        self._proved.clear()

    async def drain(self) -> None:
        """End every run and hand over what is pending, within two seconds."""
        now_us = self._runtime.board.now_us(self._exchange)
        self._pending.extend(Disconnected(connection, now_us, "stopped") for connection in self._carried)
        self._carried.clear()
        self._arrived.set()
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._append_pending()
        except (TimeoutError, CacheError) as error:
            self._log.warning(
                "trades not handed over; their minutes are gaps for history to fill",
                exchange=self._exchange,
                trades=self._pending_trades,
                why=str(error) or type(error).__name__,
            )

    def restart_runs(self, reason: str) -> None:
        """End every run and begin it anew with the next minute; history fills what lies between."""
        now_us = self._runtime.board.latest_us(self._exchange)
        self._pending.extend(Disconnected(connection, now_us, reason) for connection in self._carried)
        for connection, symbols in self._carried.items():
            self._pending.extend(Subscribed(connection, symbol, "trades", now_us) for symbol in symbols)
        self._arrived.set()

    async def _append_pending(self) -> None:
        while self._pending:
            events = [self._pending[at] for at in range(min(ENTRY_EVENTS_MAX, len(self._pending)))]
            entry = StreamEntry(self._runtime.run_id, self._sequence, events)
            await self._runtime.trades_cache.append_frames(self._exchange, [encode_entry(entry)])
            self._sequence += 1
            for event in events:
                # `_give_up()` may have emptied the buffer while the append was under way.
                if self._pending and self._pending[0] is event:
                    self._pending.popleft()
                    if isinstance(event, Trades):
                        self._pending_trades -= len(event.records)
        self._arrived.clear()

    def _give_up(self) -> None:
        self.given_up += self._pending_trades
        self._log.error(
            "buffer full, trades given up; their minutes are gaps for history to fill",
            exchange=self._exchange,
            trades=self._pending_trades,
        )
        self._pending.clear()
        self._pending_trades = 0
        self.restart_runs("buffer full")


class LiveTradeCollector(LiveCollector):
    """Streams trades where candles are folded from them or where they are asked for."""

    channel: ClassVar[Channel] = "trades"
    log_name = "fullon.trade.live"
    record_type = "live_trade"

    def __init__(
        self,
        symbols: Collection[Symbol] | None = None,
        *,
        runtime: Runtime | None = None,
        on_gap: Callable[[str], None] = lambda exchange: None,
    ) -> None:
        """Build one; `on_gap(exchange)` is called when minutes have been left to history."""
        super().__init__(symbols, runtime=runtime, on_gap=on_gap)
        self._sinks: dict[str, TradeSink] = {}
        self._batcher: GlobalTradeBatcher | None = None

    def serves(self, exchange: Exchange) -> bool:
        """Serve venues whose trades are needed or wanted."""
        return exchange.traits.candles_from_trades or self._rt.config.collect_trades == "all"

    def _sink(self, exchange: Exchange) -> Sink:
        sink = self._sinks[exchange.name] = TradeSink(self._rt, exchange.name)
        return sink

    def restart_runs(self, exchange: str) -> None:
        """Begin the runs of a venue anew: the batcher has seen that its stream was broken."""
        if (sink := self._sinks.get(exchange)) is not None:
            sink.restart_runs("the stream was broken")

    async def add_symbol(self, symbol: Symbol) -> None:
        """Stream and store `symbol` too: from now on, or once `start_collection()` is called."""
        if self._batcher is not None:
            self._batcher.register_symbol(symbol)
        await super().add_symbol(symbol)

    def _open_runtime(self) -> AbstractAsyncContextManager[Runtime]:
        """Share the runtime of the batcher that runs in this process, if one does: its promises are kept with ours."""
        running = GlobalTradeBatcher.running()
        return super()._open_runtime() if running is None else nullcontext(running.runtime)

    async def _run_by_hand(self) -> None:
        """Run with the batcher of this process, or one of its own, so that what is streamed is also stored."""
        running = GlobalTradeBatcher.running()
        batcher = self._batcher = running or GlobalTradeBatcher(runtime=self._rt, on_break=self.restart_runs)
        for one in self._everything():
            batcher.register_symbol(one)
        if running is None:
            await batcher.start_batch_processing()
        try:
            await self.run()
        finally:
            self._batcher = None
            if running is None:
                await batcher.stop_batch_processing()
