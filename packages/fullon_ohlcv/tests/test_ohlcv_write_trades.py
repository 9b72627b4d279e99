"""Writing trades: identity, and candles that are exactly the fold of the stored trades."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_ohlcv.records import CandleRow, CandleWrite, Interval, Series, State, TradeRow, TradeWrite, WriteResult
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, to_us

T = to_us(datetime(2025, 3, 30, 1, 0, tzinfo=UTC))
S = 1_000_000
COLUMNS = "us_of(timestamp), price, volume, side, order_type, CASE WHEN occurrence = 0 THEN trade_id END"


def trade(second: float, price: float = 100.0, volume: float = 0.1, trade_id: str | None = None) -> TradeRow:
    return (T + round(second * S), price, volume, "buy", "market", trade_id)


def numbered(count: int, every_s: float) -> list[TradeRow]:
    return [trade(n * every_s, 100 + n % 7, 0.1 + n % 3, str(n)) for n in range(count)]


def span(first_s: float, end_s: float) -> Interval:
    return (T + round(first_s * S), T + round(end_s * S))


@dataclass
class Market:
    """The two series of a symbol, and what is stored of them."""

    store: TimeseriesStore
    trades: Series
    candles: Series

    async def write(self, rows: list[Any], *covered: Interval) -> WriteResult:
        return await self.store.write_trades([TradeWrite(self.trades, rows, covered, self.candles)])

    async def stored_trades(self) -> list[tuple[Any, ...]]:
        return await self._stored(
            f"SELECT {COLUMNS} FROM trades WHERE series_id = $1"
            " ORDER BY timestamp, length(trade_id), trade_id, occurrence",
            self.trades,
        )

    async def stored_candles(self) -> list[tuple[Any, ...]]:
        return await self._stored(
            "SELECT us_of(timestamp), open, high, low, close, volume, trades FROM candles"
            " WHERE series_id = $1 ORDER BY timestamp",
            self.candles,
        )

    async def _stored(self, query: str, series: Series) -> list[tuple[Any, ...]]:
        async with self.store.connection("look") as connection:
            return [tuple(row) for row in await connection.fetch(query, series.series_id)]


async def market_of(store: TimeseriesStore, symbol: str) -> Market:
    return Market(
        store, await store.series("kraken", symbol, "trades"), await store.series("kraken", symbol, "candles1m")
    )


@pytest.fixture
async def market(store: TimeseriesStore) -> Market:
    return await market_of(store, "BTC/USD")


def fold(trades: list[TradeRow]) -> list[CandleRow]:
    """The candles of trades, minute by minute, volumes added as decimals."""
    minutes: dict[int, list[TradeRow]] = {}
    for row in sorted(trades, key=lambda row: (row[0], len(row[5] or ""), row[5] or "")):
        minutes.setdefault(row[0] - row[0] % MINUTE_US, []).append(row)
    return [
        (
            minute_us,
            rows[0][1],
            max(row[1] for row in rows),
            min(row[1] for row in rows),
            rows[-1][1],
            float(sum(Decimal(repr(row[2])) for row in rows)),
            len(rows),
        )
        for minute_us, rows in sorted(minutes.items())
    ]


async def test_a_trade_of_volume_0_is_left_out_and_counted_and_one_without_a_side_is_stored(market: Market) -> None:
    void: Any = (T + S, None, 0, None, "", "taken back")
    rows: list[Any] = [trade(1, trade_id="1"), void, (*trade(3)[:3], "", "", "auction")]
    result = await market.write(rows, span(0, 60))
    assert result == WriteResult(inserted=2, derived=1, void=1)
    assert [row[3] for row in await market.stored_trades()] == ["buy", ""]


async def test_whole_covered_minutes_become_candles_and_partial_ones_do_not(market: Market) -> None:
    rows = numbered(40, 7)  # 280 s
    result = await market.write(rows, span(0, 200))
    assert result == WriteResult(inserted=40, derived=3)
    assert await market.stored_candles() == fold([row for row in rows if row[0] < T + 180 * S])
    states = [minute.state for minute in await market.store.classify(market.candles, span(0, 300))]
    assert states == [State.TRADED] * 3 + [State.UNKNOWN] * 2
    gaps = await market.store.gaps({market.candles: span(0, 300), market.trades: span(0, 300)})
    assert gaps == {market.candles: [span(180, 300)], market.trades: [span(200, 300)]}


async def test_a_minute_is_folded_when_its_last_piece_is_covered(market: Market) -> None:
    rows = numbered(12, 5)
    await market.write(rows[:4], span(0, 20))
    await market.write(rows[8:], span(40, 60))
    assert await market.stored_candles() == []
    await market.write(rows[4:8], span(20, 40))
    assert await market.stored_candles() == fold(rows)


async def test_a_quiet_covered_minute_is_verified_empty(market: Market) -> None:
    await market.write([], span(0, 120))
    states = [minute.state for minute in await market.store.classify(market.candles, span(0, 120))]
    assert states == [State.VERIFIED_EMPTY] * 2


async def test_a_late_trade_derives_its_minute_again(market: Market) -> None:
    await market.write(numbered(30, 6), span(0, 180))
    late = trade(70, 55.0, 2.0, "9999")
    assert await market.write([late]) == WriteResult(inserted=1, derived=1)
    assert await market.stored_candles() == fold([*numbered(30, 6), late])


async def test_a_late_trade_in_a_minute_that_is_not_whole_waits(market: Market) -> None:
    await market.write(numbered(3, 6), span(0, 50))
    await market.write([trade(40, 55.0, 2.0, "9999")])
    assert await market.stored_candles() == []


async def test_delivered_again_is_stored_once(market: Market) -> None:
    rows = numbered(30, 6)
    await market.write(rows, span(0, 180))
    before = await market.stored_candles()
    assert await market.write(rows[::-1], span(0, 180)) == WriteResult(unchanged=30)
    assert await market.write([*rows[20:], *numbered(32, 6)[30:]]) == WriteResult(inserted=2, unchanged=10)
    assert await market.stored_candles() == before


async def test_a_trade_id_within_a_second_is_the_same_trade(market: Market) -> None:
    """Kraken's REST and WebSocket round the time of one trade differently."""
    first = trade(59.9, 100.0, 1.0, "T1")
    again = trade(60.4, 100.0, 1.0, "T1")
    assert await market.write([first, again], span(0, 120)) == WriteResult(inserted=1, unchanged=1, derived=1)
    assert await market.write([again]) == WriteResult(unchanged=1)
    assert await market.stored_trades() == [first]
    assert (await market.write([trade(75, 1.0, 1.0, "T1")])).inserted == 1


