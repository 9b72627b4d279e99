"""Handing over trades and candles, cancelled at the first await, the second, and so on: nothing vanishes."""

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from fullon_exchange.clock import MINUTE_US, ceil_minute_us
from fullon_exchange.records import Candle, Candles, Disconnected, Event, Subscribed, Trade, Trades, Watermark
from fullon_ohlcv.records import Series
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.ohlcv.live_collector import CandleSink
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.trade import batcher as batcher_module
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.frames import StreamEntry, decode_entry, encode_entry
from fullon_ohlcv_service.trade.live_collector import TradeSink
from fullon_simulator import SimulatedMarket

SYMBOL = WantedSymbol("kraken", "BTC/USD", 1)
AWAITS_MAX = 300
"""More than one hand-over takes."""
PATIENCE_S = 60.0


@pytest.fixture
async def runtime(market: SimulatedMarket) -> AsyncIterator[Runtime]:
    async with open_runtime() as opened:
        yield opened


@types.coroutine
def cancelled_at(number: int, work: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Run `work` and cancel its task where it waits for the `number`th time."""
    waits = 0
    step, given = work.send, None
    while True:
        try:
            waiting_for = step(given)
        except StopIteration:
            return
        waits += 1
        if waits == number:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            given = yield waiting_for
            step = work.send
        except BaseException as error:  # noqa: BLE001 -- handed on to the work, whatever it is
            given = error
            step = work.throw


async def cancel_at(number: int, work: Coroutine[Any, Any, None], is_idle: Callable[[], bool] = lambda: False) -> None:
    """Cancel it where it waits for the `number`th time, or where it has nothing to do: waits vary in number."""

    async def run() -> None:
        await cancelled_at(number, work)

    task = asyncio.create_task(run())
    async with asyncio.timeout(PATIENCE_S):
        while not task.done():
            if is_idle():
                task.cancel()
            await asyncio.wait([task], timeout=0.02)


class Episode:
    """Six minutes of one symbol, of which one trade never reaches us, and what may be claimed of them."""

    def __init__(self, runtime: Runtime, number: int) -> None:
        self.start_us = ceil_minute_us(runtime.clock.now_us()) - (AWAITS_MAX - number + 2) * 6 * MINUTE_US
        self.first_id = 4 * number
        self.names = (f"a{number}", f"b{number}")

    def at(self, minute: float) -> int:
        return self.start_us + round(minute * MINUTE_US)

    def trade(self, connection: int, minute: float, number: int) -> Trades:
        at_us = self.at(minute)
        one = Trade("BTC/USD", at_us, 100.0, 1.5, "buy", str(self.first_id + number), "market")
        return Trades(self.names[connection], [one], at_us)

    def before(self) -> list[Event]:
        """Three minutes are claimed, wrongly: the trade with number 2, of minute 2, is not there."""
        first, _ = self.names
        return [
            Subscribed(first, "BTC/USD", "trades", self.at(0)),
            self.trade(0, 0.5, 0),
            self.trade(0, 2.1, 1),
            Watermark(first, self.at(3.1)),
        ]

    def after(self) -> list[Event]:
        """The next connection shows the loss, proves minute 4, and goes."""
        first, second = self.names
        return [
            Disconnected(first, self.at(3.2), "gone"),
            Subscribed(second, "BTC/USD", "trades", self.at(3.3)),
            self.trade(1, 3.5, 3),
            Watermark(second, self.at(5.1)),
            Disconnected(second, self.at(5.2), "gone"),
        ]

    def delivered_ids(self) -> list[str]:
        return [str(self.first_id + number) for number in (0, 1, 3)]


async def write(runtime: Runtime, sequence: int, events: list[Event]) -> None:
    await runtime.trades_cache.append_frames("kraken", [encode_entry(StreamEntry(runtime.run_id, sequence, events))])


async def store_all(batcher: GlobalTradeBatcher) -> None:
    task = asyncio.create_task(batcher.run())
    async with asyncio.timeout(PATIENCE_S):
        while await batcher.runtime.trades_cache.count_frames("kraken"):
            assert not task.done()
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait([task])


async def covered_minutes(runtime: Runtime, series: Series, episode: Episode) -> set[int]:
    states = await runtime.store.classify(series, (episode.at(0), episode.at(6)))
    return {(one.timestamp_us - episode.start_us) // MINUTE_US for one in states if one.state != "unknown"}


async def test_a_batcher_cancelled_at_any_await_stores_everything_and_claims_nothing_wrongly(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started again as a supervisor would; what it had read, found out and promised is not lost."""
    monkeypatch.setattr(batcher_module, "GATHER_S", 0.0)
    batcher = GlobalTradeBatcher(runtime=runtime)
    batcher.register_symbol(SYMBOL)
    trades = await runtime.store.series("kraken", "BTC/USD", "trades")
    candles = await runtime.store.series("kraken", "BTC/USD", "candles1m")
    through = 0
    for number in range(1, AWAITS_MAX):
        episode = Episode(runtime, number)
        await write(runtime, 0, episode.before())
        await store_all(batcher)
        assert await covered_minutes(runtime, candles, episode) == {0, 1, 2}
        await write(runtime, 0, episode.after())
        await cancel_at(number, batcher.run())
        through += not await runtime.trades_cache.count_frames("kraken")
        await store_all(batcher)
        rows = await runtime.store.read_trades(trades, (episode.at(0), episode.at(6)))
        assert [row[5] for row in rows] == episode.delivered_ids(), f"cancelled at await {number}"
        covered = await covered_minutes(runtime, candles, episode)
        assert covered in ({0, 1}, {0, 1, 4}), f"cancelled at await {number}"
        assert runtime.claims.end_us(trades) is None, f"cancelled at await {number}"
        if through == 2:
            return
    pytest.fail(f"not through after {AWAITS_MAX} awaits")


def has_nothing_to_do(sink: TradeSink) -> bool:
    return not sink.buffered and not sink._arrived.is_set()


async def test_a_sink_cancelled_at_any_await_hands_everything_over(runtime: Runtime) -> None:
    """What was under way when it was cancelled is handed over by `drain()`, at worst twice."""
    for number in range(1, AWAITS_MAX):
        episode = Episode(runtime, number)
        sink = TradeSink(runtime, "kraken")
        sink.feed([*episode.before(), *episode.after()])
        await cancel_at(number, sink.run(), partial(has_nothing_to_do, sink))
        through = await runtime.trades_cache.count_frames("kraken") > 0 and not sink.buffered
        await sink.drain()
        frames = await runtime.trades_cache.read_frames(["kraken"], consumer="test", count=100, block_ms=1)
        events = [event for frame in frames for event in decode_entry(frame.payload).events]
        ids = [trade.trade_id for event in events if isinstance(event, Trades) for trade in event.records]
        assert list(dict.fromkeys(ids)) == episode.delivered_ids(), f"cancelled at await {number}"
        await runtime.trades_cache.ack_frames("kraken", [frame.entry_id for frame in frames])
        if through:
            return
    pytest.fail(f"not through after {AWAITS_MAX} awaits")


async def test_a_candle_sink_cancelled_at_any_await_stores_and_promises_everything(runtime: Runtime) -> None:
    """A candle of one symbol and the promise of another, both new to the database."""
    exchange = await runtime.exchanges.get("binance")
    begun_us = ceil_minute_us(runtime.clock.now_us()) - 10 * MINUTE_US
    for number in range(1, AWAITS_MAX):
        names = [f"{name}{number}/USDT" for name in ("TRADED", "PROMISED")]
        sink = CandleSink(runtime, exchange, lambda _: None, checked=set(names), stop=lambda *_: None)
        candle = Candle(names[0], "1m", begun_us, 1.0, 1.0, 1.0, 1.0, 1.0, 1, closed=True)
        told = [Subscribed("a", symbol, "candles1m", begun_us) for symbol in names]
        sink.feed([*told, Candles("a", [candle], begun_us + MINUTE_US)])
        await cancel_at(number, sink._store_pending())
        through = not sink._pending and not sink._builder.claims
        await sink._store_pending()
        traded, promised = [await runtime.store.series("binance", symbol, "candles1m") for symbol in names]
        rows = await runtime.store.read_candles(traded, (begun_us, begun_us + MINUTE_US))
        assert [row[0] for row in rows] == [begun_us], f"cancelled at await {number}"
        assert runtime.claims.end_us(promised) == begun_us, f"cancelled at await {number}"
        if through:
            return
    pytest.fail(f"not through after {AWAITS_MAX} awaits")


async def test_what_stands_before_an_await_that_is_cancelled_is_done_and_what_follows_is_not() -> None:
    """The tool itself: each wait of a coroutine is one number, and cancelling is a real `Task.cancel()`."""
    for number in (1, 2, 3):
        done: list[int] = []

        async def work(done: list[int] = done) -> None:
            for step in (1, 2, 3):
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await asyncio.sleep(0.001)
                done.append(step)

        await cancel_at(number, work())
        assert done == list(range(1, number))
