"""What stored trades refute becomes unknown and is read again; what is missing then too is the exchange's own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_exchange.interface import Urgency
from fullon_ohlcv.records import CandleWrite, Series, TradeWrite
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.proof_check import SKIPPED_ID, VOLUME, ProofChecker
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_simulator import SimulatedMarket, SymbolSpec

KRAKEN, BINANCE = WantedSymbol("kraken", "BTC/USD", 1), WantedSymbol("binance", "BTC/USDT", 1)
HYPERLIQUID = WantedSymbol("hyperliquid", "BTC/USDC:USDC", 1)
SPAN_MINUTES = 30


@pytest.fixture
async def runtime(market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    monkeypatch.setenv("OHLCV_COLLECT_TRADES", "all")
    async with open_runtime() as runtime:
        yield runtime


@pytest.fixture
def market_specs() -> dict[str, list[SymbolSpec]]:
    bitcoin: dict[str, Any] = {"kind": "busy", "price": 60_000.0}
    return {
        "kraken": [SymbolSpec("BTC/USD", **bitcoin)],
        "binance": [SymbolSpec("BTC/USDT", **bitcoin)],
        "hyperliquid": [SymbolSpec("BTC/USDC:USDC", **bitcoin)],
    }


async def fill(runtime: Runtime, one: WantedSymbol, clock: Clock) -> tuple[Series, Series, tuple[int, int]]:
    """Store half an hour of trades, and of candles where they are not made of trades."""
    end_us = floor_minute_us(clock.now_us()) - 5 * MINUTE_US
    span = end_us - SPAN_MINUTES * MINUTE_US, end_us
    exchange, _ = await runtime.exchanges.reach(one.exchange)
    trades = await runtime.store.series(one.exchange, one.symbol, "trades")
    candles = await runtime.store.series(one.exchange, one.symbol, "candles1m")
    await read(runtime, one, span)
    assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [], candles: []}
    assert exchange.traits.trade_ids_sequential
    return trades, candles, span


async def read(runtime: Runtime, one: WantedSymbol, span: tuple[int, int]) -> None:
    exchange = await runtime.exchanges.get(one.exchange)
    for collector in (HistoricTradeCollector(runtime=runtime), HistoricOHLCVCollector(runtime=runtime)):
        if collector.channel == "trades" or not exchange.traits.candles_from_trades:
            series = await runtime.store.series(one.exchange, one.symbol, collector.channel)
            for gap in (await runtime.store.gaps({series: span}))[series]:
                await collector.fill_again(exchange, series, gap, Urgency.REPAIR, "repaired", confirms=True)


async def remove_trade(runtime: Runtime, trades: Series, span: tuple[int, int], number: int) -> tuple[int, int]:
    """Make it as if one trade had never come, the ledger unaware; return the minutes from the one before it on."""
    rows = await runtime.store.read_trades(trades, span)
    async with runtime.store.connection("lose a trade") as connection:
        query = "DELETE FROM trades WHERE series_id = $1 AND trade_id = $2"
        await connection.execute(query, trades.series_id, rows[number][5])
        query = (
            "UPDATE candles SET trades = candles.trades - 1 FROM series"
            " WHERE series.series_id = $1 AND candles.series_id = series.candles_id"
            " AND timestamp = minute_of(at_us($2))"
        )
        await connection.execute(query, trades.series_id, rows[number][0])
    return floor_minute_us(rows[number - 1][0]), floor_minute_us(rows[number + 1][0]) + MINUTE_US


async def test_an_id_missing_between_stored_trades_makes_its_minutes_unknown_until_they_are_read_again(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    trades, candles, span = await fill(runtime, KRAKEN, clock)
    checker = ProofChecker(runtime, [], again_after_us=0)
    await checker.want({KRAKEN})
    truth = [tuple(one) for one in market.truth("kraken", "BTC/USD").trades(*span)]
    for times in (1, 2):
        minutes = await remove_trade(runtime, trades, span, 7)
        await checker.check("kraken")
        assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [minutes], candles: [minutes]}
        assert checker.refuted["kraken", SKIPPED_ID] == times * (minutes[1] - minutes[0]) // MINUTE_US
        await read(runtime, KRAKEN, span)
        assert await runtime.store.read_trades(trades, span) == truth
    await remove_trade(runtime, trades, span, 7)
    await checker.check("kraken")
    assert (await runtime.store.gaps({trades: span}))[trades] == [], "it is not there: the exchange's own hole"


async def test_what_is_still_missing_is_read_once_more_only_later(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    """What answers wrongly may do so for minutes: a second reading at once would find the same."""
    trades, _, span = await fill(runtime, KRAKEN, clock)
    checker = ProofChecker(runtime, [], again_after_us=MINUTE_US)
    await checker.want({KRAKEN})
    minutes = await remove_trade(runtime, trades, span, 7)
    await checker.check("kraken")
    await read(runtime, KRAKEN, span)
    await remove_trade(runtime, trades, span, 7)
    await checker.check("kraken")
    assert (await runtime.store.gaps({trades: span}))[trades] == []
    await clock.sleep(60.0)
    await checker.check("kraken")
    assert (await runtime.store.gaps({trades: span}))[trades] == [minutes]


async def test_an_id_missing_at_the_seam_of_what_was_checked_is_found(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    trades, _, span = await fill(runtime, KRAKEN, clock)
    checker = ProofChecker(runtime, [], again_after_us=0)
    await checker.want({KRAKEN})
    rows = await runtime.store.read_trades(trades, span)
    seam_us = rows[len(rows) // 2][0]
    minutes = await remove_trade(runtime, trades, span, len(rows) // 2)
    checker._checked[SKIPPED_ID, trades] = [(0, seam_us)]
    await checker.check("kraken")
    assert (await runtime.store.gaps({trades: span}))[trades] == [minutes]


async def test_trades_that_do_not_add_up_to_their_candle_make_both_unknown_until_they_are_read_again(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    trades, candles, span = await fill(runtime, BINANCE, clock)
    checker = ProofChecker(runtime, [], again_after_us=0)
    await checker.want({BINANCE})
    await checker.check("binance")
    assert checker.refuted.total() == 0, "what is right is left alone"
    rows = await runtime.store.read_candles(candles, span)
    minute = rows[3][0], rows[3][0] + MINUTE_US
    for times in (1, 2):
        await change_candle(runtime, candles, minute[0])
        checker._checked.clear()
        await checker.check("binance")
        assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [minute], candles: [minute]}
        assert checker.refuted == {("binance", VOLUME): times}
        await read(runtime, BINANCE, span)
        assert await runtime.store.read_candles(candles, span) == rows
    await change_candle(runtime, candles, minute[0])
    checker._checked.clear()
    await checker.check("binance")
    assert (await runtime.store.gaps({candles: span}))[candles] == [], "it was read again twice: it is accepted"


async def test_a_minute_is_compared_also_when_its_candle_comes_long_after_its_trades(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    trades, candles, span = await fill(runtime, BINANCE, clock)
    rows = await runtime.store.read_candles(candles, span)
    minute = rows[3][0], rows[3][0] + MINUTE_US
    checker = ProofChecker(runtime, [], again_after_us=0)
    await checker.want({BINANCE})
    await runtime.store.uncover(candles, minute)
    await checker.check("binance")
    await read(runtime, BINANCE, span)
    await change_candle(runtime, candles, minute[0])
    await checker.check("binance")
    assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [minute], candles: [minute]}


async def fill_stream(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> tuple[Series, Series, tuple[int, int]]:
    """Store half an hour of candles of an exchange without past trades, and its trades as if from the stream."""
    end_us = floor_minute_us(clock.now_us()) - 5 * MINUTE_US
    span = end_us - SPAN_MINUTES * MINUTE_US, end_us
    exchange, _ = await runtime.exchanges.reach("hyperliquid")
    assert not exchange.traits.trade_history
    trades = await runtime.store.series("hyperliquid", HYPERLIQUID.symbol, "trades")
    candles = await runtime.store.series("hyperliquid", HYPERLIQUID.symbol, "candles1m")
    await read_candles(runtime, candles, span)
    truth = [tuple(one) for one in market.truth("hyperliquid", HYPERLIQUID.symbol).trades(*span)]
    await runtime.store.write_trades([TradeWrite(trades, truth, [span])])
    return trades, candles, span


async def read_candles(runtime: Runtime, candles: Series, span: tuple[int, int]) -> None:
    exchange = await runtime.exchanges.get("hyperliquid")
    for gap in (await runtime.store.gaps({candles: span}))[candles]:
        collector = HistoricOHLCVCollector(runtime=runtime)
        await collector.fill_again(exchange, candles, gap, Urgency.REPAIR, "repaired", confirms=True)


async def test_a_trade_lost_on_a_stream_without_numbers_makes_the_trades_of_its_minute_unknown(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    trades, candles, span = await fill_stream(runtime, market, clock)
    checker = ProofChecker(runtime, [], again_after_us=0)
    await checker.want({HYPERLIQUID})
    await checker.check("hyperliquid")
    assert checker.refuted.total() == 0, "what is right is left alone"
    rows = await runtime.store.read_trades(trades, span)
    lost_us = floor_minute_us(rows[7][0])
    minute = lost_us, lost_us + MINUTE_US
    async with runtime.store.connection("lose a trade") as connection:
        query = "DELETE FROM trades WHERE series_id = $1 AND trade_id = $2"
        await connection.execute(query, trades.series_id, rows[7][5])
    checker._checked.clear()
    for _ in range(2):
        await checker.check("hyperliquid")
        assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [], candles: [minute]}
        await read_candles(runtime, candles, span)
    await checker.check("hyperliquid")
    assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [minute], candles: []}


async def test_trades_are_not_given_up_where_the_candle_was_wrong_or_most_minutes_differ(
    runtime: Runtime, market: SimulatedMarket, clock: Clock
) -> None:
    trades, candles, span = await fill_stream(runtime, market, clock)
    checker = ProofChecker(runtime, [], again_after_us=0)
    await checker.want({HYPERLIQUID})
    rows = await runtime.store.read_candles(candles, span)
    await change_candle(runtime, candles, rows[3][0])
    await checker.check("hyperliquid")
    await read_candles(runtime, candles, span)
    await checker.check("hyperliquid")
    assert (await runtime.store.gaps({trades: span, candles: span})) == {trades: [], candles: []}
    for _ in range(3):
        for row in rows:
            await change_candle(runtime, candles, row[0])
        checker._checked.clear()
        await checker.check("hyperliquid")
        await runtime.store.write_candles([CandleWrite(candles, (), [span])])
    assert (await runtime.store.gaps({trades: span}))[trades] == []


async def change_candle(runtime: Runtime, candles: Series, minute_us: int) -> None:
    async with runtime.store.connection("change a candle") as connection:
        query = "UPDATE candles SET volume = volume * 1.5 WHERE series_id = $1 AND timestamp = at_us($2)"
        await connection.execute(query, candles.series_id, minute_us)
