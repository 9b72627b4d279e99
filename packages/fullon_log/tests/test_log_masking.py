"""Secrets never reach a record."""

import json
from collections.abc import Callable

import pytest

from fullon_log import get_component_logger
from fullon_log.masking import is_secret_name, mask_text

log = get_component_logger("fullon.cache")


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "pwd",
        "secret",
        "token",
        "X-Auth-Token",
        "api_key",
        "apiKey",
        "auth",
        "cookie",
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["symbol", "key", "tokens", "token_count", "tokens_left", "author", "exchange", "pinned", "passed"],
)
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:hunter2@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
        ("postgresql://me:hun/ter#2@db/x", "postgresql://me:***@db/x"),
        ("https://hunter2@host/x", "https://***@host/x"),
        ("cannot reach 'redis://u:hunter2@h/0' now", "cannot reach 'redis://u:***@h/0' now"),
        ("password=hunter2 user=me", "password=*** user=me"),
        ("Settings(host='h', password='hunter 2', port=1)", "Settings(host='h', password=***, port=1)"),
        ('{"api_key": "hunter2", "a": 1}', '{"api_key": ***, "a": 1}'),
        ("GET /x?symbol=BTC&signature=hunter2&n=1", "GET /x?symbol=BTC&signature=***&n=1"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: ***"),
        ("sent Bearer hunter2hunter2 to", "sent Bearer *** to"),
    ],
)
def test_secrets_in_text_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "wss://stream.binance.com:9443/ws/btcusdt@trade",
        "wss://stream.binance.com:9443/stream?streams=btcusdt@aggTrade/ethusdt@kline_1m",
        "http://127.0.0.1:9101",
        "InvalidPasswordError: password authentication failed for user me",
        "bought 2 BTC @ 50,000: done",
        "12:30:00 a=b c:d",
    ],
)
def test_harmless_text_is_left_alone(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("name", ["beautiful", "minimal", "development", "detailed", "trading", "json"])
def test_no_format_shows_a_secret(name: str, configure: Callable[..., None], records: list[str]) -> None:
    configure(format=name)
    error = ConnectionError("redis://:hunter2@host refused, password='hunter2'")
    log.error(
        "connect postgresql://me:hunter2@host/db",
        password="hunter2",
        pin=2222,
        url="https://me:hunter2@host",
        nested={"headers": [{"Authorization": "hunter2"}], b"token": "hunter2"},
        error=error,
        frame=b"api_key=hunter2",
        exc_info=error,
    )
    assert "hunter2" not in records[0]
    assert "2222" not in records[0]
    assert "***" in records[0]


def test_an_absent_secret_is_seen_to_be_absent(configure: Callable[..., None], records: list[str]) -> None:
    configure(format="json")
    log.info("x", password=None, token=False)
    assert json.loads(records[0]) | {"password": None, "token": False} == json.loads(records[0])
