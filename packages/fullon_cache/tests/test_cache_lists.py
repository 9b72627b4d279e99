"""Lists of trades and of candles."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixed_clock import wall_now
from hypothesis import given, settings
from hypothesis import strategies as st

import fullon_cache
from fullon_cache import ConnectionPool, OHLCVCache, SerializationError, TradesCache, ohlcv_cache, trades_cache
from fullon_orm.models import Trade

TRADE = Trade(
    ex_trade_id="7", symbol="BTC/USD", side="buy", price=50_000.5, volume=0.1, time=datetime(2026, 1, 5, tzinfo=UTC)
)


async def test_pushed_trades_come_back_once_in_order_and_of_their_kind(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        assert await cache.push_trade_list("BTC/USD", "kraken", TRADE) == 1
        assert await cache.push_trade("BTC/USD", "kraken", {"price": 1.5, "side": "sell"}) == 2
        assert await cache.push_trade_list("BTC/USD", "kraken", [{"n": 3}, TRADE]) == 4
        assert await cache.push_trade_list("ETH/USD", "kraken", TRADE) == 1
        assert await redis.run("LLEN", "trades:kraken:BTCUSD") == 4
        first = json.loads(await redis.run("LINDEX", "trades:kraken:BTCUSD", 0))
        assert first == TRADE.to_dict()
        trades = await cache.get_trades("BTC/USD", "kraken")
        assert trades == [TRADE, {"price": 1.5, "side": "sell"}, {"n": 3}, TRADE]
        assert await cache.get_trades("BTC/USD", "kraken") == []
        assert await cache.get_trades("ETH/USD", "kraken") == [TRADE]


async def test_no_trade_is_taken_twice_or_missed(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        taken: list[int] = []

        async def take() -> None:
            for _ in range(20):
                taken.extend(trade["n"] for trade in await cache.get_trades("X", "kraken"))

        async def push() -> None:
            for number in range(100):
                await cache.push_trade("X", "kraken", {"n": number})

        await asyncio.gather(push(), take(), take())
        taken += [trade["n"] for trade in await cache.get_trades("X", "kraken")]
        assert sorted(taken) == list(range(100))


async def test_a_list_nobody_reads_keeps_the_newest(redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trades_cache, "TRADES_MAX", 3)
    async with TradesCache() as cache:
        assert await cache.push_trade_list("X", "kraken", [{"n": n} for n in range(5)]) == 3
        assert await cache.get_trades("X", "kraken") == [{"n": 2}, {"n": 3}, {"n": 4}]


async def test_an_unreadable_trade_does_not_cost_its_neighbours(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        await cache.push_trade("X", "kraken", {"n": 1})
        await redis.run("RPUSH", "trades:kraken:X", "{", "5", json.dumps(TRADE.to_dict() | {"price": "much"}))
        await cache.push_trade("X", "kraken", {"n": 2})
        assert await cache.get_trades("X", "kraken") == [{"n": 1}, {"n": 2}]
        with pytest.raises(SerializationError, match="trades:kraken:X"):
            await cache.push_trade("X", "kraken", {"n": object()})


async def test_trade_statuses_tell_when_trades_were_seen(redis: ConnectionPool) -> None:
    async with TradesCache() as cache:
        before = wall_now()
        assert await cache.update_trade_status("kraken:BTC/USD")
        await cache.update_trade_status("kraken:ETH/USD")
        await cache.update_trade_status("binance:BTC/USDT")
        seen = await cache.get_trade_status("kraken:BTC/USD")
        assert seen is not None
        assert before <= seen <= wall_now()
        assert await cache.get_trade_status("kraken:XRP/USD") is None
        assert list(await cache.get_all_trade_statuses("kraken")) == ["kraken:BTC/USD", "kraken:ETH/USD"]
        assert len(await cache.get_all_trade_statuses()) == 3


def bar(minute: int, close: float = 1.0) -> list[float]:
    return [1_767_571_200_000 + minute * 60_000, 1.0, 2.0, 0.5, close, 10.25]


async def test_bars_are_kept_under_the_documented_keys(redis: ConnectionPool) -> None:
    async with OHLCVCache() as cache:
        await cache.update_ohlcv_bars("BTC/USD", "1m", [bar(0), bar(1), bar(2)])
        await cache.set_ohlcv("kraken", "BTC/USD", "1m", [bar(5)])
        assert json.loads(await redis.run("LINDEX", "ohlcv:BTC/USD:1m", -1)) == bar(2)
        assert json.loads(await redis.run("LINDEX", "ohlcv:kraken:BTC/USD:1m", 0)) == bar(5)
        assert await cache.get_latest_ohlcv_bars("BTC/USD", "1m", 2) == [bar(1), bar(2)]
        assert await cache.get_latest_ohlcv_bars("BTC/USD", "1m", 0) == []
        assert await cache.get_latest_ohlcv_bars("BTC/USD", "1m", 99) == [bar(0), bar(1), bar(2)]
        assert await cache.get_latest_ohlcv_bars("ETH/USD", "1m", 5) == []
        assert await cache.get_ohlcv("kraken", "BTC/USD", "1m") == [bar(5)]


async def test_the_bar_in_progress_is_replaced_by_its_later_form(redis: ConnectionPool) -> None:
    async with OHLCVCache() as cache:
        await cache.update_ohlcv_bars("X", "1m", [bar(0), bar(1, close=1.1)])
        await cache.update_ohlcv_bars("X", "1m", [bar(1, close=1.2)])
        await cache.update_ohlcv_bars("X", "1m", [bar(2), bar(1, close=1.3)])
        await cache.update_ohlcv_bars("X", "1m", [])
        assert await cache.get_latest_ohlcv_bars("X", "1m", 9) == [bar(0), bar(1, close=1.3), bar(2)]


async def test_setting_replaces_everything_and_keeps_the_newest(
    redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ohlcv_cache, "BARS_MAX", 3)
    async with OHLCVCache() as cache:
        await cache.set_ohlcv("kraken", "X", "1m", [bar(9), bar(8)])
        await cache.set_ohlcv("kraken", "X", "1m", [bar(4), bar(1), bar(3), bar(2)])
        assert await cache.get_ohlcv("kraken", "X", "1m") == [bar(2), bar(3), bar(4)]
        await cache.update_ohlcv_bars("kraken:X", "1m", [bar(5)])
        assert await cache.get_ohlcv("kraken", "X", "1m") == [bar(3), bar(4), bar(5)]
        await cache.set_ohlcv("kraken", "X", "1m", [])
        assert await cache.get_ohlcv("kraken", "X", "1m") == []


@pytest.mark.parametrize("wrong", [[], ["2026"], [None, 1.0], [float("nan"), 1.0]])
async def test_a_bar_without_a_time_is_refused_and_nothing_is_written(
    redis: ConnectionPool, wrong: list[float]
) -> None:
    async with OHLCVCache() as cache:
        with pytest.raises(ValueError, match=r"bar is .*; allowed is \[timestamp in ms"):
            await cache.update_ohlcv_bars("X", "1m", [bar(0), wrong])
        assert await cache.get_latest_ohlcv_bars("X", "1m", 5) == []


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(0, 12), st.floats(1, 9)), max_size=6), max_size=6))
async def test_updates_leave_the_last_word_for_each_minute_in_order(
    redis: ConnectionPool, updates: list[list[tuple[int, float]]]
) -> None:
    await redis.run("FLUSHDB")
    expected: dict[int, float] = {}
    async with OHLCVCache() as cache:
        for update in updates:
            await cache.update_ohlcv_bars("X", "1m", [bar(minute, close) for minute, close in update])
            expected |= dict(update)
        stored = await cache.get_latest_ohlcv_bars("X", "1m", 100)
    assert stored == [bar(minute, close) for minute, close in sorted(expected.items())]


def test_everything_exported_is_there_and_documented() -> None:
    assert sorted(fullon_cache.__all__) == fullon_cache.__all__
    assert all(getattr(fullon_cache, name).__doc__ for name in fullon_cache.__all__)


def test_the_readme_example_runs(redis: ConnectionPool) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    example = readme.read_text().split("```python\n")[1].split("```")[0]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "kraken b'frame 1'\nkraken b'frame 2'\nohlcv_daemon running 2 frames stored\n"
