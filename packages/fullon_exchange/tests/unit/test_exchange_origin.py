"""Settings of one exchange: `FULLON_<EXCHANGE>_ORIGIN` moves every address of it, or is refused; so is an age."""

import pytest

from fullon_exchange.live.age import configured_age_s
from fullon_exchange.origin import origin_variable, resolve


def test_without_the_variable_an_address_stays() -> None:
    assert resolve("kraken", "wss://ws.kraken.com/v2") == "wss://ws.kraken.com/v2"


@pytest.mark.parametrize(
    ("origin", "url", "moved"),
    [
        (
            "http://127.0.0.1:9101",
            "https://api.kraken.com/0/public/Time?x=1",
            "http://127.0.0.1:9101/0/public/Time?x=1",
        ),
        ("http://127.0.0.1:9101/", "wss://stream.binance.com:9443/ws", "ws://127.0.0.1:9101/ws"),
        ("https://proxy.example", "wss://ws.kraken.com/v2", "wss://proxy.example/v2"),
        ("https://[::1]:8443", "https://api.kraken.com/0", "https://[::1]:8443/0"),
    ],
)
def test_scheme_host_and_port_are_replaced_and_the_path_stays(
    monkeypatch: pytest.MonkeyPatch, origin: str, url: str, moved: str
) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", origin)
    assert resolve("kraken", url) == moved


def test_the_variable_of_one_exchange_moves_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLON_BINANCE_ORIGIN", "http://127.0.0.1:1")
    assert resolve("kraken", "https://api.kraken.com/x") == "https://api.kraken.com/x"


def test_other_marks_in_a_name_become_underscores() -> None:
    assert origin_variable("coinbase-pro") == "FULLON_COINBASE_PRO_ORIGIN"


@pytest.mark.parametrize(
    "value",
    [
        "127.0.0.1:9101",
        "ws://127.0.0.1:9101",
        "http://",
        "http://host:",
        "http://host:notaport",
        "http://host:99999",
        "http://host:0",
        "http://host/path",
        "http://host?x=1",
        "http://user:secret@host",
        "http://ho st",
        "http://[::1",
        "localhost",
    ],
)
def test_what_does_not_parse_is_refused_with_name_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", value)
    with pytest.raises(ValueError, match=r"FULLON_KRAKEN_ORIGIN is .*allowed is http://host") as refused:
        resolve("kraken", "https://api.kraken.com")
    assert repr(value) in str(refused.value)


def test_the_age_of_connections_is_left_to_the_venue_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured_age_s("binance") is None
    monkeypatch.setenv("FULLON_BINANCE_CONNECTION_AGE_S", " 1800 ")
    assert configured_age_s("binance") == 1800.0


@pytest.mark.parametrize("value", ["a day", "0", "0.5", "-5", "nan", "inf", "1e999"])
def test_an_age_that_is_none_is_refused_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FULLON_BINANCE_CONNECTION_AGE_S", value)
    with pytest.raises(ValueError, match=r"FULLON_BINANCE_CONNECTION_AGE_S is .*allowed is a number of seconds, 1 or"):
        configured_age_s("binance")