async def test_a_venue_that_uses_an_id_again_later_means_another_trade(market: Market) -> None:
    rows = [trade(1, 1.0, 1.0, "T1"), trade(50, 2.0, 1.0, "T1"), trade(1, 1.0, 1.0, "T1"), trade(50.5, 2.0, 1.0, "T1")]
    assert await market.write(rows) == WriteResult(inserted=2, unchanged=2)
    assert await market.write(rows) == WriteResult(unchanged=4)
    assert await market.stored_trades() == rows[:2]


async def test_the_same_id_on_another_symbol_or_exchange_is_another_trade(store: TimeseriesStore) -> None:
    all_series = [await store.series(*key, "trades") for key in (("a", "X"), ("a", "Y"), ("b", "X"))]
    result = await store.write_trades([TradeWrite(series, [trade(1, trade_id="1")]) for series in all_series])
    assert result.inserted == 3


async def test_two_equal_trades_in_one_instant_without_ids_stay_two(market: Market) -> None:
    twice = [trade(1), trade(1), trade(2), trade(1, volume=0.2)]
    assert (await market.write(twice, span(0, 60))).inserted == 4
    assert await market.write(twice) == WriteResult(unchanged=4)
    assert await market.write([trade(1)]) == WriteResult(unchanged=1)
    assert await market.stored_candles() == [(T, 100.0, 100.0, 100.0, 100.0, 0.5, 4)]
    assert [row[5] for row in await market.stored_trades()] == [None] * 4


