"""What an exchange did not serve although it should have is asked for again, ever more rarely."""

import pytest
from support import eventually

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_exchange.history.reasons import TOO_OLD
from fullon_ohlcv.records import CandleWrite
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.reexamine import FIRST_US, Reexaminer
from fullon_ohlcv_service.runtime import open_runtime
from fullon_simulator import SimulatedMarket

ONE = WantedSymbol("binance", "BTC/USDT", 1)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("not published", True),
        ("unreadable: x", True),
        ("unusable row: x", True),
        ("listed later: x", True),
        (f"{TOO_OLD} by binance", True),
        ("retention: binance keeps the newest", False),
    ],
)
async def test_only_what_may_still_be_served_becomes_a_gap_again(
    market: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch, reason: str, again: bool
) -> None:
    monkeypatch.setattr("fullon_ohlcv_service.reexamine.FIRST_US", MINUTE_US)
    assert FIRST_US > MINUTE_US
    async with open_runtime() as runtime:
        reexaminer = Reexaminer(runtime, [HistoricOHLCVCollector(runtime=runtime)])
        await reexaminer.want({ONE})
        series = await runtime.store.series(ONE.exchange, ONE.symbol, "candles1m")
        start_us = floor_minute_us(clock.now_us()) - 60 * MINUTE_US
        lost = (start_us, start_us + 2 * MINUTE_US)
        await runtime.store.write_candles([CandleWrite(series, [], unavailable=[(lost, reason)])])
        await reexaminer._look("binance")
        assert not (await runtime.store.gaps({series: lost}))[series]
        await clock.sleep_until(clock.now_us() + 2 * MINUTE_US)

        async def asked_again() -> bool:
            await reexaminer._look("binance")
            return (await runtime.store.gaps({series: lost}))[series] == [lost]

        if again:
            await eventually(asked_again, "a gap again")
        else:
            assert not await asked_again()


async def test_what_lies_before_a_refused_start_is_stored_once_older_starts_are_accepted(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the exchange answers windows only, which hides nothing."""
    monkeypatch.setattr("fullon_ohlcv_service.reexamine.FIRST_US", 0)
    refusing = seeded.faults.begin("too_old", venue=ONE.exchange, minutes=300)
    bounding = seeded.faults.begin("bounded_window", venue=ONE.exchange, candles=20)
    await HistoricOHLCVCollector().start_collection()
    assert refusing.struck
    assert bounding.struck
    async with open_runtime() as runtime:
        series = await runtime.store.series(ONE.exchange, ONE.symbol, "candles1m")
        end_us = floor_minute_us(clock.now_us()) - 60 * MINUTE_US
        asked = (end_us - 600 * MINUTE_US, end_us)
        truth = [tuple(candle) for candle in seeded.truth(ONE.exchange, ONE.symbol).candles(*asked)]
        [lost, known] = await runtime.store.coverage_intervals(series, asked)
        assert (lost.reason or "").startswith(TOO_OLD)
        assert [tuple(row) for row in await runtime.store.read_candles(series, known.interval)] == [
            row for row in truth if row[0] >= known.interval[0]
        ]
        seeded.faults.heal()
        reexaminer = Reexaminer(runtime, [HistoricOHLCVCollector(runtime=runtime)])
        await reexaminer.want({ONE})
        await reexaminer._look(ONE.exchange)

        async def asked_again() -> bool:
            await reexaminer._look(ONE.exchange)
            return bool((await runtime.store.gaps({series: asked}))[series])

        await eventually(asked_again, "a gap again")
        await HistoricOHLCVCollector().start_collection()
        assert [tuple(row) for row in await runtime.store.read_candles(series, asked)] == truth
        assert not [run for run in await runtime.store.coverage_intervals(series, asked) if run.reason]
