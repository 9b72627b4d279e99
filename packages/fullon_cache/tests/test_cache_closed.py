"""Closed candles are told to those who listen, and silence is told apart from death."""

import asyncio
import sys
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fullon_cache import (
    ClosedCandle,
    ClosedCandles,
    ConnectionError,
    ConnectionPool,
    SerializationError,
    closed_candles,
    closed_channel,
    watch_closed,
)

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def a_candle(minute: int = 0, exchange: str = "kraken", symbol: str = "BTC/USD") -> ClosedCandle:
    at = START + timedelta(minutes=minute)
    return ClosedCandle(
        exchange=exchange, symbol=symbol, timestamp=at, state="traded", open=1.0, high=2.5, low=0.5, close=2.0,
        volume=3.25, trades=7, closed_at=at + timedelta(seconds=61),
    )  # fmt: skip


def an_empty_minute() -> ClosedCandle:
    return ClosedCandle(
        exchange="kraken", symbol="ADA/USD", timestamp=START, state="verified_empty", open=None, high=None, low=None,
        close=None, volume=0.0, trades=0, closed_at=START + timedelta(seconds=61),
    )  # fmt: skip


async def test_candles_are_heard_in_order_as_they_were_told(redis: ConnectionPool) -> None:
    told = [a_candle(0), an_empty_minute(), a_candle(1), a_candle(1, "binance", "BTC/USDT")]
    async with ClosedCandles() as cache, asyncio.timeout(20), watch_closed() as candles:
        await cache.publish(told)
        assert [await anext(candles) for _ in told] == told


async def test_one_exchange_or_some_symbols_can_be_asked_for(redis: ConnectionPool) -> None:
    told = [a_candle(0), a_candle(0, "binance"), a_candle(0, symbol="ETH/USD"), a_candle(1)]
    async with (
        ClosedCandles() as cache,
        asyncio.timeout(20),
        watch_closed("kraken", {"BTC/USD"}) as some,
        watch_closed(symbols=["ETH/USD"]) as others,
    ):
        await cache.publish(told)
        assert [await anext(some), await anext(some)] == [told[0], told[3]]
        assert await anext(others) == told[2]


async def test_the_message_is_plain_json_with_aware_times(redis: ConnectionPool) -> None:
    async with aclosing(redis.client.pubsub()) as pubsub, ClosedCandles() as cache, asyncio.timeout(20):
        await pubsub.subscribe(closed_channel(redis.settings.database))
        await cache.publish([an_empty_minute()])
        while (message := await pubsub.get_message(timeout=5)) is None or message["type"] != "message":
            pass
    assert message["data"] == (
        b'{"exchange":"kraken","symbol":"ADA/USD","timeframe":"1m","timestamp":"2026-03-02T12:00:00Z",'
        b'"state":"verified_empty","open":null,"high":null,"low":null,"close":null,"volume":0.0,"trades":0,'
        b'"closed_at":"2026-03-02T12:01:01Z"}'
    )


async def test_each_logical_database_has_a_channel_of_its_own(
    redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [closed_channel(number) for number in (0, 2)] == ["ohlcv:closed", "ohlcv:closed@2"]
    async with ClosedCandles() as ours, watch_closed() as candles, asyncio.timeout(20):
        monkeypatch.setenv("REDIS_DB", "0")
        async with ClosedCandles() as others:
            await others.publish([a_candle(0)])
        await ours.publish([a_candle(1)])
        assert await anext(candles) == a_candle(1)


async def test_something_else_on_the_channel_is_one_sentence(redis: ConnectionPool) -> None:
    async with watch_closed() as candles, asyncio.timeout(20):
        await redis.run("PUBLISH", closed_channel(redis.settings.database), b'{"exchange": 1}')
        with pytest.raises(SerializationError, match=r"ohlcv:closed.*something else"):
            await anext(candles)


@pytest.mark.parametrize("hurt", ["kill", "freeze"])
async def test_a_redis_that_dies_or_goes_silent_ends_the_watch_with_an_error(
    hurt_redis: Any, hurt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_candles, "SILENT_MAX_S", 0.1)
    async with asyncio.timeout(30):
        async with watch_closed() as candles:
            getattr(hurt_redis, hurt)()
            with pytest.raises(ConnectionError) as caught:
                await anext(candles)
        assert caught.value.retryable
        with pytest.raises(ConnectionError):
            await watch_closed().__aenter__()


async def test_silence_alone_is_no_error(redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_candles, "SILENT_MAX_S", 0.0)
    monkeypatch.setattr(closed_candles, "POLL_S", 0.01)
    before = (await redis.run("INFO", "commandstats")).get("cmdstat_ping", {}).get("calls", 0)
    async with ClosedCandles() as cache, watch_closed() as candles, asyncio.timeout(20), asyncio.TaskGroup() as group:
        heard = group.create_task(anext(candles))
        while (await redis.run("INFO", "commandstats")).get("cmdstat_ping", {}).get("calls", 0) < before + 3:
            await asyncio.sleep(0.01)
        await cache.publish([a_candle()])
        assert await heard == a_candle()


async def test_the_readme_example_hears_of_closed_candles(redis: ConnectionPool) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = readme[readme.index("hears of them") :].split("```python\n")[1].split("```")[0]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-W", "error", "-c", example, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    channel = closed_channel(redis.settings.database)
    try:
        async with asyncio.timeout(30), ClosedCandles() as cache:
            while (await redis.run("PUBSUB", "NUMSUB", channel))[1] == 0:
                await asyncio.sleep(0.02)
            await cache.publish([a_candle(), an_empty_minute(), a_candle(1, symbol="ETH/USD")])
            said = [await process.stdout.readline() for _ in range(2)]
    finally:
        process.kill()
        await process.wait()
    assert said == [
        b"BTC/USD 2026-03-02 12:00:00+00:00 1.0 2.5 0.5 2.0 3.25\n",
        b"ETH/USD 2026-03-02 12:01:00+00:00 1.0 2.5 0.5 2.0 3.25\n",
    ]
