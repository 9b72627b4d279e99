"""Binance's REST answers become records, exactly."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.binance.mapper import (
    BinanceHttp,
    parse_candles,
    parse_listings,
    parse_time,
    parse_trades,
)
from fullon_exchange.errors import ExchangeUnavailable, MalformedMessage, RateLimited, UnknownSymbol
from fullon_exchange.records import Trade

ROW = '{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}'


def parse(body: bytes):  # type: ignore[no-untyped-def]
    return parse_trades(body, "A/B", first_id=0, start_us=0, cursor=0)


def test_an_aggregate_keeps_every_field_and_the_maker_flag_names_the_takers_side() -> None:
    answer = parse(f"[{ROW}]".encode())
    assert answer.rows == [Trade("A/B", 1498793709153000, 0.01633102, 4.70443515, "sell", "26129")]
    assert answer.following == 26130
    assert parse(f"[{ROW.replace('true,', 'false,', 1)}]".encode()).rows[0].side == "buy"


@pytest.mark.parametrize(
    "change",
    [
        ('"0.01633102"', '"NaN"'), ('"0.01633102"', '"inf"'), ('"0.01633102"', "null"), ('"4.70443515"', '"-1"'),
        ("1498793709153", "1498793709"), ("1498793709153", "14987937091530000"), ("26129", "-1"), ("true", '"x"'),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_its_neighbours_kept(change: tuple[str, str]) -> None:
    answer = parse(f"[{ROW},{ROW.replace(*change)},{ROW.replace('26129', '26130')}]".encode())
    assert [row.trade_id for row in answer.rows] == ["26129", "26130"]
    assert [index for index, _ in answer.unreadable] == [1]


def test_an_answer_that_begins_before_what_was_asked_shows_that_it_was_ignored() -> None:
    body = f"[{ROW}]".encode()
    assert not parse_trades(body, "A/B", first_id=26130, start_us=0, cursor=26130).honoured
    assert not parse_trades(body, "A/B", first_id=None, start_us=1498793709154000, cursor=-1).honoured
    assert parse_trades(body, "A/B", first_id=None, start_us=1498793709153000, cursor=-1).honoured


@given(body=st.binary() | st.from_regex(rb"\[[\[\]\",0-9a-z.:{}TpqM]*\]"))
@pytest.mark.parametrize("read", [parse_time, parse_listings, parse, lambda body: parse_candles(body, "A/B", "1m")])
def test_any_bytes_raise_nothing_but_malformed(read: Callable[[bytes], object], body: bytes) -> None:
    with suppress(MalformedMessage):
        read(body)


@given(body=st.binary())
def test_any_error_body_is_read_without_raising(body: bytes) -> None:
    BinanceHttp().refusal(400, body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"code":-1121,"msg":"Invalid symbol."}', UnknownSymbol),
        (b'{"code":-1003,"msg":"Too many requests."}', RateLimited),
        (b'{"code":-1001,"msg":"Internal error."}', ExchangeUnavailable),
    ],
)
def test_an_error_object_becomes_the_right_error(body: bytes, error: type[Exception]) -> None:
    assert type(BinanceHttp().refusal(400, body)) is error


def test_a_kline_keeps_its_open_time_volume_and_number_of_trades() -> None:
    row = '[1499040000000,"0.5","0.8","0.4","0.6","148976.1",1499040059999,"2434.1",308,"1","2","0"]'
    (candle,) = parse_candles(f"[{row}]".encode(), "A/B", "1m").rows
    assert (candle.timestamp_us, candle.open, candle.high, candle.low, candle.close) == (
        1499040000000000, 0.5, 0.8, 0.4, 0.6,
    )  # fmt: skip
    assert (candle.volume, candle.trades) == (148976.1, 308)


def test_rows_of_nothing_are_named_not_delivered() -> None:
    answer = parse_candles(b'[null,[null,null],"<html>"]', "A/B", "1m")
    assert answer.rows == []
    assert len(answer.unreadable) == 3
