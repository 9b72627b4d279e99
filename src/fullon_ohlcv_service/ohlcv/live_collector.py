"""Live candles: WebSocket → candle builder → closed candles and coverage in one transaction."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import ClassVar

from fullon_exchange.interface import Exchange
from fullon_exchange.records import Channel, Event
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.records import CandleWrite, Series
from fullon_ohlcv_service.isolation import DefectLog, write_isolated
from fullon_ohlcv_service.live import LiveCollector, Sink
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBatch, CandleBuilder
from fullon_ohlcv_service.ohlcv.convention_gate import ConventionGate
from fullon_ohlcv_service.retrying import delay_s
from fullon_ohlcv_service.runtime import Runtime
from fullon_orm.models import Symbol

CLOSING_GRACE_S = 3.0
"""How long after a minute's end its closed candle may arrive before the minute is decided without it."""
GATHER_S = 0.1
"""Candles that close within this time are stored together."""
PENDING_CANDLES_MAX = 100_000
"""Candles that wait while the database is away; beyond it all are given up and their minutes stay gaps."""
DRAIN_S = 2.0
RETRY_MAX_S = 15.0


class CandleSink:
    """Stores the closed candles of one venue."""

    def __init__(
        self,
        runtime: Runtime,
        exchange: Exchange,
        on_gap: Callable[[str], None],
        *,
        checked: set[str],
        stop: Callable[[str, str], None],
    ) -> None:
        """Build one; `checked` and `stop(symbol, sentence)` are those of its `ConventionGate`."""
        self._runtime = runtime
        self._exchange = exchange.name
        self._on_gap = on_gap
        self._log = get_component_logger("fullon.ohlcv.live")
        self._builder = CandleBuilder(
            closed_flag=exchange.traits.candle_closed_flag, grace_us=round(CLOSING_GRACE_S * 1e6)
        )
        self._gate = ConventionGate(exchange.clock, exchange, checked=checked, release=self._release, stop=self._stop)
        self._stop_stream = stop
        self._pending: dict[str, CandleBatch] = {}
        self._pending_rows = 0
        self._arrived = asyncio.Event()
        self._said = ""
        self._defects = DefectLog("fullon.ohlcv.live")
        self.buffer_max = PENDING_CANDLES_MAX
        self.given_up = 0

    @property
    def buffered(self) -> int:
        """How many candles wait to be stored."""
        return self._pending_rows

    def feed(self, events: list[Event]) -> None:
        """Take events; keep what is final until it is stored."""
        self._builder.feed(events)
        self._gate.hear(events)
        batches = self._builder.take()
        self._gate.hold(batches, self._builder.claims)
        for symbol, batch in batches.items():
            self._add(symbol, batch)
        if self._pending_rows > PENDING_CANDLES_MAX:
            self._give_up()
        if self._pending or self._builder.claims:
            self._arrived.set()

    def _add(self, symbol: str, batch: CandleBatch) -> None:
        self._pending_rows += len(batch.rows)
        self._pending.setdefault(symbol, CandleBatch()).extend(batch)

    def _release(self, symbol: str, batch: CandleBatch, claim_us: int | None) -> None:
        self._add(symbol, batch)
        if claim_us is not None:
            self._builder.claims[symbol] = claim_us
        self._arrived.set()

    def _stop(self, symbol: str, sentence: str) -> None:
        self._builder.claims[symbol] = None
        self._arrived.set()
        self._stop_stream(symbol, sentence)

    async def run(self) -> None:
        """Store until cancelled; while the database is away, wait and keep what fits."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._gate.run())
            group.create_task(self._store_for_ever())

    async def _store_for_ever(self) -> None:
        failed = 0
        wait_s = GATHER_S
        while True:
            await self._arrived.wait()
            await asyncio.sleep(wait_s)
            try:
                await self._store_pending()
            except TransientStorageError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    self._log.warning("candles wait for the database", exchange=self._exchange, why=self._said)
                wait_s = delay_s(error, failed, RETRY_MAX_S)
                failed += 1
            else:
                self._said = ""
                failed = 0
                wait_s = GATHER_S

    async def drain(self) -> None:
        """Store what is pending, within two seconds, and take every promise back."""
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._store_pending()
        except (TimeoutError, TransientStorageError) as error:
            self._log.warning(
                "candles not stored; their minutes are gaps for history to fill",
                exchange=self._exchange,
                candles=self._pending_rows,
                why=str(error) or type(error).__name__,
            )
        for series in self._runtime.claims.of(self._exchange, "candles1m"):
            self._runtime.claims.set(series, None)

    async def _store_pending(self) -> None:
        self._arrived.clear()
        rt = self._runtime
        batches, self._pending = self._pending, {}
        rows, self._pending_rows = self._pending_rows, 0
        claims, self._builder.claims = self._builder.claims, {}
        try:
            series = {
                symbol: await rt.store.series(self._exchange, symbol, "candles1m") for symbol in batches.keys() | claims
            }
            writes = []
            for symbol, batch in batches.items():
                for interval in batch.suspect:
                    await rt.store.uncover(series[symbol], interval)
                writes.append(CandleWrite(series[symbol], batch.rows, batch.covered))
            result, failed = await write_isolated(rt.store.write_candles, writes)
        except BaseException:
            self._put_back(batches, rows, claims)
            raise
        for row, reason in result.rejected:
            self._log.warning("candle refused", exchange=self._exchange, row=row, why=reason)
        for one, error in failed.items():
            self._defects.report(one, error)
            claims[one.symbol] = None
        writes = [write for write in writes if write.series not in failed]
        for write in writes:
            self._defects.forget(write.series)
            rt.board.add_rows(self._exchange, write.series.symbol, len(write.rows))
        rt.closings.note({write.series: write.covered for write in writes})
        left_to_history = any(batch.suspect for batch in batches.values())
        for symbol, claim_us in claims.items():
            before_us = rt.claims.end_us(series[symbol])
            rt.claims.set(series[symbol], claim_us)
            left_to_history |= claim_us is None or before_us is None
        if left_to_history:
            self._on_gap(self._exchange)

    def _put_back(self, batches: dict[str, CandleBatch], rows: int, claims: dict[str, int | None]) -> None:
        """Keep what could not be stored, before what has arrived since."""
        for symbol, later in self._pending.items():
            batches.setdefault(symbol, CandleBatch()).extend(later)
        self._pending = batches
        self._pending_rows += rows
        self._builder.claims = claims | self._builder.claims
        self._arrived.set()

    def _give_up(self) -> None:
        self.given_up += self._pending_rows
        self._log.error(
            "buffer full, candles given up; their minutes are gaps for history to fill",
            exchange=self._exchange,
            candles=self._pending_rows,
        )
        self._pending.clear()
        self._pending_rows = 0


class LiveOHLCVCollector(LiveCollector):
    """Streams the candles of venues with trustworthy candles."""

    channel: ClassVar[Channel] = "candles1m"
    log_name = "fullon.ohlcv.live"
    record_type = "live_ohlcv"

    def serves(self, exchange: Exchange) -> bool:
        """Serve venues whose own candles are stored."""
        return not exchange.traits.candles_from_trades

    def __init__(
        self,
        symbols: Collection[Symbol] | None = None,
        *,
        runtime: Runtime | None = None,
        on_gap: Callable[[str], None] = lambda exchange: None,
    ) -> None:
        """Build one; `on_gap(exchange)` is called when minutes have been left to history."""
        super().__init__(symbols, runtime=runtime, on_gap=on_gap)
        self._checked: dict[str, set[str]] = {}

    def doubt(self, series: Series) -> None:
        """Compare the stream of a series with REST anew before more of it is stored."""
        if series.channel == self.channel:
            self._checked.get(series.exchange, set()).discard(series.symbol)

    def _understands(self, exchange: str, symbol: str) -> bool:
        return symbol in self._checked.get(exchange, ())

    def _sink(self, exchange: Exchange) -> Sink:
        checked = self._checked.setdefault(exchange.name, set())
        return CandleSink(
            self._rt, exchange, self._on_gap, checked=checked, stop=partial(self.stop_stream, exchange.name)
        )
