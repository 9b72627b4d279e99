"""A candle that has closed is told once, after it can be read, and telling never holds collecting up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from support import eventually, running_daemon

from fullon_cache import ClosedCandle, watch_closed
from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.records import CandleRow, CandleWrite, Series
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import to_us
from fullon_ohlcv_service.closings import Closings
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_simulator import SimulatedMarket

ALL = (("kraken", "BTC/USD"), ("kraken", "ADA/USD"), ("binance", "BTC/USDT"), ("binance", "ADA/USDT"))
START_US = floor_minute_us(1_772_000_000_000_000)


async def test_every_live_minute_is_told_once_in_order_and_can_be_read_by_then(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    heard: dict[tuple[str, str], list[ClosedCandle]] = {one: [] for one in ALL}
    async with (
        asyncio.timeout(60),
        TimeseriesStore.open(now_us=clock.now_us) as store,
        watch_closed() as candles,
        running_daemon(),
    ):
        async for one in candles:
            heard[one.exchange, one.symbol].append(one)
            series = await store.series(one.exchange, one.symbol, "candles1m")
            at_us = to_us(one.timestamp)
            [state] = await store.classify(series, (at_us, at_us + MINUTE_US))
            assert state.state == one.state, "committed before it is told"
            assert (one.timeframe, one.closed_at > one.timestamp + timedelta(minutes=1)) == ("1m", True)
            enough = all(len(told) > 1 for told in heard.values())
            if enough and any(one.state == "verified_empty" for told in heard.values() for one in told):
                break
    for name, told in heard.items():
        starts = [to_us(one.timestamp) for one in told]
        assert starts == sorted(set(starts)), "each minute once, in order; one that history had to prove is not told"
        published = seeded.truth(*name).candles(starts[0], starts[-1] + MINUTE_US)
        truth = [one for one in published if one.timestamp_us in starts]
        traded = [(to_us(one.timestamp), one.open, one.high, one.low, one.close) for one in told if one.volume]
        assert traded == [(one.timestamp_us, one.open, one.high, one.low, one.close) for one in truth]
        empty = [one for one in told if one.state == "verified_empty"]
        assert {(one.open, one.close, one.volume, one.trades) for one in empty} <= {(None, None, 0.0, 0)}


@pytest.fixture
async def runtime(fresh_databases: None) -> AsyncIterator[Runtime]:
    async with open_runtime() as opened, asyncio.timeout(60), asyncio.TaskGroup() as group:
        telling = group.create_task(opened.closings.run())
        await asyncio.sleep(0)
        yield opened
        telling.cancel()


async def commit(runtime: Runtime, series: list[Series], minute: int) -> None:
    """Store one minute of each series as live collection does, every third of them empty."""
    at_us = START_US + minute * MINUTE_US
    candle: CandleRow = (at_us, 1.0, 3.0, 0.5, 2.0, 4.0, 5)
    covered = [(at_us, at_us + MINUTE_US)]
    writes = [CandleWrite(one, [candle] if number % 3 else [], covered) for number, one in enumerate(series)]
    await runtime.store.write_candles(writes)
    runtime.closings.note({write.series: write.covered for write in writes})


async def series_of(runtime: Runtime, count: int) -> list[Series]:
    return [await runtime.store.series("kraken", f"S{number}/USD", "candles1m") for number in range(count)]


async def test_two_thousand_symbols_that_close_together_are_all_told(runtime: Runtime) -> None:
    series = await series_of(runtime, 2000)
    async with watch_closed("kraken") as candles:
        await commit(runtime, series, 0)
        heard = [await anext(candles) for _ in series]
    assert {one.symbol for one in heard} == {one.symbol for one in series}
    assert sum(one.state == "verified_empty" for one in heard) == 667
    await eventually(lambda: runtime.closings.told == 2000, "all are counted")


async def test_a_minute_that_is_noted_twice_or_is_not_covered_is_not_told(runtime: Runtime) -> None:
    [one] = await series_of(runtime, 1)
    async with watch_closed() as candles:
        await commit(runtime, [one], 0)
        await commit(runtime, [one], 0)
        runtime.closings.note({one: [(START_US + MINUTE_US, START_US + 2 * MINUTE_US)]})
        await commit(runtime, [one], 2)
        heard = [(to_us((await anext(candles)).timestamp) - START_US) // MINUTE_US for _ in range(2)]
    assert heard == [0, 2]


async def test_a_redis_that_is_away_holds_nobody_up_and_is_told_again_when_it_is_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, servers: dict[str, str]
) -> None:
    series = await series_of(runtime, 3)
    with monkeypatch.context() as away:
        away.setenv("REDIS_HOST", "/nowhere/redis.sock")
        await runtime.closings._cache.close()
        await commit(runtime, series, 0)
        await eventually(lambda: runtime.closings.dropped == 3, "what cannot be told is given up")
    await runtime.closings._cache.close()
    async with watch_closed() as candles:
        await commit(runtime, series, 1)
        heard = [await anext(candles) for _ in series]
    assert {to_us(one.timestamp) for one in heard} == {START_US + MINUTE_US}


async def test_noting_is_bounded_and_costs_nothing_where_nobody_tells(runtime: Runtime) -> None:
    idle = Closings(runtime.clock, runtime.store, runtime.closings._cache)
    [one] = await series_of(runtime, 1)
    idle.note({one: [(START_US, START_US + MINUTE_US)]})
    assert (idle._pending, idle.dropped) == ({}, 0)
    runtime.closings.note({one: [(START_US, START_US + 100_001 * MINUTE_US)]})
    assert (runtime.closings._pending, runtime.closings.dropped) == ({}, 100_001)