async def test_five_trades_in_one_instant_keep_the_order_of_their_ids(market: Market) -> None:
    rows = [trade(1, price, 0.1, trade_id) for price, trade_id in ((5.0, "998"), (6.0, "1000"), (4.0, "999"))]
    await market.write(rows[:1])
    await market.write(rows[1:], span(0, 60))
    assert [row[5] for row in await market.stored_trades()] == ["998", "999", "1000"]
    assert await market.stored_candles() == [(T, 5.0, 6.0, 4.0, 6.0, 0.3, 3)]


@pytest.mark.parametrize(
    ("volumes", "total"),
    [([0.1] * 3, 0.3), ([123456789.12345678, 0.00000001], 123456789.12345679), ([5e-324, 1.0], 1.0)],
)
async def test_volume_is_the_exact_decimal_sum(market: Market, volumes: list[float], total: float) -> None:
    rows = [trade(n, 1.0, volume, str(n)) for n, volume in enumerate(volumes)]
    await market.write(rows, span(0, 60))
    [candle] = await market.stored_candles()
    assert candle[5] == total == fold(rows)[0][5]


async def test_a_bad_trade_leaves_its_minute_uncovered_and_without_a_candle(market: Market) -> None:
    rows: list[Any] = numbered(30, 6)
    rows[12] = (*rows[12][:2], -1.0, *rows[12][3:])
    result = await market.write(rows, span(0, 180))
    assert (result.inserted, len(result.rejected)) == (29, 1)
    assert "volume is -1.0" in result.rejected[0][1]
    assert [row[0] for row in await market.stored_candles()] == [T, T + 2 * MINUTE_US]
    assert await market.store.gaps({market.trades: span(0, 180)}) == {market.trades: [span(60, 120)]}


