"""Redis stream → trades, candles and coverage in one transaction → acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import ClassVar, TypeVar

from fullon_cache import CacheError
from fullon_cache.trades_cache import Frame
from fullon_exchange.interface import Exchange
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.records import Series, TradeWrite
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.isolation import DefectLog, write_isolated
from fullon_ohlcv_service.retrying import delay_s
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.supervisor import Supervisor
from fullon_ohlcv_service.trade.frames import decode_entry
from fullon_ohlcv_service.trade.trade_tracker import TradeBatch, TradeTracker
from fullon_orm.models import Symbol

CONSUMER = "batcher"
"""The same for every daemon: one of them writes at a time, and takes over what another left."""
READ_FRAMES_MAX = 500
GATHER_S = 0.1
"""Entries that arrive within this time are stored together."""
BLOCK_MS = 500
DRAIN_S = 3.0
RETRY_MAX_S = 15.0

Answer = TypeVar("Answer")


def _ignore(exchange: str) -> None:
    """Be told of a venue and do nothing."""


class GlobalTradeBatcher:
    """Stores what the trade streams deliver; entries leave the stream only after the database has committed.

    One per process. Coverage follows the watermarks in the stream, so a minute is claimed only when everything the
    venue said about it is stored in the same transaction or before. While the database is away nothing more is
    read: the stream keeps what arrives.
    """

    _running: ClassVar["GlobalTradeBatcher | None"] = None

    def __init__(
        self,
        *,
        runtime: Runtime | None = None,
        on_gap: Callable[[str], None] = _ignore,
        on_break: Callable[[str], None] = _ignore,
    ) -> None:
        """Build one; without `runtime` it opens its own when started.

        `on_gap(exchange)` is called when minutes have been left to history, `on_break(exchange)` when entries are
        missing from a stream, so that whoever writes it begins its runs anew.
        """
        self._runtime = runtime
        self._on_gap = on_gap
        self._on_break = on_break
        self._log = get_component_logger("fullon.trade.batcher")
        self._symbols: dict[str, set[str]] = {}
        self._trackers: dict[str, TradeTracker] = {}
        self._sequences: dict[str, int] = {}
        self._defects = DefectLog("fullon.trade.batcher")
        self._stopping = asyncio.Event()
        self._stack = AsyncExitStack()
        self._supervisor: Supervisor[str] | None = None
        self.unreadable = 0

    @classmethod
    def running(cls) -> "GlobalTradeBatcher | None":
        """Return the batcher that runs in this process; None where none does."""
        return cls._running

    @property
    def runtime(self) -> Runtime:
        """The runtime it stores with.

        Raises:
            RuntimeError: it was given none and is not running.
        """
        if self._runtime is None:
            raise RuntimeError("the batcher is not running: call start_batch_processing()")
        return self._runtime

    def register_symbol(self, symbol: WantedSymbol | Symbol) -> None:
        """Read the stream of the symbol's venue."""
        one = symbol if isinstance(symbol, WantedSymbol) else WantedSymbol.from_orm(symbol)
        self._symbols.setdefault(one.exchange, set()).add(one.symbol)

    def unregister_symbol(self, symbol: WantedSymbol | Symbol) -> None:
        """Stop reading a venue's stream with its last symbol; what is in the stream is kept."""
        one = symbol if isinstance(symbol, WantedSymbol) else WantedSymbol.from_orm(symbol)
        symbols = self._symbols.get(one.exchange, set())
        symbols.discard(one.symbol)
        if not symbols:
            self._symbols.pop(one.exchange, None)

    async def start_batch_processing(self) -> None:
        """Start storing; returns at once.

        Raises:
            RuntimeError: another batcher of this process is running.
        """
        if GlobalTradeBatcher._running is not None:
            raise RuntimeError("a GlobalTradeBatcher is running in this process already; stop it first")
        GlobalTradeBatcher._running = self
        self._stopping.clear()
        try:
            if self._runtime is None:
                self._runtime = await self._stack.enter_async_context(open_runtime())
                self._stack.callback(setattr, self, "_runtime", None)
            supervisor: Supervisor[str] = Supervisor("fullon.trade.batcher", lambda _: self.run())
            self._supervisor = await self._stack.enter_async_context(supervisor)
            await self._supervisor.want({"trade batcher"})
        except BaseException:
            GlobalTradeBatcher._running = None
            await self._stack.aclose()
            raise

    async def stop_batch_processing(self) -> None:
        """Store what is in the streams, within three seconds, and stop; what is left stays in Redis."""
        if GlobalTradeBatcher._running is not self or self._supervisor is None:
            return
        self._stopping.set()
        try:
            if not await self._supervisor.finished(DRAIN_S):
                self._log.warning("stopped before everything was stored; the rest waits in redis")
        finally:
            GlobalTradeBatcher._running = None
            self._supervisor = None
            await self._stack.aclose()

    async def run(self) -> None:
        """Store until `stop_batch_processing()` and nothing is left, or until cancelled."""
        known: set[str] = set()
        while True:
            for exchange in set(self._symbols) - known:
                await self._take_over(exchange)
                known.add(exchange)
            frames = await self._read()
            if self._stopping.is_set() and not frames:
                return
            by_exchange: dict[str, list[Frame]] = {}
            for frame in frames:
                by_exchange.setdefault(frame.exchange, []).append(frame)
            for name, ours in by_exchange.items():
                await self._store(name, ours)
            if not self._stopping.is_set():
                await asyncio.sleep(GATHER_S)

    # reading ------------------------------------------------------------------------------------------

    async def _read(self) -> list[Frame]:
        if not self._symbols:
            await asyncio.sleep(BLOCK_MS / 1000)
            return []
        return await self._persist(
            "reading trades",
            lambda: self.runtime.trades_cache.read_frames(
                sorted(self._symbols),
                consumer=CONSUMER,
                count=READ_FRAMES_MAX,
                block_ms=1 if self._stopping.is_set() else BLOCK_MS,
            ),
        )

    async def _take_over(self, exchange: str) -> None:
        """Store what was delivered and never acknowledged, by a daemon that died or by us before a failure."""
        self._sequences.pop(exchange, None)
        cache = self.runtime.trades_cache
        while frames := await self._persist(
            "claiming trades",
            lambda: cache.claim_frames(exchange, consumer=CONSUMER, count=READ_FRAMES_MAX),
        ):
            await self._store(exchange, frames)
        (await self._tracker(exchange)).disconnect_all()
        self._on_break(exchange)

    async def _store(self, exchange: str, frames: list[Frame]) -> None:
        tracker = await self._tracker(exchange)
        for frame in frames:
            self._feed(tracker, frame)
        await self._flush(exchange, tracker)
        entry_ids = [frame.entry_id for frame in frames]
        await self._persist("acknowledging trades", lambda: self.runtime.trades_cache.ack_frames(exchange, entry_ids))

    def _feed(self, tracker: TradeTracker, frame: Frame) -> None:
        try:
            entry = decode_entry(frame.payload)
        except ValueError as error:
            self.unreadable += 1
            self._log.error("entry skipped", exchange=frame.exchange, entry=frame.entry_id, why=str(error))
            return
        if entry.run_id != self.runtime.run_id:
            tracker.feed_trades(entry.events)
            return
        expected = self._sequences.get(frame.exchange)
        self._sequences[frame.exchange] = entry.sequence + 1
        if entry.sequence == 0:
            # Whoever writes the stream begins anew; what it promised before ends here.
            tracker.disconnect_all()
        elif expected is not None and entry.sequence != expected:
            self._log.error(
                "entries of the stream are lost or came twice; their minutes are gaps for history to fill",
                exchange=frame.exchange,
                expected=expected,
                found=entry.sequence,
            )
            tracker.disconnect_all()
            self._on_break(frame.exchange)
        tracker.feed(entry.events)

    # writing ------------------------------------------------------------------------------------------

    async def _flush(self, name: str, tracker: TradeTracker) -> None:
        rt = self.runtime
        batches = tracker.take()
        if batches:
            try:
                exchange = await rt.exchanges.get(name)
                writes = [await self._write_of(exchange, symbol, batch) for symbol, batch in batches.items()]
                result, failed = await self._persist(
                    "storing trades", lambda: write_isolated(rt.store.write_trades, writes)
                )
            except BaseException:
                # The entries come again, but nothing in them shows once more what was lost before them.
                tracker.doubt_again(batches)
                raise
            writes = [write for write in writes if write.series not in failed]
            for series, error in failed.items():
                self._defects.report(series, error)
                tracker.claims[series.symbol] = None
            for write in writes:
                self._defects.forget(write.series)
                rt.board.add_rows(name, write.series.symbol, len(write.rows))
            rt.closings.note({write.candles: write.covered for write in writes if write.candles is not None})
            for row, reason in result.rejected:
                self._log.warning("trade refused", exchange=name, row=row, why=reason)
        left_to_history = any(batch.suspect for batch in batches.values())
        for symbol in list(tracker.claims):
            series = await self._series(name, symbol, "trades")
            claim_us = tracker.claims.pop(symbol)
            before_us = rt.claims.end_us(series)
            rt.claims.set(series, claim_us)
            left_to_history |= claim_us is None or before_us is None
        if left_to_history:
            self._on_gap(name)

    async def _write_of(self, exchange: Exchange, symbol: str, batch: TradeBatch) -> TradeWrite:
        series = await self._series(exchange.name, symbol, "trades")
        for interval in batch.suspect:
            await self._persist("storing trades", partial(self.runtime.store.uncover, series, interval))
        candles: Series | None = None
        if exchange.traits.candles_from_trades:
            candles = await self._series(exchange.name, symbol, "candles1m")
        return TradeWrite(series, batch.rows, batch.covered, candles=candles)

    async def _series(self, exchange: str, symbol: str, channel: str) -> Series:
        return await self._persist("storing trades", lambda: self.runtime.store.series(exchange, symbol, channel))

    async def _tracker(self, name: str) -> TradeTracker:
        tracker = self._trackers.get(name)
        if tracker is None:
            exchange = await self.runtime.exchanges.get(name)
            tracker = TradeTracker(ids_sequential=exchange.traits.trade_ids_sequential)
            self._trackers[name] = tracker
        return tracker

    async def _persist(self, what: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Repeat `call` until the server it needs is there; each outage is said once."""
        failed = 0
        said = ""
        while True:
            try:
                answer = await call()
            except (CacheError, TransientStorageError) as error:
                if str(error) != said:
                    said = str(error)
                    self._log.warning("waiting for a server", what=what, why=said)
                await asyncio.sleep(delay_s(error, failed, RETRY_MAX_S))
                failed += 1
            else:
                if said:
                    self._log.info("the server is back", what=what)
                return answer
