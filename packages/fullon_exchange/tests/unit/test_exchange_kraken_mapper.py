"""Kraken's REST answers become records, exactly."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_exchange.errors import (
    ExchangeUnavailable,
    MalformedMessage,
    RateLimited,
    RequestRefused,
    UnknownSymbol,
)
from fullon_exchange.kraken.mapper import KrakenHttp, parse_candles, parse_listings, parse_time, parse_trades
from fullon_exchange.kraken.symbols import unified_asset, websocket_name
from fullon_exchange.records import Trade

ROW = '["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208]'


def trades_body(*rows: str, last: str = "1762795433971744500") -> bytes:
    return f'{{"error":[],"result":{{"XBTUSDT":[{",".join(rows)}],"last":"{last}"}}}}'.encode()


def test_a_trade_keeps_every_field_and_its_time_is_cut_to_microseconds() -> None:
    answer = parse_trades(trades_body(ROW), "BTC/USDT", 0)
    assert answer.rows == [Trade("BTC/USDT", 1762795433971744, 105433.6, 0.00027625, "buy", "10218208", "limit")]
    assert answer.following == 1762795433971744499
    assert answer.honoured
    assert not answer.full


def test_a_trade_at_the_end_of_a_minute_is_not_rounded_into_the_next() -> None:
    row = '["1","1",1762795439.9999999,"s","m","",7]'
    (trade,) = parse_trades(trades_body(row), "BTC/USDT", 0).rows
    assert trade.timestamp_us == 1762795439999999


@pytest.mark.parametrize(
    "bad",
    [
        '["NaN","1",1762795433.9,"b","l","",1]',
        '["-1","1",1762795433.9,"b","l","",1]',
        '["1","-1",1762795433.9,"b","l","",1]',
        '["1","1",0.5,"b","l","",1]',
        '["1","1",1762795433971,"b","l","",1]',
        '["1","1",1e999999,"b","l","",1]',
        '["1","1",1762795433.9,"x","l","",1]',
        '["1","1",1762795433.9,"b","l","",null]',
        '["1","1"]',
        "null",
        '{"price":1}',
        '["1e400","1",1762795433.9,"b","l","",1]',
    ],
)
def test_a_bad_row_is_named_and_its_neighbours_kept(bad: str) -> None:
    answer = parse_trades(trades_body(ROW, bad, ROW.replace("208]", "209]")), "BTC/USDT", 0)
    assert [row.trade_id for row in answer.rows] == ["10218208", "10218209"]
    assert [index for index, _ in answer.unreadable] == [1]


def test_an_answer_that_begins_before_the_cursor_shows_that_it_was_ignored() -> None:
    assert not parse_trades(trades_body(ROW), "BTC/USDT", 1762795434 * 10**9).honoured
    assert parse_trades(trades_body(ROW), "BTC/USDT", 1762795433971744499).honoured


def test_an_empty_answer_stays_at_its_cursor() -> None:
    answer = parse_trades(b'{"error":[],"result":{"XBTUSDT":[],"last":"17"}}', "BTC/USDT", 12345)
    assert (answer.rows, answer.following) == ([], 12345)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":[],"result":{"XBTUSDT":[]}}',
        b'{"error":[],"result":{"last":"1"}}',
        b'{"error":[],"result":{"A":[],"B":[],"last":"1"}}',
        b'{"error":[],"result":[]}',
        b'{"error":[]}',
        b"[]",
        b'{"error":[],"result":{"A":[],"last":"12.5"}}',
        b'{"error":[],"result":{"A":[],"last":[]}}',
    ],
)
def test_an_answer_of_another_shape_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_trades(body, "BTC/USDT", 0)


@given(body=st.binary() | st.from_regex(rb'\{"error":\[\],"result":\{"X":\[[\[\]",0-9a-z.:{}]*\],"last":"[0-9]*"\}\}'))
@pytest.mark.parametrize(
    "parse",
    [
        parse_time,
        parse_listings,
        lambda body: parse_trades(body, "A/B", 0),
        lambda body: parse_candles(body, "A/B", "1m"),
    ],
)
def test_any_bytes_raise_nothing_but_malformed(parse: Callable[[bytes], object], body: bytes) -> None:
    with suppress(MalformedMessage):
        parse(body)


@given(body=st.binary())
def test_any_error_body_is_read_without_raising(body: bytes) -> None:
    KrakenHttp().refusal(200, body)


@given(
    st.lists(
        st.tuples(
            st.integers(1_500_000_000_000_000, 4_000_000_000_000_000),
            st.integers(1, 10**9),
            st.sampled_from("bs"),
            st.sampled_from("ml"),
        ),
        max_size=5,
    )
)
def test_rendered_rows_come_back(rows: list[tuple[int, int, str, str]]) -> None:
    rendered = [
        f'["{price / 1000}","{price / 7:.8f}",{time_us // 10**6}.{time_us % 10**6:06d}9,"{side}","{kind}","",{number}]'
        for number, (time_us, price, side, kind) in enumerate(rows)
    ]
    answer = parse_trades(trades_body(*rendered), "A/B", 0)
    assert [(row.timestamp_us, row.price, row.side[0], row.order_type[0]) for row in answer.rows] == [
        (time_us, price / 1000, side, kind) for time_us, price, side, kind in rows
    ]


def test_candles_keep_flat_rows_and_the_running_one() -> None:
    body = (
        b'{"error":[],"result":{"XBTUSDT":[[1762777020,"1.2","1.2","1.2","1.2","0.0","0.00000000",0],'
        b'[1762777080,"1","3","0.5","2","1.5","12.5",7]],"last":1762777020}}'
    )
    flat, traded = parse_candles(body, "BTC/USDT", "1m").rows
    assert (flat.volume, flat.trades) == (0, 0)
    assert (traded.timestamp_us, traded.open, traded.high, traded.low, traded.close) == (
        1762777080000000, 1, 3, 0.5, 2,
    )  # fmt: skip
    assert (traded.volume, traded.trades, traded.timeframe) == (12.5, 7, "1m")


def test_a_candle_that_cannot_be_read_is_named_and_its_neighbours_kept() -> None:
    good = '[1762777020,"1","1","1","1","0.0","0",0]'
    body = f'{{"error":[],"result":{{"X":[{good},[null],{good.replace("020", "080")}],"last":1}}}}'
    answer = parse_candles(body.encode(), "A/B", "1m")
    assert len(answer.rows) == 2
    assert answer.unreadable == ["[null]"]


@pytest.mark.parametrize(
    ("sentence", "error"),
    [
        ("EGeneral:Too many requests", RateLimited),
        ("EAPI:Rate limit exceeded", RateLimited),
        ("EService:Unavailable", ExchangeUnavailable),
        ("EService:Busy", ExchangeUnavailable),
        ("EGeneral:Internal error", ExchangeUnavailable),
        ("EQuery:Unknown asset pair", UnknownSymbol),
        ("EGeneral:Invalid arguments:since", RequestRefused),
    ],
)
def test_an_error_in_the_body_becomes_the_right_error(sentence: str, error: type[Exception]) -> None:
    refusal = KrakenHttp().refusal(200, json.dumps({"error": [sentence]}).encode())
    assert type(refusal) is error
    assert sentence in str(refusal)


def test_a_body_without_errors_is_no_refusal() -> None:
    assert KrakenHttp().refusal(200, b'{"error":[],"result":{}}') is None
    assert KrakenHttp().refusal(200, b"[1]") is None


@pytest.mark.parametrize(
    ("asset", "altname", "unified"),
    [
        ("XXBT", "XBT", "BTC"), ("XXDG", "XDG", "DOGE"), ("LUNA", "LUNA", "LUNC"), ("LUNA2", "LUNA2", "LUNA"),
        ("UST", "UST", "USTC"), ("XREP", "REP", "REPV1"), ("REPV2", "REPV2", "REP"), ("ZUSD", "USD", "USD"),
        ("XETH", "ETH", "ETH"), ("XTZ", "XTZ", "XTZ"), ("ADA", "ADA", "ADA"),
    ],
)  # fmt: skip
def test_assets_have_one_identity_however_kraken_spells_them(asset: str, altname: str, unified: str) -> None:
    assert unified_asset(asset, altname) == unified


def test_the_websocket_spells_only_bitcoin_and_dogecoin_anew() -> None:
    assert websocket_name("XBT/USD") == "BTC/USD"
    assert websocket_name("XDG/XBT") == "DOGE/BTC"
    assert websocket_name("LUNA/USD") == "LUNA/USD"


def test_a_renamed_market_is_asked_for_by_the_venues_own_names() -> None:
    renamed = {"altname": "LUNAUSD", "wsname": "LUNA/USD", "base": "LUNA", "quote": "ZUSD", "status": "cancel_only"}
    dark = {"altname": "ETHUSD.d", "base": "XETH", "quote": "ZUSD"}
    body = {"error": [], "result": {"LUNAUSD": renamed, "XETHZUSD.d": dark}}
    (listing,) = parse_listings(json.dumps(body).encode()).values()
    assert listing.symbol == "LUNC/USD"
    assert listing.wire == {"rest": "LUNAUSD", "ws": "LUNA/USD"}
    assert not listing.active
