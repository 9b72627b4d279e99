"""Hyperliquid's REST answers and frames become records, exactly; what cannot be read is named, its neighbours kept."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_exchange.errors import MalformedMessage, NotSupported
from fullon_exchange.hyperliquid import mapper
from fullon_exchange.hyperliquid.rest import Hyperliquid
from fullon_exchange.hyperliquid.wire import HyperliquidWire
from fullon_exchange.interface import Listing
from fullon_exchange.records import Candle, Trade
from fullon_exchange.timeframes import DAY_US, parse_timeframe
from fullon_exchange.wire import Acknowledged, CandlesFrame, Heartbeat, Message, Pong, Refused, TradesFrame

MINUTE = parse_timeframe("1m")
MINUTE_MS = 60_000
OPEN_MS = 1_753_315_200_000
LATEST_US = 1_800_000_000_000_000

CANDLE = {
    "t": OPEN_MS, "T": OPEN_MS + 59_999, "s": "BTC", "i": "1m", "o": "290.64", "c": "290.18", "h": "290.7",
    "l": "290.1", "v": "69.61", "n": 12,
}  # fmt: skip
TRADE = {
    "coin": "BTC", "side": "A", "px": "68517.0", "sz": "0.005", "time": 1_710_125_266_669, "hash": "0xc8",
    "tid": 981_894_269_203_506, "users": ["0x1", "0x2"],
}  # fmt: skip


def candles(*rows: dict[str, Any]) -> Any:
    return mapper.parse_candles(json.dumps(rows).encode(), "BTC/USDC:USDC", MINUTE)


def at(minutes: int, **changes: Any) -> dict[str, Any]:
    return {**CANDLE, "t": OPEN_MS + minutes * MINUTE_MS, **changes}


# --- REST -------------------------------------------------------------------------------------------------------


def test_a_candle_keeps_its_open_time_volume_and_number_of_trades() -> None:
    (candle,) = candles(CANDLE).rows
    assert candle == Candle(
        "BTC/USDC:USDC", "1m", OPEN_MS * 1000, 290.64, 290.7, 290.1, 290.18, 69.61, 12, closed=True
    )  # fmt: skip


def test_a_quiet_minute_is_a_flat_row() -> None:
    flat = at(0, o="1", h="1", l="1", c="1", v="0.0", n=0)
    (candle,) = candles(flat).rows
    assert (candle.volume, candle.trades, candle.open) == (0.0, 0, 1.0)


def test_a_minute_absent_between_two_others_is_quiet_and_those_around_them_are_unknown() -> None:
    answer = candles(at(0), at(1), at(4))
    assert answer.quiet == [(OPEN_MS + minutes * MINUTE_MS) * 1000 for minutes in (2, 3)]
    assert candles(at(0), at(1)).quiet == []
    assert candles().quiet == []


def test_nothing_is_taken_for_quiet_where_a_row_cannot_be_read() -> None:
    answer = candles(at(0), at(1, o="NaN"), at(2))
    assert [row.timestamp_us for row in answer.rows] == [OPEN_MS * 1000, (OPEN_MS + 2 * MINUTE_MS) * 1000]
    assert len(answer.unreadable) == 1
    assert answer.quiet == []


@pytest.mark.parametrize(
    "change",
    [{"o": "NaN"}, {"h": "inf"}, {"l": None}, {"c": "0"}, {"v": "-1"}, {"n": -1}, {"t": 1_753_315_200}, {"i": "5m"}],
)
def test_a_bad_candle_is_named_and_its_neighbours_kept(change: dict[str, Any]) -> None:
    answer = candles(at(0), at(1, **change), at(2))
    assert [row.timestamp_us for row in answer.rows] == [OPEN_MS * 1000, (OPEN_MS + 2 * MINUTE_MS) * 1000]
    assert len(answer.unreadable) == 1


def test_a_month_is_thirty_days_and_a_week_begins_on_thursday() -> None:
    venue = Hyperliquid()
    assert venue.timeframe("1M").next_us(0) == 30 * DAY_US
    assert venue.timeframe("1w").floor_us(10 * DAY_US) == 7 * DAY_US
    assert all(venue.timeframe(name).step_us for name in venue.traits.timeframes)


def test_there_is_no_trade_history() -> None:
    venue = Hyperliquid()
    assert not venue.traits.trade_history
    with pytest.raises(NotSupported, match="no public trade history"):
        venue.trades(None, Listing("A/B", "A", "B", True, {}), None)  # type: ignore[arg-type]


def test_the_venues_time_is_read_as_number_or_text() -> None:
    assert mapper.parse_time(b'{"time":1764617438643,"specialStatuses":null}') == 1_764_617_438_643_000
    assert mapper.parse_time(b'{"time":"1764617438643"}') == 1_764_617_438_643_000


@pytest.mark.parametrize(
    "read",
    [
        mapper.parse_time,
        mapper.parse_meta,
        mapper.parse_spot_meta,
        mapper.parse_dexes,
        lambda body: mapper.parse_candles(body, "A/B", MINUTE),
    ],
)
@given(body=st.binary() | st.from_regex(rb"\[[\[\]\",0-9a-z.:{}tosichlvn]*\]"))
def test_any_bytes_raise_nothing_but_malformed(read: Callable[[bytes], object], body: bytes) -> None:
    with suppress(MalformedMessage):
        read(body)


# --- listings ---------------------------------------------------------------------------------------------------

TOKENS = [
    ("USDC", None), ("PURR", None), ("UBTC", "Unit Bitcoin"), ("UETH", "Unit Ethereum"), ("USDT0", None),
    ("HPENGU", None), ("kX", None), ("feUSD", "Felix USD"), ("UPUMP", "Unit Pump Fun"), ("USOL", None), ("XBT", None),
]  # fmt: skip
SPOT = {
    "tokens": [
        {"name": name, "index": index, "fullName": full, "szDecimals": 2, "weiDecimals": 8}
        for index, (name, full) in enumerate(TOKENS)
    ],
    "universe": [
        {"name": "PURR/USDC" if base == 1 else f"@{base}", "tokens": [base, 0], "index": base - 1}
        for base in range(1, len(TOKENS) - 1)
    ]
    + [{"name": "@99", "tokens": [2, 4], "index": 99}, {"name": "@100", "tokens": [77, 0], "index": 100}],
}
META = {
    "universe": [
        {"name": "BTC", "szDecimals": 5, "maxLeverage": 40},
        {"name": "kPEPE", "szDecimals": 0, "isDelisted": None, "maxLeverage": 10},
        {"name": "MATIC", "szDecimals": 1, "isDelisted": True, "maxLeverage": 3},
    ],
    "collateralToken": 0,
}
BUILT = [
    {"universe": [{"name": "xyz:TSLA", "szDecimals": 3, "maxLeverage": 5}], "collateralToken": 0},
    {"universe": [{"name": "abc:xAu", "szDecimals": 3, "maxLeverage": 5}], "collateralToken": 4},
]


def listings() -> dict[str, Listing]:
    parse = mapper.parse_meta
    built = [parse(json.dumps(meta).encode()) for meta in BUILT]
    return mapper.listings(mapper.parse_spot_meta(json.dumps(SPOT).encode()), parse(json.dumps(META).encode()), built)


def test_markets_are_listed_with_the_names_of_both_sides() -> None:
    found = listings()
    names = {symbol: (listing.wire["ws"], listing.base, listing.quote) for symbol, listing in found.items()}
    assert names["BTC/USDC:USDC"] == ("BTC", "BTC", "USDC")
    assert names["KPEPE/USDC:USDC"] == ("kPEPE", "KPEPE", "USDC")
    assert names["PURR/USDC"] == ("PURR/USDC", "PURR", "USDC")
    assert names["BTC/USDC"] == ("@2", "BTC", "USDC")
    assert names["BTC/USDT"] == ("@99", "BTC", "USDT")
    assert names["XYZ-TSLA/USDC:USDC"] == ("xyz:TSLA", "XYZ-TSLA", "USDC")
    assert [symbol for symbol, listing in found.items() if not listing.active] == ["MATIC/USDC:USDC"]


def test_spot_tokens_are_found_by_their_index_and_a_name_stays_with_its_first_market() -> None:
    """A token that has left the list shifts no other, and a second token of a name takes no market over."""
    tokens = [("USDC", 0), ("PURR", 1), ("AAA", 2), ("CCC", 4), ("DDD", 5), ("AAA", 9)]
    spot = {
        "tokens": [{"name": name, "index": index, "szDecimals": 2, "weiDecimals": 8} for name, index in tokens],
        "universe": [{"name": f"@{index}", "tokens": [index, 0], "index": index} for index in (2, 3, 4, 5, 9)],
    }
    none = mapper.parse_meta(b'{"universe":[]}')
    found = mapper.listings(mapper.parse_spot_meta(json.dumps(spot).encode()), none, [])
    assert {symbol: listing.wire["rest"] for symbol, listing in found.items()} == {
        "AAA/USDC": "@2",
        "CCC/USDC": "@4",
        "DDD/USDC": "@5",
        "AAA/USDC#@9": "@9",
    }


def test_symbols_are_those_of_unmodified_ccxt() -> None:
    ccxt = pytest.importorskip("ccxt")
    dexes = [None, {"name": "xyz"}, {"name": "abc"}]

    def answer(question: dict[str, Any], *_: object) -> Any:
        if question["type"] == "metaAndAssetCtxs":
            meta = BUILT[["xyz", "abc"].index(question["dex"])] if "dex" in question else META
            return [meta, [{}] * len(meta["universe"])]  # type: ignore[arg-type]
        return {"spotMeta": SPOT, "spotMetaAndAssetCtxs": [SPOT, [{}] * 101], "perpDexs": dexes}[question["type"]]

    theirs = ccxt.hyperliquid()
    theirs.publicPostInfo = answer
    markets = theirs.load_markets()
    assert {
        symbol: (market["id"] if market["spot"] else market["baseName"], market["base"], market["quote"])
        for symbol, market in markets.items()
    } == {symbol: (listing.wire["rest"], listing.base, listing.quote) for symbol, listing in listings().items()}
    assert {symbol for symbol, market in markets.items() if not market["active"]} == {"MATIC/USDC:USDC"}


@pytest.mark.parametrize(("value", "sockets", "streams"), [("", 10, 100), ("100", 100, 10), ("1", 1, 1000)])
def test_streams_are_spread_over_as_many_sockets_as_the_operator_says(
    monkeypatch: pytest.MonkeyPatch, value: str, sockets: int, streams: int
) -> None:
    monkeypatch.setenv("FULLON_HYPERLIQUID_CONNECTIONS_MAX", value)
    limits = Hyperliquid().sockets
    assert (limits.sockets_max, limits.streams_max) == (sockets, streams)
    assert limits.messages_per_s * sockets <= 2000 / 60


@pytest.mark.parametrize("value", ["0", "101", "-1", "ten", "1.5", "٣"])
def test_a_number_of_sockets_that_cannot_be_meant_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FULLON_HYPERLIQUID_CONNECTIONS_MAX", value)
    with pytest.raises(ValueError, match="whole number from 1 to 100"):
        Hyperliquid()


# --- WebSocket --------------------------------------------------------------------------------------------------


def wire() -> HyperliquidWire:
    one = HyperliquidWire()
    one.subscribe("trades", {"BTC": "BTC/USDC:USDC"})
    one.subscribe("trades", {"@2": "BTC/USDC"})
    one.subscribe("candles1m", {"BTC": "BTC/USDC:USDC"})
    return one


def read(one: HyperliquidWire, message: Any) -> Message:
    return one.parse(json.dumps(message).encode(), LATEST_US)


def trades_of(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"channel": "trades", "data": list(rows)}


def test_requests_are_spoken_as_documented() -> None:
    one = HyperliquidWire()
    assert json.loads(one.subscribe("trades", {"BTC": "BTC/USDC:USDC"})) == {
        "method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"},
    }  # fmt: skip
    assert json.loads(one.unsubscribe("candles5m", {"@2": "BTC/USDC"})) == {
        "method": "unsubscribe", "subscription": {"type": "candle", "coin": "@2", "interval": "5m"},
    }  # fmt: skip
    assert json.loads(one.ping(1) or b"") == {"method": "ping"}


def test_a_trade_keeps_every_field_and_its_side_is_the_takers() -> None:
    message = read(wire(), trades_of(TRADE, {**TRADE, "side": "B", "tid": 1}))
    assert isinstance(message, TradesFrame)
    first, second = message.records
    assert first == Trade(
        "BTC/USDC:USDC", 1_710_125_266_669_000, 68517.0, 0.005, "sell", "981894269203506", ""
    )  # fmt: skip
    assert (second.side, second.trade_id) == ("buy", "1")


def test_the_first_trades_of_a_market_are_a_snapshot_and_the_next_ones_are_not() -> None:
    one = wire()
    spot = {**TRADE, "coin": "@2"}
    frames = [read(one, trades_of(row)) for row in (TRADE, TRADE, spot, spot)]
    assert [isinstance(frame, TradesFrame) and frame.snapshot for frame in frames] == [True, False, True, False]
    one.forget("trades", {"BTC": "BTC/USDC:USDC"})
    one.subscribe("trades", {"BTC": "BTC/USDC:USDC"})
    again = read(one, trades_of(TRADE))
    assert isinstance(again, TradesFrame)
    assert again.snapshot


def test_a_candle_is_never_closed() -> None:
    message = read(wire(), {"channel": "candle", "data": CANDLE})
    assert isinstance(message, CandlesFrame)
    (candle,) = message.records
    assert (candle.symbol, candle.timestamp_us, candle.trades, candle.closed) == (
        "BTC/USDC:USDC", OPEN_MS * 1000, 12, False,
    )  # fmt: skip


def test_a_pong_answers_the_oldest_ping_and_is_a_heartbeat_where_none_is_open() -> None:
    one = wire()
    one.ping(7)
    one.ping(8)
    assert [read(one, {"channel": "pong"}) for _ in range(3)] == [Pong(7), Pong(8), Heartbeat()]


def test_acknowledgements_name_their_subscription() -> None:
    one = wire()
    for method in ("subscribe", "unsubscribe"):
        for subscription, key in (
            ({"type": "trades", "coin": "@2"}, ("trades", "BTC/USDC")),
            ({"type": "candle", "coin": "BTC", "interval": "1m"}, ("candles1m", "BTC/USDC:USDC")),
        ):
            data = {"method": method, "subscription": subscription}
            answer = read(one, {"channel": "subscriptionResponse", "data": data})
            assert answer == Acknowledged([key], method == "subscribe")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ('Already subscribed: {"type":"candle","interval":"1m","coin":"BTC"}',
         Acknowledged([("candles1m", "BTC/USDC:USDC")], subscribed=True)),
        ('Already unsubscribed: {"type":"trades","coin":"@2"}',
         Acknowledged([("trades", "BTC/USDC")], subscribed=False)),
        ('Invalid subscription {"type":"trades","coin":"@2"}', ("trades", "BTC/USDC")),
        ('Error parsing JSON into valid websocket request: '
         '{"method":"subscribe","subscription":{"type":"candle","coin":"BTC","interval":"1m"}}',
         ("candles1m", "BTC/USDC:USDC")),
        ("Cannot track more than 1000 total subscriptions.", ("trades", "BTC/USDC:USDC")),
    ],
)  # fmt: skip
def test_a_refusal_is_of_what_it_repeats_or_of_the_oldest_request(sentence: str, expected: Any) -> None:
    answer = read(wire(), {"channel": "error", "data": sentence})
    assert answer == (expected if isinstance(expected, Acknowledged) else Refused([expected], sentence, final=True))


def test_a_refusal_of_our_pace_is_not_final_and_one_of_nothing_we_asked_is_unknown() -> None:
    refused = read(wire(), {"channel": "error", "data": "Too many requests, try again"})
    assert isinstance(refused, Refused)
    assert not refused.final
    with pytest.raises(MalformedMessage) as raised:
        read(HyperliquidWire(), {"channel": "error", "data": "whatever"})
    assert raised.value.kind == "unknown"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"px": "NaN"}, "row"), ({"px": "0"}, "row"), ({"sz": "-1"}, "row"), ({"px": None}, "row"),
        ({"side": "X"}, "row"), ({"time": 1_710_125_266}, "row"), ({"tid": None}, "row"),
        ({"time": LATEST_US // 1000 + 1}, "time"), ({"coin": "DOGE"}, "unsubscribed"),
    ],
)  # fmt: skip
def test_a_bad_trade_is_a_fault_and_its_neighbours_are_kept(change: dict[str, Any], kind: str) -> None:
    message = read(wire(), trades_of({**TRADE, "tid": 1}, {**TRADE, **change}, {**TRADE, "tid": 2}))
    assert isinstance(message, TradesFrame)
    assert [row.trade_id for row in message.records] == ["1", "2"]
    assert [fault.kind for fault in message.faults] == [kind]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"", "garbage"), (b"\xff\xfe", "garbage"), (b'{"channel":"trades","data":[', "garbage"), (b"[]", "unknown"),
        (b'{"channel":"l2Book","data":{}}', "unknown"), (b'{"channel":"candle","data":{"t":1}}', "row"),
        (b'{"channel":"trades","data":7}', "row"), (b"{}", "unknown"),
        (b'{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"bbo"}}}', "unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_counted_under_its_kind(frame: bytes, kind: str) -> None:
    with pytest.raises(MalformedMessage) as raised:
        wire().parse(frame, LATEST_US)
    assert raised.value.kind == kind


def test_the_greeting_is_a_heartbeat() -> None:
    assert wire().parse(b"Websocket connection established.", LATEST_US) == Heartbeat()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["trades", "candle", "BTC"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*TRADE, *CANDLE, "data", "channel"]), inner),
    max_leaves=12,
)


@settings(max_examples=60)
@given(frame=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_frame_raises_nothing_but_malformed(frame: bytes) -> None:
    with suppress(MalformedMessage):
        wire().parse(frame, LATEST_US)


@settings(max_examples=60)
@given(
    channel=st.sampled_from(["trades", "candle", "error", "subscriptionResponse", "pong"]),
    data=JSON | st.lists(st.dictionaries(st.sampled_from(list(TRADE)), JSON).map(lambda change: {**TRADE, **change})),
)
def test_any_payload_of_a_known_channel_raises_nothing_but_malformed(channel: str, data: Any) -> None:
    with suppress(MalformedMessage):
        read(wire(), {"channel": channel, "data": data})
