"""Freshness: quiet and dead are told apart by each symbol's own pace."""

from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.records import Candle, Candles, Disconnected, Subscribed, Trade, Trades, Unsubscribed
from fullon_ohlcv_service.freshness import (
    LAG_MAX_US,
    SILENCE_FIRST_US,
    SILENCE_MAX_US,
    SILENCE_MIN_US,
    Freshness,
    silence_limit_us,
)

T0_US = 1_700_000_040_000_000
SECOND_US = 1_000_000


def trade(at_s: float, symbol: str = "BTC/USD", connection: str = "a", late_s: float = 0) -> Trades:
    at_us = T0_US + round((at_s - late_s) * SECOND_US)
    return Trades(connection, [Trade(symbol, at_us, 1.0, 1.0, "buy", str(at_us))], at_us)


def at(seconds: float) -> int:
    return T0_US + round(seconds * SECOND_US)


def watched(*symbols: str) -> Freshness:
    freshness = Freshness()
    freshness.feed([Subscribed("a", symbol, "trades", T0_US) for symbol in symbols], T0_US)
    return freshness


def overdue(freshness: Freshness, seconds: float) -> list[str]:
    return [one.symbol for one in freshness.overdue(at(seconds))]


def test_a_stream_that_is_silent_from_its_very_first_message_is_overdue_after_a_minute() -> None:
    freshness = watched("BTC/USD")
    assert overdue(freshness, 59) == []
    assert overdue(freshness, 61) == ["BTC/USD"]


def test_a_busy_symbol_is_overdue_in_seconds_and_a_quiet_one_beside_it_is_not() -> None:
    freshness = watched("BTC/USD", "ADA/USD")
    for second in range(600):
        freshness.feed([trade(second)], at(second))
        if second % 60 == 0:
            freshness.feed([trade(second, "ADA/USD")], at(second))
    assert overdue(freshness, 630) == ["BTC/USD"]
    assert overdue(freshness, 1700) == ["BTC/USD", "ADA/USD"]


def test_one_long_pause_at_the_start_does_not_set_the_pace() -> None:
    freshness = watched("BTC/USD")
    for second in range(50, 150):
        freshness.feed([trade(second)], at(second))
    assert overdue(freshness, 149 + 40) == ["BTC/USD"]


def test_a_market_that_really_is_silent_is_looked_at_ever_more_rarely() -> None:
    freshness = watched("BTC/USD")
    assert overdue(freshness, 61)
    freshness.forgive("BTC/USD")
    assert not overdue(freshness, 100)
    assert overdue(freshness, 121)


def test_data_that_comes_ever_later_is_overdue_though_it_comes() -> None:
    freshness = watched("BTC/USD")
    freshness.feed([trade(10, late_s=1)], at(10))
    assert overdue(freshness, 11) == []
    freshness.feed([trade(60, late_s=LAG_MAX_US / SECOND_US + 1)], at(60))
    (one,) = freshness.overdue(at(61))
    assert one.lagging
    assert "late" in one.reason


def test_what_a_snapshot_tells_of_the_time_before_the_subscription_is_not_late() -> None:
    freshness = watched("BTC/USD")
    freshness.feed([trade(1, late_s=900)], at(1))
    assert overdue(freshness, 2) == []
    freshness.feed([trade(2, late_s=900), trade(40, late_s=900)], at(40))
    assert overdue(freshness, 41) == ["BTC/USD"], "nothing but old news, again and again"


def test_a_late_candle_is_lagging_and_a_running_one_is_not() -> None:
    freshness = watched("BTC/USD")
    running = Candle("BTC/USD", "1m", at(0), 1, 1, 1, 1, 1, 1, closed=False)
    freshness.feed([Candles("a", [running], 0)], at(50))
    assert overdue(freshness, 51) == []
    freshness.feed([Candles("a", [running], 0)], at(120))
    assert overdue(freshness, 121) == ["BTC/USD"]


def test_nothing_is_overdue_while_the_connection_is_gone() -> None:
    freshness = watched("BTC/USD")
    freshness.feed([Disconnected("a", at(5), "cut")], at(5))
    assert overdue(freshness, 600) == []
    freshness.feed([Subscribed("b", "BTC/USD", "trades", at(600))], at(600))
    assert overdue(freshness, 661) == ["BTC/USD"]


def test_the_ladder_goes_up_until_fresh_data_comes() -> None:
    freshness = watched("BTC/USD")
    assert freshness.escalate("BTC/USD", at(61)) == 1
    assert overdue(freshness, 62) == []
    freshness.feed([Subscribed("a", "BTC/USD", "trades", at(62))], at(62))
    assert freshness.escalate("BTC/USD", at(130)) == 2
    freshness.feed([trade(131)], at(131))
    assert freshness.escalate("BTC/USD", at(300)) == 1


def test_a_snapshot_that_nothing_follows_does_not_lead_down_the_ladder() -> None:
    freshness = watched("BTC/USD")
    assert freshness.escalate("BTC/USD", at(61)) == 1
    freshness.feed([Subscribed("a", "BTC/USD", "trades", at(62)), trade(62, late_s=5)], at(62))
    assert freshness.escalate("BTC/USD", at(130)) == 2


def test_a_resubscription_does_not_go_down_the_ladder() -> None:
    freshness = watched("BTC/USD")
    assert freshness.escalate("BTC/USD", at(61)) == 1
    freshness.feed([Unsubscribed("a", "BTC/USD", "trades", at(62))], at(62))
    assert overdue(freshness, 600) == []
    freshness.feed([Subscribed("a", "BTC/USD", "trades", at(63))], at(63))
    assert freshness.escalate("BTC/USD", at(130)) == 2


def test_while_one_connection_replaces_another_both_are_heard() -> None:
    freshness = watched("BTC/USD")
    freshness.feed([trade(10)], at(10))
    freshness.feed([Subscribed("b", "BTC/USD", "trades", at(20))], at(20))
    assert [one.connection for one in freshness.overdue(at(1000))] == ["b"]
    freshness.feed([trade(1000, connection="a")], at(1000))
    assert overdue(freshness, 1001) == []
    freshness.feed([Disconnected("b", at(1002), "not acknowledged")], at(1002))
    freshness.feed([trade(1900)], at(1900))
    assert overdue(freshness, 1901) == []


def test_a_changeover_does_not_make_a_silent_symbol_fresh() -> None:
    freshness = watched("BTC/USD")
    freshness.feed([Subscribed("b", "BTC/USD", "trades", at(60)), Disconnected("a", at(60), "age")], at(60))
    assert overdue(freshness, 61) == ["BTC/USD"]


@given(st.one_of(st.none(), st.floats(0, 1e12)))
def test_a_limit_of_silence_is_bounded_whatever_the_pace(pause_us: float | None) -> None:
    assert SILENCE_MIN_US <= silence_limit_us(pause_us) <= SILENCE_MAX_US
    assert silence_limit_us(None) == SILENCE_FIRST_US
