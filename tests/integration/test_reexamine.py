"""What an exchange did not serve although it should have is asked for again, ever more rarely."""

import pytest
from support import eventually

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
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
        ("retention", False),
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
