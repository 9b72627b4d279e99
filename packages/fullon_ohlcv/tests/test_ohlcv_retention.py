"""What is too old to keep: removed with its ledger, not wanted again, and never derived from."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from partitioned import partition

from fullon_ohlcv import retention
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.records import CandleWrite, Series, State, TradeRow, TradeWrite
from fullon_ohlcv.retention import Keep, in_batches
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.tallies import RETENTION
from fullon_ohlcv.timeframe import DAY_US, MINUTE_US, from_us, to_us

DAY = to_us(datetime(2025, 3, 3, tzinfo=UTC))
DAYS = [(DAY + number * DAY_US, DAY + (number + 1) * DAY_US) for number in range(4)]
ALL = (DAY, DAYS[-1][1])
HOUR = (DAY + 60 * MINUTE_US, DAY + 120 * MINUTE_US)


class Market:
    """Four days of a symbol whose candles are folded from trades, one in every other minute."""

    def __init__(self, store: TimeseriesStore, trades: Series, candles: Series) -> None:
        self.store, self.trades, self.candles = store, trades, candles
        chance = random.Random(5)
        self.rows: list[TradeRow] = [
            (DAY + minute * MINUTE_US + number * 1_000_000, 100.0 + number, 0.5, "buy", "", f"{minute}-{number}")
            for minute in range(0, 4 * 1440, 2)
            for number in range(chance.choice((1, 2)))
        ]

    async def write(self, rows: list[TradeRow], *covered: tuple[int, int]) -> None:
        await self.store.write_trades([TradeWrite(self.trades, rows, covered, self.candles)])

    async def states(self, series: Series, day: int) -> set[tuple[State, str | None]]:
        return {(one.state, one.reason) for one in await self.store.classify(series, DAYS[day])}

    async def count(self, query: str) -> int:
        async with self.store.connection("count") as connection:
            return int(await connection.fetchval(query))


@pytest.fixture(params=["plain", "partitioned"])
async def market(request: pytest.FixtureRequest, database: str, store: TimeseriesStore) -> Market:
    if request.param == "partitioned":
        connection = await connect(Target.from_env())
        for table in ("candles", "trades"):
            await partition(connection, table, from_us(DAY), 4, timedelta(days=1))
        await connection.close()
    trades = await store.series("kraken", "BTC/USD", "trades")
    made = Market(store, trades, await store.series("kraken", "BTC/USD", "candles1m"))
    await made.write(made.rows, ALL)
    return made


KNOWN = {(State.TRADED, None), (State.VERIFIED_EMPTY, None)}
GONE = {(State.UNAVAILABLE, RETENTION)}


async def test_old_trades_go_with_their_ledger_and_their_candles_stay(market: Market) -> None:
    before = await market.store.read_candles(market.candles, ALL)
    removed = await market.store.remove_old(market.trades, Keep(DAYS[2][0] + HOUR[0] - DAY))
    old = [row for row in market.rows if row[0] < DAYS[2][0]]
    assert removed == len(old)
    assert await market.store.read_trades(market.trades, ALL) == market.rows[len(old) :]
    assert [await market.states(market.trades, day) for day in range(4)] == [GONE, GONE, KNOWN, KNOWN]
    assert await market.store.read_candles(market.candles, ALL) == before
    assert [await market.states(market.candles, day) for day in range(4)] == [KNOWN] * 4
    assert await market.store.gaps({market.trades: (0, ALL[1])}) == {market.trades: [(0, DAY)]}
    assert await market.store.check_rows(market.trades) == await market.store.check_rows(market.candles) == []
    assert await market.store.remove_old(market.trades, Keep(DAYS[2][0])) == 0


async def test_nothing_is_derived_from_what_retention_has_removed(market: Market) -> None:
    before = await market.store.read_candles(market.candles, ALL)
    await market.store.remove_old(market.trades, Keep(DAYS[2][0]))
    await market.write(market.rows[60:61])
    await market.store.uncover(market.trades, HOUR)
    await market.store.uncover(market.candles, HOUR)
    await market.write([], HOUR)
    assert await market.store.read_candles(market.candles, ALL) == before
    other = await market.store.series("kraken", "XBT/USD", "candles1m")
    await market.store.write_trades([TradeWrite(market.trades, market.rows[-1:], (), other)])
    derived = {one.state for one in await market.store.classify(other, (HOUR[1], DAYS[2][0]))}
    assert derived == {State.UNKNOWN}
    assert await market.store.read_candles(other, DAYS[3]) == await market.store.read_candles(market.candles, DAYS[3])


async def test_trades_stay_until_their_candles_are_made_of_them(market: Market) -> None:
    """The first half of a minute was stored, and its candle is still to come."""
    symbol = await market.store.series("kraken", "ETH/USD", "trades")
    candles = await market.store.series("kraken", "ETH/USD", "candles1m")
    cut = DAY + 600 * MINUTE_US + 30_000_000
    early, late = ([row for row in market.rows if (row[0] < cut) is first] for first in (True, False))
    await market.store.write_trades([TradeWrite(symbol, early, [(DAY, cut)], candles)])
    assert await market.store.remove_old(symbol, Keep(DAYS[2][0])) == 0
    await market.store.write_trades([TradeWrite(symbol, late, [(cut, ALL[1])], candles)])
    assert await market.store.remove_old(symbol, Keep(DAYS[2][0])) == len(early) + len(
        [row for row in late if row[0] < DAYS[2][0]]
    )
    assert {one.state for one in await market.store.classify(candles, ALL)} == {State.TRADED, State.VERIFIED_EMPTY}


async def test_old_candles_go_without_a_revision_and_are_not_wanted_again(market: Market) -> None:
    series = await market.store.series("binance", "BTC/USDT", "candles1m")
    rows: list[Any] = [(DAY + minute * MINUTE_US, 1.0, 2.0, 0.5, 1.5, 3.0, 4) for minute in range(1440, 4 * 1440)]
    await market.store.write_candles([CandleWrite(series, rows, [(DAYS[1][0], ALL[1])])])
    await market.store.write_candles(
        [CandleWrite(series, [(DAYS[1][0], 1.0, 2.0, 0.5, 1.5, 9.0, 4)], [(DAYS[1][0], DAYS[1][0] + MINUTE_US)])]
    )
    assert await market.count("SELECT count(*) FROM revisions") == 1
    cutoff = DAYS[2][0]
    assert await market.store.remove_old(series, Keep(cutoff, cutoff)) == 1440
    assert await market.count("SELECT count(*) FROM revisions") == 0
    assert await market.states(series, 0) == await market.states(series, 1) == GONE
    assert await market.states(series, 2) == {(State.TRADED, None)}
    assert await market.store.gaps({series: (0, ALL[1])}) == {series: []}
    [summary] = (await market.store.summaries({series: ALL})).values()
    assert summary.covered_us + summary.unavailable_us == summary.wanted_us
    # To be kept for longer now, it is wanted again.
    await market.store.remove_old(series, Keep(DAYS[1][0], DAYS[1][0]))
    assert await market.store.gaps({series: (0, ALL[1])}) == {series: [DAYS[1]]}


async def test_trades_are_not_wanted_any_more_once_their_candles_are_accounted_for(market: Market) -> None:
    await market.store.uncover(market.trades, DAYS[0])
    await market.store.remove_old(market.candles, Keep(DAYS[1][0], DAYS[1][0]))
    await market.store.remove_old(market.trades, Keep(DAYS[2][0]))
    assert await market.store.gaps({market.trades: ALL, market.candles: ALL}) == {market.trades: [], market.candles: []}


async def test_a_bounded_number_of_rows_goes_in_one_transaction(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [(0, 10 * DAY_US), (11 * DAY_US, 12 * DAY_US)]
    rows = {3 * DAY_US: 60, 4 * DAY_US: 50, 5 * DAY_US: 40, 11 * DAY_US: 1000}
    monkeypatch.setattr(retention, "BATCH_ROWS", 100)
    assert list(in_batches(spans, rows)) == [(0, 4 * DAY_US), (4 * DAY_US, 10 * DAY_US), spans[1]]
    assert await market.store.remove_old(market.trades, Keep(DAYS[3][0])) == len(
        [row for row in market.rows if row[0] < DAYS[3][0]]
    )
    assert [await market.states(market.trades, day) for day in range(4)] == [GONE, GONE, GONE, KNOWN]


async def test_whole_chunks_go_where_nothing_of_any_series_is_kept(market: Market) -> None:
    """The extension is in no package: its view of chunks and `drop_chunks` are stand-ins over days of these tables."""
    await market.store.series("kraken", "OTHER", "trades")
    async with market.store.connection("stand in") as connection:
        await connection.execute(
            "CREATE SCHEMA timescaledb_information;"
            "CREATE TABLE timescaledb_information.chunks AS SELECT 'trades'::name AS hypertable_name,"
            " day + interval '2 days' AS range_end FROM generate_series(timestamptz '2025-03-01 00:00+00',"
            " timestamptz '2025-03-05 00:00+00', interval '2 days') AS day;"
            "CREATE FUNCTION drop_chunks(relation regclass, older_than timestamptz) RETURNS SETOF text LANGUAGE plpgsql"
            " AS $$ BEGIN EXECUTE format('DELETE FROM %s WHERE timestamp < %L', relation, older_than); RETURN; END $$"
        )
    kept = await market.store.series("kraken", "KEPT", "trades")
    await market.store.write_trades([TradeWrite(kept, market.rows[-1:], [DAYS[3]])])
    await market.store.drop_old_chunks({market.trades: Keep(DAYS[3][0])})
    assert [await market.states(market.trades, day) for day in range(4)] == [GONE, GONE, KNOWN, KNOWN]
    first = await market.count("SELECT us_of(min(timestamp)) FROM trades")
    assert first == DAYS[2][0]
    assert await market.store.check_rows(market.trades) == []
    assert await market.states(market.candles, 0) == KNOWN
