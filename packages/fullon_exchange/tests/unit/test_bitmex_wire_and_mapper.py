"""BitMEX's REST answers and frames become records, exactly; what cannot be read is named, its neighbours kept."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_exchange.bitmex import mapper
from fullon_exchange.bitmex.mapper import TIMEFRAMES, cursor_of
from fullon_exchange.bitmex.wire import BitmexWire
from fullon_exchange.errors import MalformedMessage, RequestRefused, UnknownSymbol
from fullon_exchange.records import Candle, Trade
from fullon_exchange.wire import Acknowledged, CandlesFrame, Heartbeat, Message, Pong, Refused, TradesFrame

MINUTE = TIMEFRAMES["1m"]
LATEST_US = 1_800_000_000_000_000
SYMBOL = "BTC/USD:BTC"
END_US = 1_626_739_260_000_000
"""2021-07-20 00:01 UTC."""

BUCKET = {
    "timestamp": "2021-07-20T00:01:00.000Z", "symbol": "XBTUSD", "open": 30816.5, "high": 30811.0, "low": 30802.5,
    "close": 30810, "trades": 158, "volume": 1047300, "vwap": 30811.5136, "lastSize": 100, "turnover": 3399055368,
    "homeNotional": 33.99, "foreignNotional": 1047300,
}  # fmt: skip
TRADE = {
    "timestamp": "2021-04-05T18:41:01.899Z", "symbol": "XBTUSD", "side": "Buy", "size": 100, "price": 67701,
    "tickDirection": "ZeroPlusTick", "trdMatchID": "673ce60a-3736-b4d9-c70b-f9901427ef00", "grossValue": 1477,
    "homeNotional": 0.00001477, "foreignNotional": 1,
}  # fmt: skip
TRADE_MS = 1_617_648_061_899


def trade(number: int, time_ms: int = TRADE_MS) -> dict[str, Any]:
    seconds, millis = divmod(time_ms - TRADE_MS + 1_899, 1000)
    return {**TRADE, "timestamp": f"2021-04-05T18:41:{seconds:02}.{millis:03}Z", "trdMatchID": str(number)}


def trades(rows: list[dict[str, Any]], cursor: int = cursor_of(TRADE_MS)) -> Any:
    return mapper.parse_trades(json.dumps(rows).encode(), SYMBOL, cursor)


def candles(*rows: dict[str, Any]) -> Any:
    return mapper.parse_candles(json.dumps(rows).encode(), SYMBOL, MINUTE)


# --- REST -------------------------------------------------------------------------------------------------------


def test_a_bucket_is_stamped_with_its_end_and_becomes_a_candle_stamped_with_its_open_time() -> None:
    (candle,) = candles(BUCKET).rows
    assert candle == Candle(
        SYMBOL, "1m", END_US - 60_000_000, 30816.5, 30811.0, 30802.5, 30810.0, 1047300.0, 158, closed=True
    )  # fmt: skip
    assert candle.open > candle.high, "the open is the close before and may lie outside"


def test_a_bucket_of_a_day_opens_a_day_before_its_end() -> None:
    row = {**BUCKET, "timestamp": "2021-07-20T00:00:00.000Z"}
    (candle,) = mapper.parse_candles(json.dumps([row]).encode(), SYMBOL, TIMEFRAMES["1d"]).rows
    assert candle.timestamp_us == END_US - 60_000_000 - 86_400_000_000


def test_a_bucket_without_prices_in_which_nothing_traded_is_quiet() -> None:
    nothing = {**BUCKET, "open": None, "high": None, "low": None, "close": None, "trades": 0, "volume": 0}
    answer = candles(nothing)
    assert (list(answer.rows), answer.quiet, answer.unreadable) == ([], [END_US - 60_000_000], [])
    answer = candles({**nothing, "trades": 3})
    assert (list(answer.rows), answer.quiet, len(answer.unreadable)) == ([], [], 1)


@pytest.mark.parametrize(
    "change",
    [
        {"high": -1}, {"close": "x"}, {"volume": None}, {"trades": -1}, {"timestamp": "2021-07-20T00:01:00.001Z"},
        {"timestamp": "1970-01-01T00:01:00.000Z"}, {"timestamp": "2021-07-20T00:01:00"}, {"timestamp": 1626739260},
        {"close": None},
    ],
)  # fmt: skip
def test_a_bad_bucket_is_named_and_its_neighbours_kept(change: dict[str, Any]) -> None:
    later = {**BUCKET, "timestamp": "2021-07-20T00:03:00.000Z"}
    answer = candles(BUCKET, {**BUCKET, **change}, later)
    assert [row.timestamp_us for row in answer.rows] == [END_US - 60_000_000, END_US + 60_000_000]
    assert len(answer.unreadable) == 1


def test_a_trade_keeps_every_field_and_counts_contracts() -> None:
    answer = trades([TRADE, {**TRADE, "side": "Sell"}])
    assert answer.rows[0] == Trade(
        SYMBOL, TRADE_MS * 1000, 67701.0, 100.0, "buy", "673ce60a-3736-b4d9-c70b-f9901427ef00", ""
    )  # fmt: skip
    assert answer.rows[1].side == "sell"


def test_the_next_page_begins_with_the_last_millisecond() -> None:
    answer = trades([trade(1), trade(2, TRADE_MS + 5), trade(3, TRADE_MS + 5)])
    assert answer.following == cursor_of(TRADE_MS + 5)
    assert not answer.full
    assert answer.honoured


def test_a_millisecond_that_fills_an_answer_is_counted_through() -> None:
    page = [trade(number) for number in range(1000)]
    first = trades(page)
    assert (first.full, first.following) == (True, cursor_of(TRADE_MS, 1000))
    second = trades(page, first.following)
    assert second.following == cursor_of(TRADE_MS, 2000)
    assert trades(page, cursor_of(TRADE_MS - 7, 3)).following == cursor_of(TRADE_MS, 1000)
    assert mapper.time_and_offset(second.following) == (TRADE_MS, 2000)


def test_an_answer_that_begins_before_what_was_asked_shows_that_it_was_ignored() -> None:
    assert not trades([TRADE], cursor_of(TRADE_MS + 1)).honoured


@pytest.mark.parametrize(
    "change",
    [{"price": 0}, {"price": None}, {"size": -1}, {"side": "x"}, {"trdMatchID": None}, {"trdMatchID": ""},
     {"timestamp": "yesterday"}, {"timestamp": "1999-01-01T00:00:00.000Z"}],
)  # fmt: skip
def test_a_bad_trade_is_named_with_its_place_and_its_neighbours_kept(change: dict[str, Any]) -> None:
    answer = trades([trade(1), {**TRADE, **change}, trade(2)])
    assert [row.trade_id for row in answer.rows] == ["1", "2"]
    assert [index for index, _ in answer.unreadable] == [1]


def test_the_newest_update_of_an_instrument_is_the_venues_time() -> None:
    rows = [{"timestamp": "2021-07-20T00:01:00.000Z"}, {"timestamp": "2021-07-20T00:01:05.000Z"}]
    assert mapper.parse_time(json.dumps(rows).encode()) == END_US + 5_000_000


def instrument(**fields: Any) -> dict[str, Any]:
    return {
        "symbol": "XBTUSD", "typ": "FFWCSX", "state": "Open", "underlying": "XBT", "quoteCurrency": "USD",
        "settlCurrency": "XBt", "rootSymbol": "XBT", "expiry": None, **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "symbol"),
    [
        ({}, "BTC/USD:BTC"),
        ({"symbol": "XBT_USDT", "typ": "IFXXXP", "quoteCurrency": "USDT", "settlCurrency": ""}, "BTC/USDT"),
        ({"symbol": "XBTUSDT", "quoteCurrency": "USDT", "settlCurrency": "USDt"}, "BTC/USDT:USDT"),
        ({"symbol": "XBTU21", "typ": "FFCCSX", "expiry": "2021-09-24T12:00:00.000Z"}, "BTC/USD:BTC-210924"),
        ({"symbol": "XBTUSD-XBTU26", "typ": "FFMCSX", "expiry": "2026-09-25T12:00:00.000Z"}, "BTC/USD:BTC-260925"),
        ({"symbol": "PFOO", "typ": "FFICSX", "rootSymbol": "FOO", "underlying": "KAMALA", "settlCurrency": "USDt",
          "expiry": "2026-09-25T12:00:00.000Z"}, "FOO/KAMALA:USDT-260925"),
        ({"symbol": "ETHUSD_G", "underlying": "ETH", "settlCurrency": "Gwei"}, "ETH/USD:ETH"),
        ({"symbol": ".BXBT", "typ": "MRCXXX", "state": "Unlisted", "settlCurrency": ""}, ".BXBT"),
        ({"symbol": "SPY", "typ": "FFSCSX", "underlying": "SPY", "settlCurrency": "USDt"}, "SPY/USD:USDT"),
    ],
)  # fmt: skip
def test_symbols_are_those_that_ccxt_4_5_83_made(fields: dict[str, Any], symbol: str) -> None:
    row = instrument(**fields)
    ((found, listing),) = mapper.parse_listings(json.dumps([row]).encode()).items()
    assert found == listing.symbol == symbol
    assert listing.wire == {"rest": row["symbol"], "ws": row["symbol"]}
    assert listing.active == (row["state"] == "Open")


@pytest.mark.parametrize(
    "read",
    [
        mapper.parse_time,
        mapper.parse_listings,
        lambda body: mapper.parse_trades(body, SYMBOL, 0),
        lambda body: mapper.parse_candles(body, SYMBOL, MINUTE),
    ],
)
@given(body=st.binary() | st.from_regex(rb"\[[\[\]\",0-9a-zTZ.:{}-]*\]"))
def test_any_bytes_raise_nothing_but_malformed(read: Callable[[bytes], object], body: bytes) -> None:
    with suppress(MalformedMessage):
        read(body)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"])
def test_the_ends_of_the_calendar_are_impossible_and_not_defects(moment: str) -> None:
    assert not trades([{**TRADE, "timestamp": moment}]).rows
    assert not candles({**BUCKET, "timestamp": moment}).rows
    body = json.dumps([instrument(typ="FFCCSX", expiry=moment)]).encode()
    with suppress(MalformedMessage):
        mapper.parse_listings(body)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error":{"message":"Unknown symbol","name":"HTTPError"}}', UnknownSymbol),
        (400, b'{"error":{"message":"binSize is invalid.","name":"HTTPError"}}', RequestRefused),
        (503, b'{"error":{"message":"The system is overloaded","name":"HTTPError"}}', type(None)),
        (200, b"[]", type(None)),
        (200, b'{"error":null}', type(None)),
    ],
)
def test_an_error_object_becomes_the_right_error(status: int, body: bytes, error: type) -> None:
    assert type(mapper.BitmexHttp().refusal(status, body)) is error


@given(status=st.integers(100, 599), body=st.binary())
def test_any_error_body_is_read_without_raising(status: int, body: bytes) -> None:
    mapper.BitmexHttp().refusal(status, body)


# --- WebSocket --------------------------------------------------------------------------------------------------


def wire() -> BitmexWire:
    one = BitmexWire()
    one.subscribe("trades", {"XBTUSD": SYMBOL, "ETHUSD": "ETH/USD:BTC"})
    one.subscribe("candles1m", {"XBTUSD": SYMBOL, "ETHUSD": "ETH/USD:BTC"})
    return one


def read(one: BitmexWire, message: Any) -> Message:
    return one.parse(json.dumps(message).encode(), LATEST_US)


def table(name: str, *rows: dict[str, Any], action: str = "insert") -> dict[str, Any]:
    return {"table": name, "action": action, "data": list(rows)}


def test_requests_are_spoken_as_documented() -> None:
    one = BitmexWire()
    assert json.loads(one.subscribe("trades", {"XBTUSD": SYMBOL, "ETHUSD": "ETH/USD:BTC"})) == {
        "op": "subscribe", "args": ["trade:XBTUSD", "trade:ETHUSD"],
    }  # fmt: skip
    assert json.loads(one.unsubscribe("candles5m", {"XBTUSD": SYMBOL})) == {
        "op": "unsubscribe", "args": ["tradeBin5m:XBTUSD"],
    }  # fmt: skip
    assert one.ping(1) == b"ping"


def test_trades_of_several_symbols_in_one_frame_are_told_apart() -> None:
    message = read(wire(), table("trade", TRADE, {**TRADE, "symbol": "ETHUSD", "side": "Sell"}))
    assert isinstance(message, TradesFrame)
    assert [(row.symbol, row.side) for row in message.records] == [(SYMBOL, "buy"), ("ETH/USD:BTC", "sell")]
    assert message.records[0].timestamp_us == TRADE_MS * 1000
    assert not message.snapshot


def test_partial_is_a_snapshot() -> None:
    message = read(wire(), table("trade", TRADE, action="partial"))
    assert isinstance(message, TradesFrame)
    assert message.snapshot
    assert message.records


@pytest.mark.parametrize("action", ["partial", "insert"])
def test_a_pushed_bucket_is_closed_and_stamped_with_its_open_time(action: str) -> None:
    message = read(wire(), table("tradeBin1m", BUCKET, action=action))
    assert isinstance(message, CandlesFrame)
    (candle,) = message.records
    assert (candle.timestamp_us, candle.closed, candle.trades) == (END_US - 60_000_000, True, 158)


def test_a_pushed_bucket_without_prices_is_nothing_where_nothing_traded_and_a_fault_elsewhere() -> None:
    nothing = {**BUCKET, "open": None, "high": None, "low": None, "close": None, "trades": 0, "volume": 0}
    assert read(wire(), table("tradeBin1m", nothing)) == CandlesFrame([], [])
    message = read(wire(), table("tradeBin1m", {**nothing, "trades": 1}))
    assert isinstance(message, CandlesFrame)
    assert [fault.kind for fault in message.faults] == ["row"]


def test_a_pong_answers_the_oldest_ping_and_is_a_heartbeat_where_none_is_open() -> None:
    one = wire()
    one.ping(7)
    one.ping(8)
    assert [one.parse(b"pong", LATEST_US) for _ in range(3)] == [Pong(7), Pong(8), Heartbeat()]


def test_the_welcome_is_a_heartbeat() -> None:
    welcome = {"info": "Welcome to the BitMEX Realtime API.", "version": "2021", "limit": {"remaining": 39}}
    assert read(wire(), welcome) == Heartbeat()


def test_each_topic_is_acknowledged_by_itself() -> None:
    one = wire()
    request = {"op": "subscribe", "args": ["trade:XBTUSD", "tradeBin1m:ETHUSD"]}
    answer = {"success": True, "subscribe": "tradeBin1m:ETHUSD", "request": request}
    assert read(one, answer) == Acknowledged([("candles1m", "ETH/USD:BTC")], subscribed=True)
    answer = {"success": True, "unsubscribe": "trade:XBTUSD", "request": request}
    assert read(one, answer) == Acknowledged([("trades", SYMBOL)], subscribed=False)


def refusal(error: str, *args: str, status: int = 400, op: str = "subscribe") -> dict[str, Any]:
    return {"status": status, "error": error, "meta": {}, "request": {"op": op, "args": list(args)}}


def test_a_refusal_is_of_the_topic_it_names_or_of_the_whole_request() -> None:
    both = ("trade:XBTUSD", "trade:ETHUSD")
    error = "Unknown or expired symbol: ETHUSD"
    assert read(wire(), refusal(error, *both)) == Refused([("trades", "ETH/USD:BTC")], error, final=True)
    error = "Something else is wrong"
    assert read(wire(), refusal(error, *both)) == Refused(
        [("trades", SYMBOL), ("trades", "ETH/USD:BTC")], error, final=True
    )  # fmt: skip
    with pytest.raises(MalformedMessage) as raised:
        read(wire(), refusal("   ", "quote:XBTUSD"))
    assert raised.value.kind == "unknown"


def test_a_refusal_of_our_pace_passes_and_already_subscribed_is_subscribed() -> None:
    refused = read(wire(), refusal("Rate limit exceeded, retry in 1 seconds.", "trade:XBTUSD", status=429))
    assert isinstance(refused, Refused)
    assert not refused.final
    already = refusal("You are already subscribed to this topic: trade:XBTUSD", "trade:XBTUSD", "trade:ETHUSD")
    assert read(wire(), already) == Acknowledged([("trades", SYMBOL)], subscribed=True)
    gone = refusal("You are not subscribed to this topic: trade:XBTUSD", "trade:XBTUSD", op="unsubscribe")
    assert read(wire(), gone) == Acknowledged([("trades", SYMBOL)], subscribed=False)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"price": None}, "row"), ({"price": -1}, "row"), ({"side": "?"}, "row"), ({"timestamp": 7}, "row"),
        ({"timestamp": "1970-01-01T00:00:00.000Z"}, "time"), ({"timestamp": "2050-01-01T00:00:00.000Z"}, "time"),
        ({"timestamp": "0001-01-01T00:00:00Z"}, "time"), ({"symbol": "DOGEUSD"}, "unsubscribed"),
    ],
)  # fmt: skip
def test_a_bad_row_is_a_fault_and_its_neighbours_are_kept(change: dict[str, Any], kind: str) -> None:
    message = read(wire(), table("trade", trade(1), {**TRADE, **change}, trade(2)))
    assert isinstance(message, TradesFrame)
    assert [row.trade_id for row in message.records] == ["1", "2"]
    assert [fault.kind for fault in message.faults] == [kind]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"", "garbage"), (b"\xff", "garbage"), (b'{"table":"trade","action":"insert","data":[', "garbage"),
        (b"[]", "unknown"), (b"{}", "unknown"), (b'{"table":"quote","action":"insert","data":[]}', "unknown"),
        (b'{"table":"trade","action":"delete","data":[]}', "row"), (b'{"table":"trade","data":7}', "row"),
        (b'{"success":true,"subscribe":"quote:XBTUSD"}', "unknown"), (b'{"error":"Rate limit exceeded"}', "unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_counted_under_its_kind(frame: bytes, kind: str) -> None:
    with pytest.raises(MalformedMessage) as raised:
        wire().parse(frame, LATEST_US)
    assert raised.value.kind == kind


WORDS = ["trade", "tradeBin1m", "insert", "partial", "XBTUSD", "trade:XBTUSD", "0001-01-01T00:00:00Z", "subscribe"]
FIELDS = [*TRADE, *BUCKET, "table", "action", "data", "error", "request", "args", "success", "subscribe", "status"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS), inner),
    max_leaves=12,
)


@settings(max_examples=60)
@given(frame=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_frame_raises_nothing_but_malformed(frame: bytes) -> None:
    with suppress(MalformedMessage):
        wire().parse(frame, LATEST_US)


@settings(max_examples=60)
@given(
    name=st.sampled_from(["trade", "tradeBin1m", "tradeBin1d", "quote"]),
    action=st.sampled_from(["partial", "insert", "update"]),
    rows=st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda change: {**TRADE, **BUCKET, **change})),
)
def test_any_table_raises_nothing_but_malformed(name: str, action: str, rows: list[dict[str, Any]]) -> None:
    with suppress(MalformedMessage):
        read(wire(), table(name, *rows, action=action))
