"""Whether data are fresh, when a restart is worth a try, and where that is told."""

from __future__ import annotations

import pytest

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.records import CoverageSummary, Lifecycle, MarketState
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.config.settings import Address, OhlcvServiceConfig
from fullon_ohlcv_service.errors import ConfigurationError
from fullon_ohlcv_service.gap_order import deadline_us
from fullon_ohlcv_service.health import Patience, find_stale
from fullon_ohlcv_service.status import StatusBoard

NOW_US = 1_800_000_000_000_000
HOUR_US = 60 * MINUTE_US


def wanted(symbol: str, exchange: str = "kraken") -> WantedSymbol:
    return WantedSymbol(exchange, symbol, backtest_days=1)


def covered_until(board: StatusBoard, symbol: str, end_us: int, exchange: str = "kraken") -> None:
    line = board.get(exchange, symbol)
    assert line is not None
    line.refresh(CoverageSummary(HOUR_US, HOUR_US, 0, end_us, end_us), None, end_us, 0.0)


@pytest.fixture
def board() -> StatusBoard:
    board = StatusBoard(Clock())
    board.want([wanted("BTC/USD"), wanted("ADA/USD")])
    for symbol in ("BTC/USD", "ADA/USD"):
        covered_until(board, symbol, NOW_US)
    return board


def stale_symbols(board: StatusBoard, now_us: int) -> list[str]:
    return [one.symbol for one in find_stale(board, now_us, 300.0)]


def test_a_symbol_is_stale_once_its_newest_minute_is_too_old_though_nobody_looks_at_the_ledger(
    board: StatusBoard,
) -> None:
    covered_until(board, "ADA/USD", NOW_US - 10 * MINUTE_US)
    assert stale_symbols(board, NOW_US - 5 * MINUTE_US) == []
    assert stale_symbols(board, NOW_US) == ["ADA/USD"]
    assert stale_symbols(board, NOW_US + 6 * MINUTE_US) == ["ADA/USD", "BTC/USD"]


def test_a_symbol_of_which_nothing_is_stored_is_not_fresh_and_the_venue_says_why(board: StatusBoard) -> None:
    board.want([wanted("BTC/USD"), wanted("NEW/USD")])
    board.set_venue_problem("kraken", "kraken does not answer")
    [found] = find_stale(board, NOW_US, 300.0)
    assert found == ("kraken", "NEW/USD", "nothing is stored yet; kraken does not answer")


def test_what_is_halted_or_refused_is_not_due(board: StatusBoard) -> None:
    board.set_state(MarketState("kraken", "ADA/USD", Lifecycle.HALTED, "halted: not traded", NOW_US))
    board.set_problem("kraken", "BTC/USD", "kraken refused trades")
    assert stale_symbols(board, NOW_US + HOUR_US) == []


def test_a_silent_stream_that_cannot_be_examined_is_stale_after_a_minute_and_until_it_can(board: StatusBoard) -> None:
    board.doubt("kraken", "BTC/USD", "trades", "silent for 20 s", NOW_US)
    board.doubt("kraken", "BTC/USD", "trades", "silent for 70 s", NOW_US + 50_000_000)
    assert stale_symbols(board, NOW_US + 50_000_000) == []
    [found] = find_stale(board, NOW_US + 61_000_000, 300.0)
    assert found == ("kraken", "BTC/USD", "silent for 70 s")
    board.trust("kraken", "BTC/USD", "trades")
    assert stale_symbols(board, NOW_US + 61_000_000) == []


def test_the_deadline_is_that_of_the_first_minute_still_served() -> None:
    """Of 1,000 minutes that are served, the oldest is forgotten as the next minute begins."""
    now_us = floor_minute_us(NOW_US)
    old, young = now_us - 900 * MINUTE_US, now_us - 10 * MINUTE_US
    gone = (now_us - 3000 * MINUTE_US, now_us - 2900 * MINUTE_US)
    gaps = [gone, (old, old + MINUTE_US), (young, now_us)]
    assert deadline_us(gaps, now_us, 1000, MINUTE_US) == now_us + 99 * MINUTE_US
    assert deadline_us([gone], now_us, 1000, MINUTE_US) is None
    being_lost = deadline_us([(gone[0], young)], now_us, 1000, MINUTE_US)
    assert being_lost is not None
    assert being_lost < now_us


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
        ("", None),
    ],
)
def test_an_address_is_host_and_port_or_nothing(
    monkeypatch: pytest.MonkeyPatch, text: str, address: tuple[str, int] | None
) -> None:
    monkeypatch.setenv("OHLCV_HTTP_BIND", text)
    found = OhlcvServiceConfig.from_env().http_address
    assert found == address
    assert found is None or str(Address(*found)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("9464", "localhost", ":9464", "localhost:", "localhost:http", "localhost:65536", "localhost:-1", "::1:80"),
        *("http://localhost:80", "localhost:80/metrics", "me@localhost:80", "a b:80", "localhost:80?x", "[::1:80", " "),
    ],
)
def test_any_other_address_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OHLCV_HTTP_BIND", text)
    with pytest.raises(ConfigurationError) as refused:
        OhlcvServiceConfig.from_env()
    sentence = str(refused.value)
    assert sentence.startswith(f"OHLCV_HTTP_BIND is {text!r}; allowed is HOST:PORT such as 127.0.0.1:9464")
    assert "\n" not in sentence


# the watchdog ---------------------------------------------------------------------------------------------------


def over_after_minutes(newest_age_us: int | None) -> int:
    """After how many minutes without anything fresh a restart is tried, of data that are so old at first."""
    patience = Patience()
    newest_us = None if newest_age_us is None else NOW_US - newest_age_us
    return next(minute for minute in range(10_000) if patience.is_over(NOW_US + minute * MINUTE_US, newest_us))


@pytest.mark.parametrize(
    ("newest_age_us", "minutes"),
    [(None, 10), (5 * MINUTE_US, 10), (20 * MINUTE_US, 20), (2 * HOUR_US, 120), (72 * HOUR_US, 360)],
)
def test_a_restart_waits_as_long_as_the_outage_has_lasted_but_ten_minutes_and_at_most_six_hours(
    newest_age_us: int | None, minutes: int
) -> None:
    assert over_after_minutes(newest_age_us) == minutes


def test_patience_begins_anew_with_anything_fresh() -> None:
    patience = Patience()
    assert not patience.is_over(NOW_US, NOW_US)
    patience.reset()
    assert not patience.is_over(NOW_US + 20 * MINUTE_US, NOW_US + 15 * MINUTE_US)
    assert patience.is_over(NOW_US + 31 * MINUTE_US, NOW_US + 15 * MINUTE_US)
