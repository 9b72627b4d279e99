"""The hand-over of trades: what is in the stream is stored before it leaves it, whoever dies in between."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support import eventually

from fullon_exchange.clock import MINUTE_US, Clock, ceil_minute_us
from fullon_exchange.records import Disconnected, Event, Subscribed, Trade, Trades, Watermark
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.trade import live_collector
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.frames import StreamEntry, encode_entry
from fullon_simulator import SimulatedMarket

SYMBOL = WantedSymbol("kraken", "BTC/USD", 1)


@pytest.fixture
async def runtime(market: SimulatedMarket) -> AsyncIterator[Runtime]:
    async with open_runtime() as opened:
        yield opened


class Stream:
    """Writes a venue's stream as its live collector would."""

    def __init__(self, runtime: Runtime, run_id: str | None = None) -> None:
        self.runtime = runtime
        self.run_id = run_id or runtime.run_id
        self.sequence = 0
        self.start_us = ceil_minute_us(runtime.clock.now_us()) - 60 * MINUTE_US

    def trade(self, minute: float, trade_id: int) -> Trades:
        at_us = self.start_us + round(minute * MINUTE_US)
        return Trades("c", [Trade("BTC/USD", at_us, 100.0 + trade_id, 1.5, "buy", str(trade_id), "market")], at_us)

    def subscribed(self, minute: float = 0) -> Subscribed:
        return Subscribed("c", "BTC/USD", "trades", self.start_us + round(minute * MINUTE_US))

    def watermark(self, minute: float) -> Watermark:
        return Watermark("c", self.start_us + round(minute * MINUTE_US))

    async def write(self, *events: Event) -> None:
        entry = StreamEntry(self.run_id, self.sequence, list(events))
        self.sequence += 1
        await self.runtime.trades_cache.append_frames("kraken", [encode_entry(entry)])

    async def stored_ids(self) -> list[str | None]:
        series = await self.runtime.store.series("kraken", "BTC/USD", "trades")
        rows = await self.runtime.store.read_trades(series, (self.start_us, self.start_us + 60 * MINUTE_US))
        return [row[5] for row in rows]

    async def covered_minutes(self) -> list[int]:
        series = await self.runtime.store.series("kraken", "BTC/USD", "candles1m")
        states = await self.runtime.store.classify(series, (self.start_us, self.start_us + 60 * MINUTE_US))
        return [(one.timestamp_us - self.start_us) // MINUTE_US for one in states if one.state != "unknown"]

    async def waiting(self) -> int:
        return await self.runtime.trades_cache.count_frames("kraken")


async def run_through(batcher: GlobalTradeBatcher, stream: Stream) -> None:
    """Start, wait until the stream is empty, stop."""
    await batcher.start_batch_processing()

    async def empty() -> bool:
        return not await stream.waiting()

    try:
        await eventually(empty, "the stream is empty")
    finally:
        await batcher.stop_batch_processing()


def batcher_of(runtime: Runtime, breaks: list[str] | None = None) -> GlobalTradeBatcher:
    batcher = GlobalTradeBatcher(runtime=runtime, on_break=(breaks if breaks is not None else []).append)
    batcher.register_symbol(SYMBOL)
    return batcher


async def test_trades_candles_and_coverage_are_stored_and_then_the_entries_leave(runtime: Runtime) -> None:
    stream = Stream(runtime)
    await stream.write(stream.subscribed(), stream.trade(0.5, 1), stream.trade(1.5, 2))
    await stream.write(stream.watermark(3.2))
    await run_through(batcher_of(runtime), stream)
    assert await stream.stored_ids() == ["1", "2"]
    assert await stream.covered_minutes() == [0, 1, 2]
    series = await runtime.store.series("kraken", "BTC/USD", "candles1m")
    candles = await runtime.store.read_candles(series, (stream.start_us, stream.start_us + 5 * MINUTE_US))
    assert [(row[4], row[5], row[6]) for row in candles] == [(101.0, 1.5, 1), (102.0, 1.5, 1)]


async def test_what_a_dead_daemon_left_is_stored_but_promises_nothing(runtime: Runtime) -> None:
    left = Stream(runtime, run_id="a daemon that was killed")
    await left.write(left.subscribed(), left.trade(0.5, 1), left.watermark(2))
    await runtime.trades_cache.read_frames(["kraken"], consumer="batcher", block_ms=0)
    await left.write(left.trade(2.5, 2), left.watermark(4))
    await run_through(batcher_of(runtime), left)
    assert await left.stored_ids() == ["1", "2"]
    assert await left.covered_minutes() == []
    assert runtime.claims.of("kraken", "trades") == []


async def test_a_lost_entry_ends_the_runs_and_is_said(runtime: Runtime) -> None:
    stream = Stream(runtime)
    breaks: list[str] = []
    await stream.write(stream.subscribed(), stream.trade(0.5, 1), stream.watermark(1))
    stream.sequence += 1
    await stream.write(stream.trade(2.5, 3), stream.watermark(4))
    await run_through(batcher_of(runtime, breaks), stream)
    assert await stream.stored_ids() == ["1", "3"]
    assert await stream.covered_minutes() == [0]
    assert breaks[1:] == ["kraken"]


async def test_an_unreadable_entry_is_skipped_and_its_neighbours_are_kept(runtime: Runtime) -> None:
    stream = Stream(runtime)
    await stream.write(stream.subscribed(), stream.trade(0.5, 1))
    await runtime.trades_cache.append_frames("kraken", [b"\xff garbage"])
    await stream.write(stream.watermark(1))
    batcher = batcher_of(runtime)
    await run_through(batcher, stream)
    assert batcher.unreadable == 1
    assert await stream.stored_ids() == ["1"]
    assert await stream.covered_minutes() == [0]


async def test_a_skipped_id_uncovers_minutes_that_were_covered_before(runtime: Runtime) -> None:
    stream = Stream(runtime)
    batcher = batcher_of(runtime)
    await batcher.start_batch_processing()
    try:
        await stream.write(stream.subscribed(), stream.trade(0.5, 1), stream.watermark(3))

        async def covered() -> bool:
            return await stream.covered_minutes() == [0, 1, 2]

        await eventually(covered, "three minutes covered")
        await stream.write(stream.trade(3.5, 3), stream.watermark(5))

        async def doubted() -> bool:
            return await stream.covered_minutes() == [4]

        await eventually(doubted, "the minutes in which the trade may lie are unknown again")
    finally:
        await batcher.stop_batch_processing()


async def test_a_claim_follows_the_stream_and_ends_with_the_connection(runtime: Runtime, clock: Clock) -> None:
    stream = Stream(runtime)
    series = await runtime.store.series("kraken", "BTC/USD", "trades")
    gaps: list[str] = []
    batcher = GlobalTradeBatcher(runtime=runtime, on_gap=gaps.append)
    batcher.register_symbol(SYMBOL)
    await stream.write(stream.subscribed(0.5), stream.watermark(3.5))
    await run_through(batcher, stream)
    assert runtime.claims.end_us(series) == stream.start_us + 3 * MINUTE_US
    await stream.write(Disconnected("c", stream.start_us + 4 * MINUTE_US, "cut"))
    await run_through(batcher, stream)
    assert runtime.claims.end_us(series) is None
    assert gaps


async def test_only_one_batcher_runs_in_a_process(runtime: Runtime) -> None:
    first, second = batcher_of(runtime), batcher_of(runtime)
    await first.start_batch_processing()
    try:
        with pytest.raises(RuntimeError, match="already"):
            await second.start_batch_processing()
        await second.stop_batch_processing()
    finally:
        await first.stop_batch_processing()


async def test_nothing_is_acknowledged_while_the_write_has_not_committed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table lock holds the write back, as a slow disk would; the entries stay until it is gone."""
    stream = Stream(runtime)
    await stream.runtime.store.series("kraken", "BTC/USD", "trades")
    await stream.write(stream.subscribed(), stream.trade(0.5, 1), stream.watermark(2))
    batcher = batcher_of(runtime)
    async with runtime.store.connection("lock") as connection, connection.transaction():
        await connection.execute("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE")
        await batcher.start_batch_processing()
        await asyncio.sleep(1.0)
        assert await stream.waiting() == 1
    try:

        async def stored() -> bool:
            return not await stream.waiting()

        await eventually(stored, "stored once the lock is gone")
        assert await stream.stored_ids() == ["1"]
    finally:
        await batcher.stop_batch_processing()


async def test_what_arrives_is_gathered_into_one_entry_until_a_watermark_sends_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_collector, "GATHER_S", 3600.0)
    stream = Stream(runtime)
    sink = live_collector.TradeSink(runtime, "kraken")

    async def handed_over() -> bool:
        return await stream.waiting() > 0

    async with asyncio.TaskGroup() as group:
        running = group.create_task(sink.run())
        sink.feed([stream.subscribed(), stream.trade(0.5, 1)])
        sink.feed([stream.trade(0.7, 2)])
        sink.feed([stream.watermark(1.2)])
        await eventually(handed_over, "a watermark sends what was gathered")
        running.cancel()
    assert await stream.waiting() == 1
    await run_through(batcher_of(runtime), stream)
    assert await stream.stored_ids() == ["1", "2"]
    assert sink.buffered == 0


async def test_a_defect_of_one_symbol_is_logged_once_and_costs_no_other_symbol_anything(
    runtime: Runtime, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = Stream(runtime)
    async with runtime.store.connection("forbid") as connection:
        await connection.execute("ALTER TABLE trades ADD CONSTRAINT low CHECK (price < 1000)")
    dear = await runtime.store.series("kraken", "ETH/USD", "trades")
    batcher = batcher_of(runtime)
    for first in (0, 2):
        at_us = stream.start_us + first * MINUTE_US
        theirs = Trades("c", [Trade("ETH/USD", at_us + 1, 5000.0, 1.0, "buy", f"9{first}", "market")], at_us)
        also = Subscribed("c", "ETH/USD", "trades", stream.start_us)
        await stream.write(stream.subscribed(), also, stream.trade(first + 0.5, first // 2), theirs)
        await stream.write(stream.watermark(first + 2))
        await run_through(batcher, stream)
    assert await stream.stored_ids() == ["0", "1"]
    assert await stream.covered_minutes() == [0, 1, 2, 3]
    span = (stream.start_us, stream.start_us + 4 * MINUTE_US)
    assert await runtime.store.gaps({dear: span}) == {dear: [span]}
    assert runtime.claims.end_us(dear) is None
    assert runtime.store.database_errors["defect"] > 0
    logged = [line for line in capfd.readouterr().err.splitlines() if "not stored because of a defect" in line]
    assert len(logged) == 1
    assert "23514" in logged[0]
    assert "Traceback" not in logged[0]
