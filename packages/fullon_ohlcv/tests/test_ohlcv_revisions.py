"""Every correction of a candle is kept: what it was, what it became, when and why."""

from fullon_ohlcv.records import CandleRow, CandleWrite, TradeRow, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US

T0_US = 1_760_000_040_000_000
ALL = (T0_US, T0_US + 60 * MINUTE_US)


def candle(minute: int, close: float, volume: float = 2.0, trades: int | None = 3) -> CandleRow:
    return (T0_US + minute * MINUTE_US, 1.0, 9.0, 0.5, close, volume, trades)


def trade(minute: float, trade_id: int, price: float) -> TradeRow:
    return (T0_US + round(minute * MINUTE_US), price, 1.0, "buy", "market", str(trade_id))


async def test_a_corrected_candle_is_kept_as_it_was_with_the_reason(store: TimeseriesStore) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    await store.write_candles([CandleWrite(series, [candle(0, 1.0), candle(1, 2.0)], [ALL])])
    result = await store.write_candles(
        [CandleWrite(series, [candle(0, 1.0), candle(1, 2.5)])], why="read again over REST"
    )
    assert (result.updated, result.unchanged) == (1, 1)
    (revision,) = await store.read_revisions(series, ALL)
    assert revision.before == candle(1, 2.0)
    assert revision.after == candle(1, 2.5)
    assert revision.why == "read again over REST"


async def test_writing_the_same_again_is_no_revision(store: TimeseriesStore) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    for _ in range(2):
        await store.write_candles([CandleWrite(series, [candle(0, 1.0)], [ALL])], why="again")
    assert await store.read_revisions(series, ALL) == []


async def test_a_candle_that_proves_empty_is_withdrawn(store: TimeseriesStore) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    await store.write_candles([CandleWrite(series, [candle(0, 1.0)], [ALL])])
    await store.write_candles([CandleWrite(series, [candle(0, 1.0, volume=0.0, trades=0)], [ALL])])
    (revision,) = await store.read_revisions(series, ALL)
    assert revision.before == candle(0, 1.0)
    assert revision.after is None
    assert revision.why == "received again"


async def test_a_late_trade_revises_the_candle_of_its_minute(store: TimeseriesStore) -> None:
    series = await store.series("kraken", "BTC/USD", "trades")
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    await store.write_trades([TradeWrite(series, [trade(0.2, 1, 10.0)], [ALL], candles=candles)])
    await store.write_trades([TradeWrite(series, [trade(0.7, 2, 11.0)], candles=candles)], why="late trade")
    (revision,) = await store.read_revisions(candles, ALL)
    assert revision.after is not None
    assert (revision.before[4], revision.after[4], revision.why) == (10.0, 11.0, "late trade")


async def test_what_live_alone_has_told_is_unconfirmed_until_history_says_the_same(store: TimeseriesStore) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    await store.write_candles([CandleWrite(series, [candle(0, 1.0), candle(1, 2.0)], [ALL])])
    assert await store.unconfirmed({series: ALL}) == {series: [ALL]}
    first = (T0_US, T0_US + MINUTE_US)
    await store.write_candles([CandleWrite(series, [candle(0, 1.0)], [first], confirmed=[first])])
    assert await store.unconfirmed({series: ALL}) == {series: [(first[1], ALL[1])]}
    await store.uncover(series, first)
    await store.write_candles([CandleWrite(series, [candle(0, 1.0)], [first])])
    assert await store.unconfirmed({series: ALL}) == {series: [ALL]}


async def test_a_candle_that_the_history_does_not_have_is_withdrawn(store: TimeseriesStore) -> None:
    series = await store.series("hyperliquid", "BTC/USDC:USDC", "candles1m")
    await store.write_candles([CandleWrite(series, [candle(0, 1.0), candle(1, 2.0), candle(70, 3.0)], [ALL])])
    result = await store.write_candles([CandleWrite(series, [candle(0, 1.0)], [ALL], confirmed=[ALL])], why="again")
    assert result.updated == 1
    stored = await store.read_candles(series, (T0_US, T0_US + 100 * MINUTE_US))
    assert [row[0] for row in stored] == [T0_US, T0_US + 70 * MINUTE_US]
    (revision,) = await store.read_revisions(series, ALL)
    assert (revision.before, revision.after, revision.why) == (candle(1, 2.0), None, "again")
    await store.write_candles([CandleWrite(series, [], [ALL], confirmed=[ALL])])
    assert await store.read_candles(series, ALL) == []


async def test_a_reading_that_corrects_confirms_nothing_until_another_agrees(store: TimeseriesStore) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    right = CandleWrite(series, [candle(0, 1.0)], [ALL], confirmed=[ALL])
    wrong = CandleWrite(series, [candle(0, 5.0)], [ALL], confirmed=[ALL])
    await store.write_candles([right])
    assert await store.unconfirmed({series: ALL}) == {series: []}
    for reading, left in ((right, []), (wrong, [ALL]), (right, [ALL]), (right, [])):
        await store.write_candles([reading], why="again")
        assert await store.unconfirmed({series: ALL}) == {series: left}


async def test_a_trade_that_is_found_when_read_again_leaves_its_stretch_unconfirmed_once(
    store: TimeseriesStore,
) -> None:
    series = await store.series("kraken", "BTC/USD", "trades")
    trades = [(ALL[0] + n, 1.0, 2.0, "buy", "", str(n)) for n in range(3)]
    await store.write_trades([TradeWrite(series, trades[:2], [ALL], confirmed=[ALL])])
    for left in ([ALL], []):
        await store.write_trades([TradeWrite(series, trades, [ALL], confirmed=[ALL])], why="again")
        assert await store.unconfirmed({series: ALL}) == {series: left}
