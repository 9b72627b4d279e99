"""Buckets that are not wholly known: left out, marked or refused, in every way of reading them."""

from datetime import datetime

import pytest

from fullon_ohlcv.errors import IncompleteCandles
from fullon_ohlcv.reading import Source, Window, share
from fullon_ohlcv.records import CandleRow, CandleWrite, Interval, TradeWrite
from fullon_ohlcv.repositories.ohlcv import TimeseriesRepository
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import DAY_US, HOUR_US, MINUTE_US, Timeframe, from_us, to_us

START_US = to_us(datetime.fromisoformat("2024-02-29T00:00+00:00"))


def at(minute: int) -> int:
    return START_US + minute * MINUTE_US


def when(minute: int) -> datetime:
    return from_us(at(minute))


def candle(minute: int, volume: float = 1.0) -> CandleRow:
    return at(minute), 1.0, 9.0, 1.0, 2.0, volume, 1


@pytest.fixture
async def repository(store: TimeseriesStore) -> TimeseriesRepository:
    repository = TimeseriesRepository("binance", "BTC/USDT")
    repository._store = store
    return repository


async def save(
    store: TimeseriesStore,
    rows: list[CandleRow],
    *covered: Interval,
    channel: str = "candles1m",
    unavailable: tuple[tuple[Interval, str], ...] = (),
) -> None:
    series = await store.series("binance", "BTC/USDT", channel)
    await store.write_candles([CandleWrite(series, rows, covered, unavailable)])


async def test_an_hour_of_which_55_minutes_are_unknown_is_not_returned_unless_asked_for(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    """The hours: one in which history begins, a whole one, one with 5 known minutes, one that is still running."""
    rows = [candle(minute) for minute in range(30, 225) if not 125 <= minute < 180]
    await save(store, rows, (at(30), at(125)), (at(180), at(225)))
    asked = 1, "hour", when(0), when(24 * 60)
    assert [row[0] for row in await repository.fetch_ohlcv(*asked)] == [when(60)]
    kept = await repository.fetch_ohlcv_df(*asked, incomplete="keep")
    assert list(kept["volume"]) == [30.0, 60.0, 5.0, 45.0]
    assert list(kept["known_minutes"]) == [30, 60, 5, 45]
    assert list(kept["complete"]) == [False, True, False, False]
    with pytest.raises(
        IncompleteCandles, match=r"from 2024-02-29T00:00:00\+00:00 to 2024-02-29T01:00.*1 more interval"
    ):
        await repository.fetch_ohlcv(*asked, incomplete="raise")
    assert len(await repository.fetch_ohlcv(1, "hour", when(60), when(120), incomplete="raise")) == 1


async def test_unavailable_is_not_known_and_verified_empty_is(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    lost = ((at(90), at(91)), "the exchange was down")
    await save(store, [candle(0), candle(61)], (at(0), at(90)), (at(91), at(120)), unavailable=(lost,))
    assert [row[0] for row in await repository.fetch_ohlcv(1, "hour", when(0), when(120))] == [when(0)]
    frame = await repository.fetch_ohlcv_df(1, "hour", when(0), when(120), incomplete="keep")
    assert list(frame["known_minutes"]) == [60, 59]


async def test_a_minute_that_became_unknown_is_left_out_though_its_row_is_there(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    await save(store, [candle(minute) for minute in range(5)], (at(0), at(5)))
    await store.uncover(await store.series("binance", "BTC/USDT", "candles1m"), (at(2), at(3)))
    rows = await repository.fetch_ohlcv(1, "minute", when(0), when(5))
    assert [row[0].minute for row in rows] == [0, 1, 3, 4]


async def test_a_hole_in_the_minutes_is_filled_by_a_coarser_candle_that_is_covered(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    """Minutes lack 70 to 110; 5m covers from 60 to 90, 15m from 90 to 120."""
    known = [minute for minute in range(240) if not 70 <= minute < 110]
    await save(store, [candle(minute) for minute in known], (at(0), at(70)), (at(110), at(240)))
    await save(store, [candle(minute, 5.0) for minute in range(60, 90, 5)], (at(60), at(90)), channel="candles5m")
    await save(store, [candle(minute, 15.0) for minute in range(90, 120, 15)], (at(90), at(120)), channel="candles15m")
    hours = await repository.fetch_ohlcv(1, "hour", when(0), when(240), incomplete="raise")
    assert [row[5] for row in hours] == [60.0] * 4
    quarters = await repository.fetch_ohlcv_df(15, "minutes", when(0), when(240))
    assert list(quarters["volume"]) == [15.0] * 16
    fives = await repository.fetch_ohlcv_df(5, "minutes", when(60), when(120), incomplete="keep")
    assert list(fives["complete"]) == [True] * 6 + [True] * 2, "5m has no candles from 90 to 110"


async def test_a_coarser_candle_that_ends_behind_todate_lends_it_nothing(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    await save(store, [candle(0, 60.0), candle(60, 60.0)], (at(0), at(120)), channel="candles1h")
    assert [row[5] for row in await repository.fetch_ohlcv(1, "hour", when(0), when(90), incomplete="keep")] == [60.0]


async def test_trades_that_are_folded_when_read_are_known_as_far_as_they_cover_whole_minutes(
    store: TimeseriesStore, repository: TimeseriesRepository
) -> None:
    trades = await store.series("binance", "BTC/USDT", "trades")
    rows = [(at(n), 1.0 + n, 1.0, "buy", "", str(n)) for n in range(10)]
    await store.write_trades([TradeWrite(trades, rows, [(at(0), at(9) + 5)])])
    assert await repository.init_symbol()
    frame = await repository.fetch_ohlcv_df(5, "minutes", when(0), when(10), incomplete="keep")
    assert list(frame["known_minutes"]) == [5, 4]
    assert len(await repository.fetch_ohlcv(5, "minutes", when(0), when(10))) == 1


async def test_without_any_ledger_the_running_bucket_alone_is_not_complete(store: TimeseriesStore) -> None:
    repository = TimeseriesRepository("binance", "BTC/USDT")
    repository._store = store
    await save(store, [candle(0), candle(61)])
    assert len(await repository.fetch_ohlcv(1, "hour", when(0), when(120), incomplete="raise")) == 2
    far = await repository.fetch_ohlcv_df(99_999, "days", from_us(0), from_us(99_999 * DAY_US), incomplete="keep")
    assert list(far["complete"]) == [False]
    assert await repository.fetch_ohlcv(99_999, "days", from_us(0), from_us(99_999 * DAY_US)) == []


def test_a_window_is_shared_in_whole_candles_without_a_seam() -> None:
    minute, hour = Timeframe.parse("1m"), Timeframe.parse("1h")
    fine, coarse = Source(1, minute, at(0), True), Source(2, hour, at(-600), True)
    covered = [[(at(30), at(100)), (at(170), at(400))], [(at(-600), at(60)), (at(120), at(240))]]
    pieces = share([fine, coarse], covered, Window(hour, at(-600), at(400)))
    assert [((one.start_us - START_US) // MINUTE_US, one.source.series_id) for one in pieces] == [
        (-600, 2), (60, 1), (120, 2), (180, 1),
    ]  # fmt: skip
    assert [one.end_us for one in pieces] == [*(one.start_us for one in pieces[1:]), at(400)]
    assert HOUR_US == 60 * MINUTE_US
