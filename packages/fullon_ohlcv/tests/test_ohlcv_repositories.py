"""The published repositories: saving, reading back, sharing a pool."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import arrow
import pytest

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.models import Candle, Trade
from fullon_ohlcv.records import State
from fullon_ohlcv.repositories.ohlcv import (
    CandleRepository,
    OHLCVBaseRepository,
    TimeseriesRepository,
    TradeRepository,
)
from fullon_ohlcv.timeframe import MINUTE_US, from_us, to_us

START = datetime(2025, 3, 30, 1, 0, tzinfo=UTC)
T_MS = int(START.timestamp() * 1000)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def candle(number: int, close: float = 2.0) -> Candle:
    return Candle(timestamp=minute(number), open=1.5, high=3.0, low=1.0, close=close, vol=0.1)


def trade(second: float, price: float = 100.0, trade_id: str | None = None) -> Trade:
    return Trade(START + timedelta(seconds=second), price, 0.1, "BUY", "MARKET", trade_id)


async def test_candles_are_saved_and_found(database: str) -> None:
    async with CandleRepository("kraken", "BTC/USD") as repository:
        assert await repository.init_symbol()
        assert await repository.save_candles([candle(0), candle(1)])
        assert await repository.save_candles([[T_MS + 120_000, 1.5, 3.0, 1.0, 2.0, 0.1]])
        assert await repository.get_oldest_timestamp() == arrow.get(minute(0))
        assert await repository.get_latest_timestamp() == arrow.get(minute(2))
    async with TimeseriesRepository("kraken", "BTC/USD") as series:
        rows = await series.fetch_ohlcv(1, "minutes", minute(0), minute(3))
    assert rows == [(minute(number), 1.5, 3.0, 1.0, 2.0, 0.1) for number in range(3)]


async def test_test_repositories_live_in_the_test_database(database: str, template: str) -> None:
    repository = CandleRepository("kraken", "BTC/USD", test=True)
    await repository.initialize()
    await repository.initialize()
    assert repository.store.target.database == database
    await repository.close()
    await repository.close()
    with pytest.raises(RuntimeError, match="not open"):
        await repository.save_candles([])


async def test_bad_rows_are_reported_one_by_one_and_the_rest_is_stored(database: str) -> None:
    rows: list[Any] = [
        candle(0),
        Candle(datetime(2025, 3, 30), 1, 1, 1, 1, 1),  # noqa: DTZ001
        Candle(minute(1), float("nan"), 3.0, 1.0, 2.0, 0.1),
        [T_MS // 1000, 1.5, 3.0, 1.0, 2.0, 0.1],
        [T_MS + 0.5, 1.5, 3.0, 1.0, 2.0, 0.1],
        [T_MS + 120_000, 1.5, 3.0],
        [None, 1, 1, 1, 1, 1],
        "candle",
        None,
        candle(3),
    ]
    async with CandleRepository("kraken", "BTC/USD") as repository:
        assert not await repository.save_candles(rows)
        assert [row for row, _ in repository.rejected][-2:] == ["candle", None]
        assert len(repository.rejected) == 8
        assert all("kraken BTC/USD candles1m" in reason for _, reason in repository.rejected)
        assert await repository.get_latest_timestamp() == arrow.get(minute(3))
        assert await repository.save_candles([candle(1)])
        assert repository.rejected == []


async def test_any_number_of_rows_and_any_time_zone(database: str) -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    rows = [Candle(minute(n).astimezone(kathmandu), 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(20_000)]
    async with CandleRepository("kraken", "BTC/USD") as repository:
        assert await repository.save_candles(rows)
        assert await repository.save_candles([])
        assert await repository.get_latest_timestamp() == arrow.get(minute(19_999))


async def test_milliseconds_are_milliseconds_whatever_their_size(database: str) -> None:
    """Failure seen elsewhere: values below 1e12 (before 2001-09-09) were taken for seconds."""
    async with CandleRepository("kraken", "BTC/USD") as repository:
        assert not await repository.save_candles([[999_999_960_000, 1, 1, 1, 1, 1]])
        assert "before" in repository.rejected[0][1] or "from 2009" in repository.rejected[0][1]


async def test_covering_candles_makes_the_ledger_speak(database: str) -> None:
    async with CandleRepository("kraken", "BTC/USD") as repository:
        await repository.save_candles([candle(0), candle(2)], covering=(minute(0), arrow.get(minute(4))))
        series = await repository.store.series("kraken", "BTC/USD", "candles1m")
        states = await repository.store.classify(series, (to_us(minute(0)), to_us(minute(5))))
        assert [state.state for state in states] == [
            State.TRADED, State.VERIFIED_EMPTY, State.TRADED, State.VERIFIED_EMPTY, State.UNKNOWN,
        ]  # fmt: skip


async def test_trades_are_saved_and_read_in_order(database: str) -> None:
    trades = [trade(second, 100 + second, str(1000 - second)) for second in range(150)]
    async with TradeRepository("kraken", "BTC/USD") as repository:
        assert await repository.get_recent_trades() == []
        assert await repository.get_latest_timestamp() is None
        assert await repository.store.find_series("kraken", "BTC/USD", "trades") is None
        assert await repository.save_trades(trades)
        assert await repository.save_trades(trades)
        lower = [Trade(t.timestamp, t.price, t.volume, "buy", "market", t.trade_id) for t in trades]
        assert await repository.get_recent_trades() == lower[50:]
        assert await repository.get_recent_trades(limit=2) == lower[148:]
        assert await repository.get_trades_in_range(minute(0), minute(1)) == lower[:60]
        assert await repository.get_trades_in_range(minute(1), minute(2), limit=3) == lower[60:63]
        assert await repository.get_oldest_timestamp() == arrow.get(START)
        with pytest.raises(ValueError, match="limit is -1"):
            await repository.get_recent_trades(limit=-1)


async def test_two_equal_trades_without_ids_stay_two(database: str) -> None:
    async with TradeRepository("bitmex", "XBT/USD") as repository:
        for _ in range(2):
            assert await repository.save_trades([trade(1), trade(1), trade(2)])
        assert len(await repository.get_recent_trades()) == 3


async def test_bad_trades_are_reported_and_the_rest_is_stored(database: str) -> None:
    rows: list[Any] = [trade(1), None, {"price": 1}, Trade(START, 1.0, -1.0, "buy"), Trade(START, 1.0, 1.0, "up")]
    async with TradeRepository("kraken", "BTC/USD") as repository:
        assert not await repository.save_trades(rows)
        assert len(repository.rejected) == 4
        assert len(await repository.get_recent_trades()) == 1


async def test_covering_trades_makes_candles(database: str) -> None:
    trades = [trade(second, 100 + second, str(second)) for second in range(0, 180, 10)]
    async with TradeRepository("kraken", "BTC/USD") as repository:
        await repository.save_trades(trades, covering=(minute(0), minute(2)))
    async with TimeseriesRepository("kraken", "BTC/USD") as series:
        rows = await series.fetch_ohlcv(1, "minute", minute(0), minute(5))
    assert rows == [(minute(0), 100.0, 150.0, 100.0, 150.0, 0.6), (minute(1), 160.0, 210.0, 160.0, 210.0, 0.6)]


async def test_trades_without_any_ledger_are_folded_when_read(database: str) -> None:
    async with TradeRepository("kraken", "BTC/USD") as repository:
        await repository.save_trades([trade(second, 100 + second, str(second)) for second in range(0, 180, 10)])
    async with TimeseriesRepository("kraken", "BTC/USD") as series:
        rows = await series.fetch_ohlcv(1, "minute", minute(0), minute(5))
        assert [row[4] for row in rows] == [150.0, 210.0, 270.0]
        assert [row[4] for row in await series.fetch_ohlcv(1, "hour", minute(0), minute(60))] == [270.0]


async def test_repositories_share_one_pool_and_the_last_closes_it(database: str) -> None:
    def repositories() -> list[OHLCVBaseRepository]:
        return [CandleRepository("kraken", f"S{number}") for number in range(30)]

    first, *others = repositories()
    async with first:
        await asyncio.gather(*(repository.initialize() for repository in others))
        assert {id(repository.store) for repository in others} == {id(first.store)}
        await asyncio.gather(*(repository.close() for repository in others))
        assert await first.get_latest_timestamp() is None
        pool = first.store._pool
    assert pool.is_closing()


async def test_arguments_that_are_no_time_are_refused(database: str) -> None:
    async with TimeseriesRepository("kraken", "BTC/USD") as series:
        with pytest.raises(ValueError, match="time zone"):
            await series.fetch_ohlcv(1, "day", datetime(2025, 1, 1), minute(0))  # noqa: DTZ001
        with pytest.raises(TypeError, match="no point in time"):
            await series.fetch_ohlcv(1, "day", "2025-01-01", minute(0))  # type: ignore[arg-type]


def test_uvloop_is_installed_on_request() -> None:
    from fullon_ohlcv.utils import install_uvloop

    before = asyncio.get_event_loop_policy()
    try:
        assert install_uvloop() is True
        assert "uvloop" in type(asyncio.get_event_loop_policy()).__module__
    finally:
        asyncio.set_event_loop_policy(before)


async def test_milliseconds_of_lists_are_exact(database: str) -> None:
    async with CandleRepository("kraken", "BTC/USD") as repository:
        await repository.save_candles([[float(T_MS), 1, 1, 1, 1, 1]])
        assert await repository.get_latest_timestamp() == arrow.get(START)
    connection = await connect(Target.from_env())
    try:
        assert await connection.fetchval("SELECT us_of(timestamp) FROM candles") == to_us(START)
    finally:
        await connection.close()
    assert from_us(to_us(START) + MINUTE_US) == minute(1)
