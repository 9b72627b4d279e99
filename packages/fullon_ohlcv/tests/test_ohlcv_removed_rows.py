"""Rows that something else has removed are found, never taken for a quiet market; on plain and partitioned tables."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from partitioned import partition

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.records import CandleWrite, Series, State, TradeRow, TradeWrite
from fullon_ohlcv.statements import migrations
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.tallies import REMOVED, DayDifference
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US, from_us, to_us

DAY = to_us(datetime(2025, 3, 3, tzinfo=UTC))
LATER = DAY + DAY_US
TWO_DAYS = (DAY, DAY + 2 * DAY_US)
HOUR = (DAY + 60 * MINUTE_US, DAY + 120 * MINUTE_US)


async def execute(*commands: str) -> None:
    connection = await connect(Target.from_env())
    try:
        for command in commands:
            await connection.execute(command)
    finally:
        await connection.close()


@pytest.fixture(params=["DELETE", "DROP of a partition"])
async def how(request: pytest.FixtureRequest, database: str) -> str:
    """How the rows of the first day go; the tables are partitioned by day where a partition is dropped."""
    way: str = request.param
    if way != "DELETE":
        connection = await connect(Target.from_env())
        for table in ("candles", "trades"):
            await partition(connection, table, from_us(DAY), 2, timedelta(days=1))
        await connection.close()
    return way


class Market:
    """Two days of a symbol whose candles are folded from trades, some of whose minutes are quiet."""

    def __init__(self, store: TimeseriesStore, trades: Series, candles: Series, how: str) -> None:
        self.store, self.trades, self.candles, self.how = store, trades, candles, how
        chance = random.Random(5)
        self.rows: list[TradeRow] = []
        for minute in range(2 * 1440):
            for number in range(chance.choice((0, 1, 3))):
                at_us = DAY + minute * MINUTE_US + number * 1_000_000
                self.rows.append((at_us, 100.0 + number, 0.5, "buy", "", f"{minute}-{number}"))

    async def write(self, rows: list[TradeRow], *covered: tuple[int, int]) -> None:
        await self.store.write_trades([TradeWrite(self.trades, rows, covered, self.candles)])

    async def remove(self, table: str) -> None:
        """Remove the rows of the first day as something else does."""
        if self.how == "DELETE":
            await execute(f"DELETE FROM {table} WHERE timestamp < '2025-03-04'")
        else:
            first = f"{table}_0000"
            await execute(
                f"DROP TABLE {first}",
                f"CREATE TABLE {first} PARTITION OF {table} FOR VALUES FROM ('{from_us(DAY)}') TO ('{from_us(LATER)}')",
            )

    async def check(self) -> list[DayDifference]:
        return [one for series in (self.trades, self.candles) for one in await self.store.check_rows(series)]

    async def states(self, series: Series, day_us: int = DAY) -> set[State]:
        return {one.state for one in await self.store.classify(series, (day_us, day_us + DAY_US))}

    async def stored(self, interval: tuple[int, int] = (DAY, LATER)) -> list[Any]:
        return await self.store.read_candles(self.candles, interval)


@pytest.fixture
async def market(how: str, store: TimeseriesStore) -> Market:
    trades = await store.series("kraken", "BTC/USD", "trades")
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    made = Market(store, trades, candles, how)
    await made.write(made.rows, TWO_DAYS)
    return made


def busy_minute(market: Market) -> tuple[int, list[TradeRow]]:
    """The first minute after 01:00 with three trades."""
    for minute in range(60, 1440):
        rows = [row for row in market.rows if row[0] // MINUTE_US == DAY // MINUTE_US + minute]
        if len(rows) == 3:
            return DAY + minute * MINUTE_US, rows
    raise AssertionError


async def test_what_was_written_adds_up(market: Market) -> None:
    await market.write(market.rows[:100])
    late: TradeRow = (DAY + 30 * MINUTE_US + 59_000_000, 99.0, 1.0, "sell", "", "late")
    await market.write([late])
    await market.store.uncover(market.trades, HOUR)
    await market.write([], HOUR)
    assert await market.check() == []


async def test_candles_that_were_corrected_and_withdrawn_add_up(how: str, store: TimeseriesStore) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    rows = [(DAY + minute * MINUTE_US, 1.0, 2.0, 0.5, 1.5, 3.0, 4) for minute in range(0, 1440, 2)]
    await store.write_candles([CandleWrite(series, rows, [(DAY, LATER)])])
    corrected = [(DAY, 1.0, 2.0, 0.5, 1.5, 9.0, 4), (DAY + MINUTE_US, 1.0, 2.0, 0.5, 1.5, 3.0, 4)]
    empty = (DAY + 4 * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 0.0, 0)
    await store.write_candles([CandleWrite(series, [*corrected, empty], [(DAY, LATER)], (), [(DAY, DAY + HOUR[0])])])
    assert await store.check_rows(series) == []
    async with store.connection("look") as connection:
        written = await connection.fetchval("SELECT sum(rows) FROM tallies WHERE series_id = $1", series.series_id)
        assert written == await connection.fetchval("SELECT count(*) FROM candles")


async def test_a_day_whose_trades_were_removed_is_unknown_and_its_candles_stay(market: Market) -> None:
    before = await market.stored()
    await market.remove("trades")
    assert await market.states(market.trades) == {State.VERIFIED_EMPTY}  # nothing has looked yet
    [found] = await market.check()
    assert (found.series, found.interval, found.stored, found.state) == (market.trades, (DAY, LATER), 0, State.UNKNOWN)
    assert await market.states(market.trades) == {State.UNKNOWN}
    assert await market.states(market.trades, LATER) == {State.TRADED, State.VERIFIED_EMPTY}
    assert await market.stored() == before
    assert await market.states(market.candles) == {State.TRADED, State.VERIFIED_EMPTY}
    assert await market.store.gaps({market.trades: TWO_DAYS}) == {market.trades: [(DAY, LATER)]}
    assert await market.check() == []


async def test_candles_that_were_removed_are_made_again_of_trades_that_are_all_there(market: Market) -> None:
    before = await market.stored(TWO_DAYS)
    await market.remove("candles")
    assert await market.states(market.candles) == {State.VERIFIED_EMPTY}
    [found] = await market.check()
    assert (found.series, found.state) == (market.candles, State.COVERED)
    assert await market.stored(TWO_DAYS) == before
    assert await market.check() == []


async def test_candles_whose_trades_were_removed_too_are_unknown(market: Market) -> None:
    await market.remove("candles")
    await market.remove("trades")
    assert {one.state for one in await market.check()} == {State.UNKNOWN}
    assert await market.states(market.candles) == await market.states(market.trades) == {State.UNKNOWN}
    before = [row for row in market.rows if row[0] < LATER]
    await market.write(before, (DAY, LATER))
    assert len(await market.stored()) == len({row[0] // MINUTE_US for row in before})
    assert await market.states(market.candles) == {State.TRADED, State.VERIFIED_EMPTY}
    assert await market.check() == []


@pytest.mark.parametrize("looked", [True, False], ids=["found", "not found yet"])
async def test_one_known_trade_that_comes_again_leaves_the_candle(market: Market, looked: bool) -> None:
    minute_us, rows = busy_minute(market)
    before = await market.stored()
    await market.remove("trades")
    if looked:
        await market.check()
    await market.write(rows[:1])
    assert await market.stored() == before
    [state] = await market.store.classify(market.trades, (minute_us, minute_us + MINUTE_US))
    assert state.state is State.UNKNOWN
    await market.check()
    await market.write([row for row in market.rows if row[0] < LATER], (DAY, LATER))
    assert await market.stored() == before
    assert await market.states(market.trades) == {State.TRADED, State.VERIFIED_EMPTY}


@pytest.mark.parametrize("looked", [True, False], ids=["found", "not found yet"])
async def test_trades_that_are_covered_again_without_rows_leave_the_candles(market: Market, looked: bool) -> None:
    before = await market.stored()
    await market.remove("trades")
    if looked:
        await market.check()
    await market.store.uncover(market.candles, HOUR)
    await market.write([], HOUR)
    assert await market.stored() == before


@pytest.mark.parametrize("looked", [True, False], ids=["found", "not found yet"])
async def test_trades_that_are_uncovered_over_removed_rows_leave_the_candles(market: Market, looked: bool) -> None:
    before = await market.stored()
    await market.remove("trades")
    if looked:
        await market.check()
    await market.store.uncover(market.trades, HOUR)
    assert await market.stored() == before


@pytest.mark.parametrize("looked", [True, False], ids=["found", "not found yet"])
async def test_another_candle_series_derives_nothing_from_removed_trades(market: Market, looked: bool) -> None:
    await market.remove("trades")
    if looked:
        await market.check()
    other = await market.store.series("kraken", "XBT/USD", "candles1m")
    await market.store.write_trades([TradeWrite(market.trades, market.rows[-1:], (), other)])
    assert {one.state for one in await market.store.classify(other, (DAY, LATER))} == {State.UNKNOWN}
    later = await market.store.read_candles(other, (LATER, LATER + DAY_US))
    assert later == await market.stored((LATER, LATER + DAY_US))


async def test_native_candles_that_were_removed_are_unknown_and_given_up_when_they_go_again(
    how: str, store: TimeseriesStore
) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    market = Market(store, series, series, how)
    rows = [(DAY + minute * MINUTE_US, 1.0, 2.0, 0.5, 1.5, 3.0, 4) for minute in range(0, 2880, 2)]
    write = CandleWrite(series, rows, [TWO_DAYS], (), [TWO_DAYS])
    await store.write_candles([write])
    await market.remove("candles")
    [found] = await store.check_rows(series)
    assert (found.written, found.stored, found.state) == (720, 0, State.UNKNOWN)
    assert await store.gaps({series: TWO_DAYS}) == {series: [(DAY, LATER)]}
    await store.write_candles([write])
    assert await store.gaps({series: TWO_DAYS}) == {series: []}
    await market.remove("candles")
    [found] = await store.check_rows(series)
    assert found.state is State.UNAVAILABLE
    assert await store.gaps({series: TWO_DAYS}) == {series: []}
    [minute] = await store.classify(series, (DAY, DAY + MINUTE_US))
    assert minute.reason is not None
    assert minute.reason.startswith(REMOVED)
    assert await store.check_rows(series) == []


async def test_rows_that_something_else_has_added_make_a_day_unknown_once(market: Market) -> None:
    await execute(
        "INSERT INTO trades (series_id, timestamp, price, volume, occurrence, side, order_type, trade_id)"
        f" VALUES ({market.trades.series_id}, '{from_us(DAY)}', 1, 1, 0, 'buy', '', 'foreign')"
    )
    [found] = await market.check()
    assert (found.stored - found.written, found.state) == (1, State.UNKNOWN)
    await market.write([row for row in market.rows if row[0] < LATER], (DAY, LATER))
    assert await market.check() == []


async def test_only_the_days_of_an_interval_are_compared(market: Market) -> None:
    await market.remove("trades")
    assert await market.store.check_rows(market.trades, (LATER, LATER + DAY_US)) == []
    assert len(await market.store.check_rows(market.trades, (DAY + 1, DAY + 2))) == 1


async def test_rows_of_before_the_tallies_are_counted_by_the_migration(database: str) -> None:
    async with TimeseriesStore.open() as store:
        trades = await store.series("kraken", "BTC/USD", "trades")
        market = Market(store, trades, await store.series("kraken", "BTC/USD", "candles1m"), "DELETE")
        await market.write(market.rows, TWO_DAYS)
    [version] = [number for number, script in migrations().items() if "CREATE TABLE tallies" in script]
    await execute("DROP TABLE tallies", "DROP FUNCTION day_of", f"DELETE FROM schema_version WHERE version = {version}")
    connection = await connect(Target.from_env())
    await connection.execute(migrations()[version])
    await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", version)
    await connection.close()
    async with TimeseriesStore.open() as store:
        market.store = store
        assert await store.tallied(trades) == TWO_DAYS
        assert await market.check() == []
        await market.remove("trades")
        assert len(await market.check()) == 1