async def test_what_the_candles_held_before_gives_way_to_the_fold(market: Market) -> None:
    native = [(T + minute * MINUTE_US, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for minute in range(3)]
    await market.store.write_candles([CandleWrite(market.candles, native, [span(0, 180)])])
    rows = numbered(10, 6)
    await market.write(rows, span(0, 120))
    assert await market.stored_candles() == [*fold(rows), native[2]]


async def test_trades_written_before_their_candles_were_asked_for_are_derived_with_them(market: Market) -> None:
    rows = numbered(30, 6)
    await market.store.write_trades([TradeWrite(market.trades, rows[:20], [span(0, 120)])])
    assert await market.stored_candles() == []
    await market.write(rows[20:], span(120, 180))
    assert await market.stored_candles() == fold(rows)


async def test_uncovered_trades_take_their_candles_along_until_covered_again(market: Market) -> None:
    rows = numbered(30, 6)
    await market.write(rows, span(0, 180))
    await market.store.uncover(market.trades, span(70, 75))
    assert await market.stored_candles() == [row for row in fold(rows) if row[0] != T + MINUTE_US]
    assert await market.store.gaps({market.trades: span(0, 180), market.candles: span(0, 180)}) == {
        market.trades: [span(70, 75)],
        market.candles: [span(60, 120)],
    }
    lost = trade(72, 7.0, 7.0, "lost")
    await market.write([lost], span(70, 75))
    assert await market.stored_candles() == fold([*rows, lost])
    assert await market.store.gaps({market.candles: span(0, 180)}) == {market.candles: []}


async def test_uncovered_candles_are_derived_when_their_trades_are_covered_again(market: Market) -> None:
    rows = numbered(30, 6)
    await market.write(rows, span(0, 180))
    await market.store.uncover(market.candles, span(60, 120))
    assert await market.write([], span(60, 120)) == WriteResult()
    assert await market.store.gaps({market.candles: span(0, 180)}) == {market.candles: []}


async def test_unavailable_trades_make_their_minutes_of_candles_unavailable(market: Market) -> None:
    write = TradeWrite(market.trades, numbered(12, 5), [span(30, 120)], market.candles, [(span(-60, 30), "not listed")])
    await market.store.write_trades([write])
    minutes = await market.store.classify(market.candles, span(-60, 120))
    assert [(minute.state, minute.reason) for minute in minutes] == [
        (State.UNAVAILABLE, "not listed"),
        (State.UNAVAILABLE, "not listed"),
        (State.TRADED if any(row[0] >= T + 60 * S for row in numbered(12, 5)) else State.VERIFIED_EMPTY, None),
    ]
    await market.store.mark_unavailable(market.trades, span(120, 150), "venue closed")
    minutes = await market.store.classify(market.candles, span(120, 180))
    assert [(minute.state, minute.reason) for minute in minutes] == [(State.UNAVAILABLE, "venue closed")]


async def test_one_trade_series_derives_one_candle_series(market: Market) -> None:
    other = await market.store.series("kraken", "ETH/USD", "candles1m")
    hourly = await market.store.series("kraken", "BTC/USD", "candles1h")
    with pytest.raises(ValueError, match="candles1m"):
        await market.store.write_trades([TradeWrite(market.trades, [], (), hourly)])
    with pytest.raises(ValueError, match="allowed is one"):
        await market.store.write_trades(
            [TradeWrite(market.trades, [], (), market.candles), TradeWrite(market.trades, [], (), other)]
        )
    with pytest.raises(ValueError, match="channel 'trades'"):
        await market.store.write_trades([TradeWrite(market.candles, [])])


@dataclass
class Universe:
    """The trades that an exchange published in five minutes, each with an id."""

    rows: list[TradeRow] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int) -> "Universe":
        chance = random.Random(seed)
        count = chance.randrange(40)
        times = sorted(chance.choice([chance.randrange(300 * S), chance.randrange(300) * S]) for _ in range(count))
        return cls(
            [
                (T + at, chance.randrange(1, 9) / 4, chance.randrange(1, 999) / 1000, "sell", "", str(90 + n))
                for n, at in enumerate(times)
            ]
        )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Universe, list[tuple[str, list[TradeRow], list[Interval]]]]:
    """Batches with repetitions, late ones, overlaps, any order, other roundings of time; and losses of trust."""
    universe = Universe.of(draw(st.integers(0, 10**6)))
    intervals = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: span(min(pair) * 10, max(pair) * 10))
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        rows = draw(st.lists(st.sampled_from(universe.rows), max_size=25)) if universe.rows else []
        jittered = [(row[0] + draw(st.sampled_from([0, 0, 0, 400_000])), *row[1:]) for row in rows]
        kind = draw(st.sampled_from(["write", "write", "write", "uncover"]))
        steps.append((kind, jittered, draw(st.lists(intervals, max_size=3))))
    return universe, steps


@settings(max_examples=80)
@given(history=histories())
async def test_candles_are_the_fold_of_distinct_trades_in_whole_minutes_and_none_elsewhere(
    store: TimeseriesStore, history: tuple[Universe, list[tuple[str, list[TradeRow], list[Interval]]]]
) -> None:
    async with store.connection("count") as connection:
        number = await connection.fetchval("SELECT count(*) FROM series")
    market = await market_of(store, f"S{number}")
    distinct: dict[str | None, TradeRow] = {}
    covered: set[int] = set()
    for kind, rows, spans in history[1]:
        seconds = {at for start_us, end_us in spans for at in range(start_us, end_us, 10 * S)}
        if kind == "write":
            await market.write(rows, *spans)
            for row in rows:
                distinct.setdefault(row[5], row)
            covered |= seconds
        else:
            for interval in spans:
                await store.uncover(market.trades, interval)
            covered -= seconds
        whole = {m for m in range(T, T + 300 * S, MINUTE_US) if covered.issuperset(range(m, m + MINUTE_US, 10 * S))}
        expected = [candle for candle in fold(list(distinct.values())) if candle[0] in whole]
        assert await market.stored_candles() == expected
        [gaps] = (await store.gaps({market.candles: span(0, 300)})).values()
        unknown = {m for start_us, end_us in gaps for m in range(start_us, end_us, MINUTE_US)}
        assert unknown == set(range(T, T + 300 * S, MINUTE_US)) - whole
    assert sorted(await market.stored_trades()) == sorted(distinct.values())
