"""What the board tells of one symbol: how much is there, how fast it comes, how long it will still take."""

import pytest

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CoverageSummary
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.status import Phase, SymbolStatus

HOUR_US = 60 * MINUTE_US
NOW_US = 1_795_000_000_000_000 // MINUTE_US * MINUTE_US
WANTED_US = 100 * HOUR_US


def summary(covered_us: int, unavailable_us: int = 0) -> CoverageSummary:
    """So much of a hundred hours is covered, from the oldest on."""
    until_us = NOW_US - WANTED_US + covered_us + unavailable_us
    return CoverageSummary(
        WANTED_US, covered_us, unavailable_us, covered_until_us=until_us, last_timestamp_us=until_us - MINUTE_US
    )


@pytest.fixture
def line() -> SymbolStatus:
    return SymbolStatus(WantedSymbol("kraken", "BTC/USD", 5), "trades")


def test_the_pace_of_the_last_seconds_tells_how_long_a_back_fill_still_takes(line: SymbolStatus) -> None:
    line.refresh(summary(10 * HOUR_US, 20 * HOUR_US), None, NOW_US, 0.0)
    assert (line.phase, line.covered_ratio, line.eta_s) == (Phase.CATCHING_UP, pytest.approx(0.3), None)
    assert line.lag_s == 70 * 3600
    line.rows += 6_000
    line.refresh(summary(40 * HOUR_US, 20 * HOUR_US), None, NOW_US, 10.0)
    assert (line.rate_rows_s, line.missing_us) == (600.0, 40 * HOUR_US)
    assert line.eta_s == pytest.approx(40 / 30 * 10)
    line.refresh(summary(40 * HOUR_US, 20 * HOUR_US), None, NOW_US, 40.0)
    assert (line.rate_rows_s, line.eta_s) == (0.0, None), "what was long ago says nothing of the pace"


def test_what_live_has_promised_is_not_missing_and_without_a_promise_it_is_complete(line: SymbolStatus) -> None:
    line.refresh(summary(WANTED_US - 2 * MINUTE_US), NOW_US - 2 * MINUTE_US, NOW_US, 0.0)
    assert (line.phase, line.covered_ratio, line.eta_s) == (Phase.LIVE, 1.0, 0.0)
    assert (line.lag_s, line.last_candle_us) == (120.0, NOW_US - 3 * MINUTE_US)
    line.refresh(summary(WANTED_US), None, NOW_US, 1.0)
    assert (line.phase, line.lag_s) == (Phase.COMPLETE, 0.0)
    line.refresh(summary(WANTED_US - 2 * MINUTE_US), None, NOW_US, 2.0)
    assert line.phase is Phase.CATCHING_UP
