"""Writing candles: what is stored, what is covered, what is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fullon_ohlcv.errors import RowsLost, StorageError
from fullon_ohlcv.records import CandleRow, CandleWrite, Series, State, WriteResult
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, to_us

T = to_us(datetime(2025, 3, 30, 1, 0, tzinfo=UTC))


def candle(minute: int, close: float = 2.0, trades: int | None = 3) -> CandleRow:
    return (T + minute * MINUTE_US, 1.5, 3.0, 1.0, close, 0.1, trades)


def span(first: int, end: int) -> tuple[int, int]:
    return (T + first * MINUTE_US, T + end * MINUTE_US)


async def stored(store: TimeseriesStore, series: Series) -> list[tuple[Any, ...]]:
    async with store.connection("look") as connection:
        rows = await connection.fetch(
            "SELECT us_of(timestamp), open, high, low, close, volume, trades FROM candles"
            " WHERE series_id = $1 ORDER BY timestamp",
            series.series_id,
        )
    return [tuple(row) for row in rows]


@pytest.fixture
async def series(store: TimeseriesStore) -> Series:
    return await store.series("binance", "BTC/USDT", "candles1m")


async def test_what_is_written_is_read_back_exactly(store: TimeseriesStore, series: Series) -> None:
    rows: list[CandleRow] = [
        (T, 0.1, 1e300, 5e-324, 0.30000000000000004, 123456789.12345678, 2**31 - 1),
        (T + MINUTE_US, 1, 2, 1, 2, 0, None),
        (T + 2 * MINUTE_US, 1.0, 2.0, 1.0, 2.0, 0.7, None),
    ]
    result = await store.write_candles([CandleWrite(series, rows, [span(0, 3)])])
    assert result == WriteResult(inserted=2)
    assert await stored(store, series) == [rows[0], rows[2]]


async def test_series_are_the_same_for_everybody(store: TimeseriesStore, series: Series) -> None:
    async with TimeseriesStore.open() as other:
        assert await other.series("binance", "BTC/USDT", "candles1m") == series
        assert await other.find_series("binance", "BTC/USDT", "trades") is None


async def test_an_empty_minute_has_no_row_and_is_verified_empty(store: TimeseriesStore, series: Series) -> None:
    flat = (T + MINUTE_US, 2.0, 2.0, 2.0, 2.0, 0.0, 0)
    nulls: Any = (T + 2 * MINUTE_US, None, None, None, None, 0, 0)
    await store.write_candles([CandleWrite(series, [candle(0), flat, nulls, candle(3)], [span(0, 4)])])
    states = [minute.state for minute in await store.classify(series, span(0, 4))]
    assert states == [State.TRADED, State.VERIFIED_EMPTY, State.VERIFIED_EMPTY, State.TRADED]
    assert await stored(store, series) == [candle(0), candle(3)]


async def test_writing_again_changes_nothing_and_a_correction_replaces(store: TimeseriesStore, series: Series) -> None:
    rows = [candle(minute) for minute in range(5)]
    await store.write_candles([CandleWrite(series, rows)])
    assert await store.write_candles([CandleWrite(series, rows)]) == WriteResult(unchanged=5)
    corrected = [candle(1), candle(2, close=2.5), candle(7)]
    result = await store.write_candles([CandleWrite(series, corrected)])
    assert result == WriteResult(inserted=1, updated=1, unchanged=1)
    assert await stored(store, series) == [rows[0], rows[1], candle(2, close=2.5), rows[3], rows[4], candle(7)]


async def test_a_minute_that_proves_empty_loses_its_row(store: TimeseriesStore, series: Series) -> None:
    await store.write_candles([CandleWrite(series, [candle(0), candle(1)], [span(0, 2)])])
    empty = (T + MINUTE_US, 1.0, 1.0, 1.0, 1.0, 0.0, 0)
    assert (await store.write_candles([CandleWrite(series, [empty], [span(1, 2)])])).updated == 1
    assert await stored(store, series) == [candle(0)]


async def test_a_row_without_a_count_keeps_the_count_that_is_known(store: TimeseriesStore, series: Series) -> None:
    await store.write_candles([CandleWrite(series, [candle(0), candle(1, trades=None)])])
    again = [candle(0, trades=None), candle(1, trades=9)]
    assert await store.write_candles([CandleWrite(series, again)]) == WriteResult(updated=1, unchanged=1)
    assert await stored(store, series) == [candle(0), candle(1, trades=9)]
    await store.write_candles([CandleWrite(series, [candle(0, close=2.9, trades=None)])])
    assert (await stored(store, series))[0] == candle(0, close=2.9, trades=None)


async def test_of_one_candle_given_twice_the_later_counts(store: TimeseriesStore, series: Series) -> None:
    empty = (T + MINUTE_US, 1.0, 1.0, 1.0, 1.0, 0.0, 0)
    writes = [
        CandleWrite(series, [candle(0, close=1.1), candle(1), candle(0, close=1.2), empty]),
        CandleWrite(series, [candle(0, close=1.3)]),
    ]
    assert await store.write_candles(writes) == WriteResult(inserted=1, unchanged=3)
    assert await stored(store, series) == [candle(0, close=1.3)]


async def test_a_bad_row_is_reported_its_neighbours_are_stored_its_minute_is_not_covered(
    store: TimeseriesStore, series: Series
) -> None:
    rows: list[Any] = [candle(minute) for minute in range(1000)]
    rows[500] = (*rows[500][:4], float("nan"), *rows[500][5:])
    result = await store.write_candles([CandleWrite(series, rows, [span(0, 1000)])])
    assert result.inserted == 999
    [(row, reason)] = result.rejected
    assert row is rows[500]
    assert "binance BTC/USDT candles1m" in reason
    assert "close is nan" in reason
    assert await store.gaps({series: span(0, 1000)}) == {series: [span(500, 501)]}


async def test_a_row_of_an_unknown_time_leaves_its_page_uncovered(store: TimeseriesStore, series: Series) -> None:
    other = await store.series("binance", "ETH/USDT", "candles1m")
    seconds: Any = (T // 1_000_000, 1.5, 3.0, 1.0, 2.0, 0.1, 3)
    writes = [
        CandleWrite(series, [candle(0), seconds, candle(2)], [span(0, 3)]),
        CandleWrite(other, [candle(0)], [span(0, 3)]),
    ]
    assert (await store.write_candles(writes)).inserted == 3
    assert await store.gaps({series: span(0, 3), other: span(0, 3)}) == {series: [span(0, 3)], other: []}


async def test_many_series_are_written_in_one_call(store: TimeseriesStore) -> None:
    many = [await store.series("binance", f"S{number}", "candles1m") for number in range(50)]
    for minute in range(3):
        writes = [CandleWrite(series, [candle(minute, close=1 + n / 50)], [span(minute, minute + 1)])
                  for n, series in enumerate(many)]  # fmt: skip
        assert (await store.write_candles(writes)).inserted == 50
    assert await store.gaps(dict.fromkeys(many, span(0, 3))) == {series: [] for series in many}
    assert await stored(store, many[7]) == [candle(minute, close=1 + 7 / 50) for minute in range(3)]


async def test_coarser_channels_are_series_of_their_own(store: TimeseriesStore) -> None:
    monthly = await store.series("binance", "BTC/USDT", "candles1M")
    minutely = await store.series("binance", "BTC/USDT", "candles1m")
    assert monthly.series_id != minutely.series_id
    march = to_us(datetime(2025, 3, 1, tzinfo=UTC))
    april = to_us(datetime(2025, 4, 1, tzinfo=UTC))
    rows: list[CandleRow] = [(march, 1.0, 2.0, 1.0, 2.0, 5.0, None), (march + MINUTE_US, 1.0, 2.0, 1.0, 2.0, 5.0, 1)]
    result = await store.write_candles([CandleWrite(monthly, rows, [(march, april)])])
    assert (result.inserted, len(result.rejected)) == (1, 1)
    states = await store.classify(monthly, (march, april + 1))
    assert [(state.timestamp_us, state.state) for state in states] == [(march, State.UNKNOWN), (april, State.UNKNOWN)]
    await store.write_candles([CandleWrite(monthly, rows[:1], [(march, april)])])
    assert (await store.classify(monthly, (march, april)))[0].state is State.TRADED


async def test_future_rows_are_measured_by_the_clock_that_is_given(database: str) -> None:
    async with TimeseriesStore.open(now_us=lambda: T) as store:
        series = await store.series("sim", "A/B", "candles1m")
        result = await store.write_candles([CandleWrite(series, [candle(1439), candle(1440)])])
        assert (result.inserted, len(result.rejected)) == (1, 1)


async def test_nothing_to_write_is_nothing_written(store: TimeseriesStore, series: Series) -> None:
    assert await store.write_candles([]) == WriteResult()
    assert await store.write_candles([CandleWrite(series, [])]) == WriteResult()
    assert await store.gaps({}) == {}


async def test_wrong_input_is_refused_by_value_and_stores_nothing(store: TimeseriesStore, series: Series) -> None:
    trades = await store.series("binance", "BTC/USDT", "trades")
    with pytest.raises(ValueError, match="candle channel"):
        await store.write_candles([CandleWrite(trades, [])])
    with pytest.raises(ValueError, match="interval is"):
        await store.write_candles([CandleWrite(series, [candle(0)], [(T + 1, T)])])
    with pytest.raises(ValueError, match="reason is ''"):
        await store.write_candles([CandleWrite(series, [candle(0)], [], [(span(0, 1), "")])])
    for exchange, symbol in (("", "A"), ("a", ""), ("a", "x" * 501), ("a", "\0"), ("a", "\ud800")):
        with pytest.raises(ValueError, match="allowed is text"):
            await store.series(exchange, symbol, "candles1m")
    with pytest.raises(TypeError, match="allowed is text"):
        await store.series("a", 7, "candles1m")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channel is 'ticker'"):
        await store.series("a", "b", "ticker")
    assert await stored(store, series) == []


async def test_a_series_of_another_database_is_refused(store: TimeseriesStore, series: Series) -> None:
    foreign = series._replace(series_id=4711)
    with pytest.raises(StorageError, match="4711"):
        await store.write_candles([CandleWrite(foreign, [candle(0)])])


async def test_rows_that_the_server_loses_are_an_error_and_nothing_is_stored(
    store: TimeseriesStore, series: Series
) -> None:
    """A trigger that swallows rows stands for TimescaleDB 2.17.2, which ended at the first conflict silently."""
    await store.write_candles([CandleWrite(series, [candle(0), candle(5)], [span(0, 6)])])
    async with store.connection("break") as connection:
        await connection.execute(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER swallow BEFORE INSERT ON candles FOR EACH ROW WHEN (new.close = 2.25)"
            " EXECUTE FUNCTION swallow()"
        )
    fresh = CandleWrite(series, [candle(10), candle(11, close=2.25)], [span(10, 12)])
    merged = CandleWrite(series, [candle(3), candle(4, close=2.25), candle(5, close=2.5)], [span(3, 6)])
    for write in (fresh, merged):
        with pytest.raises(RowsLost, match="rolled back") as lost:
            await store.write_candles([write])
        assert lost.value.expected == lost.value.written + 1
    assert await stored(store, series) == [candle(0), candle(5)]
    assert await store.gaps({series: span(0, 12)}) == {series: [span(6, 12)]}
