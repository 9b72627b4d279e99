"""Opening an exchange by name, or being told what was probably meant."""

import pytest

from fullon_exchange import NATIVE_EXCHANGES, Clock, open_exchange
from fullon_exchange.errors import UnknownExchange


def test_the_native_exchanges_open_in_either_case() -> None:
    for name in ("kraken", "binance", "Kraken"):
        assert open_exchange(name, clock=Clock()).name == name.lower()
    assert {"kraken", "binance"} <= set(NATIVE_EXCHANGES)


def test_traits_say_what_a_venues_records_can_be_trusted_for() -> None:
    kraken, binance = open_exchange("kraken").traits, open_exchange("binance").traits
    assert (kraken.candles_from_trades, kraken.candle_closed_flag, kraken.candle_window) == (True, False, 720)
    assert (binance.candles_from_trades, binance.candle_closed_flag, binance.candle_window) == (False, True, None)
    assert kraken.trade_ids_sequential
    assert binance.trade_ids_sequential


def test_an_unknown_name_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownExchange, match="no exchange is called 'karken'; did you mean kraken") as refused:
        open_exchange("karken")
    assert refused.value.near[0] == "kraken"
    assert isinstance(refused.value, ValueError)
    with pytest.raises(UnknownExchange, match="native are"):
        open_exchange("zzzzzzzzzzzz")
