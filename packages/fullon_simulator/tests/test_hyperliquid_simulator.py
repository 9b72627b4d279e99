"""Hyperliquid's quirks, one test each, over real sockets; and its records, which need none."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec, Tape, default_symbols
from fullon_simulator.conventions import transaction_id
from fullon_simulator.hyperliquid import Hyperliquid
from fullon_simulator.hyperliquid_wire import coins

DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
NOON_US = 1_767_268_800_000_000
NOON_MS = NOON_US // 1000

SPECS = [
    SymbolSpec("BTC/USDC:USDC", 60_000, price=100_000, price_decimals=0, volume_decimals=5),
    SymbolSpec("KPEPE/USDC:USDC", 40, price=0.004, price_decimals=6, volume_decimals=0),
    SymbolSpec("DEAD/USDC:USDC", 0.2, price=1.5, price_decimals=4, volume_decimals=2),
    SymbolSpec("PURR/USDC", 5_000, price=0.2, price_decimals=5, volume_decimals=0, listed_at_us=NOON_US - 700 * DAY_US),
    SymbolSpec("BTC/USDC", 500, price=100_000, price_decimals=1, volume_decimals=5),
    SymbolSpec("NEW/USDC:USDC", 4_000, price=7, listed_at_us=NOON_US - 3 * 60 * MINUTE_US + 25_000_000,
               price_decimals=4, volume_decimals=2),
]  # fmt: skip
COINS = {
    "BTC/USDC:USDC": "BTC",
    "KPEPE/USDC:USDC": "kPEPE",
    "DEAD/USDC:USDC": "DEAD",
    "PURR/USDC": "PURR/USDC",
    "BTC/USDC": "@0",
    "NEW/USDC:USDC": "NEW",
}


class Client:
    """A plain client of the simulated Hyperliquid."""

    def __init__(self, market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
        self.market = market
        self._http = http
        self._origin = market.origin("hyperliquid")

    async def whole(self, body: Any) -> tuple[int, str]:
        async with self._http.post(f"{self._origin}/info", data=json.dumps(body)) as answer:
            return answer.status, await answer.text()

    async def ask(self, kind: str, **request: Any) -> Any:
        status, text = await self.whole({"type": kind, **request})
        assert status == 200, text
        return json.loads(text)

    async def candles(self, coin: str, start_ms: int, end_ms: int, interval: str = "1m") -> list[dict[str, Any]]:
        wanted = {"coin": coin, "interval": interval, "startTime": start_ms, "endTime": end_ms}
        rows: list[dict[str, Any]] = await self.ask("candleSnapshot", req=wanted)
        return rows

    def connect(self) -> Any:
        return self._http.ws_connect(self._origin.replace("http", "ws") + "/ws")


@pytest.fixture
async def client(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client of a market at noon in real time, without limits."""
    clock = MarketClock.starting_at(NOON_US)
    async with SimulatedMarket({"hyperliquid": SPECS}, clock=clock, rate_limits=False) as market:
        yield Client(market, http)


@pytest.fixture
async def fast(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client of a market where a minute takes a quarter of a second."""
    clock = MarketClock.starting_at(NOON_US, speed=240)
    async with SimulatedMarket({"hyperliquid": SPECS}, clock=clock, rate_limits=False) as market:
        yield Client(market, http)


@pytest.fixture
async def limited(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client of a market at noon in real time, with limits."""
    async with SimulatedMarket({"hyperliquid": SPECS}, clock=MarketClock.starting_at(NOON_US)) as market:
        yield Client(market, http)


def venue(client: Client) -> Hyperliquid:
    found = client.market.venue("hyperliquid")
    assert isinstance(found, Hyperliquid)
    return found


async def subscribe(socket: Any, kind: str, coin: str, method: str = "subscribe", **more: str) -> Any:
    """Send a subscription and return its answer, passing over data."""
    await socket.send_json({"method": method, "subscription": {"type": kind, "coin": coin, **more}})
    while (message := await socket.receive_json(timeout=10))["channel"] not in ("subscriptionResponse", "error"):
        pass
    return message


def candle(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["t"] * 1000, *(float(row[name]) for name in "ohlcv"), row["n"])


def trade(row: dict[str, Any]) -> tuple[Any, ...]:
    side = {"B": "buy", "A": "sell"}[row["side"]]
    return row["time"] * 1000, float(row["px"]), float(row["sz"]), side, "", str(row["tid"])


# --- records


@given(st.integers(1, 2**45), st.integers(1, 2**45))
def test_trade_ids_are_different_numbers_of_fifty_bits(one: int, other: int) -> None:
    first, second = transaction_id(SPECS[0], one), transaction_id(SPECS[0], other)
    assert (first == second) is (one == other)
    assert 0 <= int(first) < 2**50


def test_trade_ids_tell_nothing_of_the_order() -> None:
    ids = [int(transaction_id(SPECS[0], number)) for number in range(1, 10_001)]
    rising = sum(one < other for one, other in itertools.pairwise(ids))
    assert 4_000 < rising < 6_000
    assert len(set(ids)) == len(ids)
    assert transaction_id(SPECS[1], 1) != transaction_id(SPECS[0], 1)


def test_order_types_are_not_told() -> None:
    tape = Tape(7, "hyperliquid", SPECS[0])
    assert {row.order_type for row in tape.trades(NOON_US - MINUTE_US * 10, NOON_US)} == {""}


def test_default_markets_are_perpetuals_and_some_spot_ones() -> None:
    specs = default_symbols("hyperliquid", 60)
    assert len({spec.symbol for spec in specs}) == 60
    assert [spec.symbol for spec in specs[:4]] == ["BTC/USDC:USDC", "ETH/USDC:USDC", "DOGE/USDC:USDC", "PURR/USDC"]
    assert len({*coins(specs).values()}) == 60
    assert all(spec.price_digits + spec.volume_digits <= 6 for spec in specs)


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "BTC/USD", "BTC/USDC:BTC"])
def test_only_markets_in_usdc_are_traded(symbol: str) -> None:
    with pytest.raises(ValueError, match="hyperliquid has perpetuals and spot markets in USDC"):
        Tape(7, "hyperliquid", SymbolSpec(symbol))


def test_names_on_the_wire() -> None:
    assert coins(SPECS) == COINS


# --- REST


async def test_meta_lists_the_perpetuals_in_the_order_of_their_listing(client: Client) -> None:
    meta, contexts = await client.ask("metaAndAssetCtxs")
    assert await client.ask("meta") == meta
    assert [market["name"] for market in meta["universe"]] == ["BTC", "kPEPE", "DEAD", "NEW"]
    assert [market["szDecimals"] for market in meta["universe"]] == [5, 0, 2, 2]
    assert len(contexts) == 4
    bitcoin = client.market.truth("hyperliquid", "BTC/USDC:USDC")
    assert float(contexts[0]["markPx"]) == bitcoin.trades(NOON_US - DAY_US, NOON_US + DAY_US)[-1].price
    assert await client.ask("perpDexs") == [None]


async def test_spot_meta_names_markets_by_index_and_tokens_by_their_chain(client: Client) -> None:
    meta, contexts = await client.ask("spotMetaAndAssetCtxs")
    assert await client.ask("spotMeta") == meta
    tokens = {token["index"]: token for token in meta["tokens"]}
    pairs = [(market["name"], *(tokens[index]["name"] for index in market["tokens"])) for market in meta["universe"]]
    assert pairs == [("@0", "UBTC", "USDC"), ("PURR/USDC", "PURR", "USDC")]
    assert tokens[1]["fullName"] == "Unit Bitcoin"
    assert [context["coin"] for context in contexts] == ["@0", "PURR/USDC"]


async def test_all_mids_has_every_coin(client: Client) -> None:
    assert (await client.ask("allMids")).keys() == set(COINS.values())


async def test_what_is_not_there_is_a_null_with_http_500(client: Client) -> None:
    wanted = {"coin": "btc", "interval": "1m", "startTime": 0, "endTime": NOON_MS}
    assert await client.whole({"type": "candleSnapshot", "req": wanted}) == (500, "null")
    assert await client.whole({"type": "recentTrades", "coin": "NOPE"}) == (500, "null")
    assert await client.whole({"type": "meta", "dex": "xyz"}) == (500, "null")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"type": "nothing"},
        {"type": ["meta"]},
        {"type": "candleSnapshot"},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "7m", "startTime": 0, "endTime": 1}},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "1m", "startTime": "0", "endTime": 1}},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "1m", "startTime": -1, "endTime": 1}},
        {"type": "candleSnapshot", "req": {"coin": 7, "interval": "1m", "startTime": 0, "endTime": 1}},
        {"type": "recentTrades"},
    ],
)
async def test_what_has_no_known_form_is_a_sentence_with_http_422(client: Client, body: Any) -> None:
    assert await client.whole(body) == (422, "Failed to deserialize the JSON body into the target type")


@pytest.mark.parametrize("symbol", ["BTC/USDC:USDC", "KPEPE/USDC:USDC", "PURR/USDC"])
async def test_candles_page_through_three_days_equal_to_the_truth(client: Client, symbol: str) -> None:
    start_us, rows = NOON_US - 3 * DAY_US, []
    while (next_us := start_us + len(rows) * MINUTE_US) < NOON_US:
        page = await client.candles(COINS[symbol], next_us // 1000, next_us // 1000 + 999 * 60_000)
        assert len(page) == min(1_000, (NOON_US - next_us) // MINUTE_US + 1)
        rows += page
    rows = [row for row in rows if row["t"] < NOON_MS]
    assert [row["t"] * 1000 for row in rows] == list(range(start_us, NOON_US, MINUTE_US))
    assert all(row["T"] == row["t"] + 59_999 and row["i"] == "1m" for row in rows)
    truth = client.market.truth("hyperliquid", symbol).candles(start_us, NOON_US)
    assert [candle(row) for row in rows if row["n"]] == [tuple(row) for row in truth]
    for before, row in itertools.pairwise(rows):
        if not row["n"]:
            assert [row[name] for name in "ohlcv"] == [before["c"]] * 4 + ["0.0"]


async def test_only_the_newest_5000_candles_exist(client: Client) -> None:
    rows = await client.candles("BTC", 0, NOON_MS + DAY_US)
    assert len(rows) == 5_000
    assert rows[-1]["t"] == NOON_MS
    assert rows[0]["t"] == NOON_MS - 4_999 * 60_000
    assert await client.candles("BTC", 0, NOON_MS - 5_000 * 60_000) == []
    assert len(await client.candles("BTC", 0, NOON_MS, "5m")) == 5_000


async def test_bounds_touch_candles_at_either_end(client: Client) -> None:
    """As the test of the venue's own SDK has recorded: the candle that startTime lies in is part of the answer."""

    async def opens(start_ms: int, end_ms: int) -> list[int]:
        return [(row["t"] - NOON_MS) // 60_000 for row in await client.candles("BTC", start_ms, end_ms)]

    assert await opens(NOON_MS - 300_000, NOON_MS - 120_000) == [-5, -4, -3, -2]
    assert await opens(NOON_MS - 299_999, NOON_MS - 120_001) == [-5, -4, -3]
    assert await opens(NOON_MS - 60_000, NOON_MS + DAY_US) == [-1, 0]
    assert await opens(NOON_MS - 60_000, NOON_MS - 120_000) == []
    assert await opens(NOON_MS + 3_600_000, NOON_MS + 7_200_000) == []


async def test_candles_begin_with_the_listing(client: Client) -> None:
    rows = await client.candles("NEW", 0, NOON_MS)
    assert (
        rows[0]["t"] * 1000 == client.market.truth("hyperliquid", "NEW/USDC:USDC").listed_at_us // MINUTE_US * MINUTE_US
    )
    assert rows[0]["n"] > 0


@pytest.mark.parametrize(("interval", "length_s"), [("15m", 900), ("4h", 14_400), ("1d", 86_400), ("3d", 259_200)])
async def test_candles_of_other_intervals_equal_the_truth(client: Client, interval: str, length_s: int) -> None:
    length_us = length_s * 1_000_000
    end_us = NOON_US // length_us * length_us
    start_us = end_us - 20 * length_us
    rows = await client.candles("PURR/USDC", start_us // 1000, end_us // 1000 - 1, interval)
    truth = client.market.truth("hyperliquid", "PURR/USDC").candles(start_us, end_us, length_s)
    assert [candle(row) for row in rows if row["n"]] == [tuple(row) for row in truth]
    assert len(rows) == 20


async def test_months_begin_on_the_first(client: Client) -> None:
    rows = await client.candles("BTC", NOON_MS - 40 * DAY_US // 1000, NOON_MS, "1M")
    assert [row["t"] for row in rows] == [1_761_955_200_000, 1_764_547_200_000, 1_767_225_600_000]
    assert [row["T"] + 1 for row in rows][:2] == [row["t"] for row in rows][1:]


async def test_recent_trades_are_the_last_ten_newest_first(client: Client) -> None:
    rows = await client.ask("recentTrades", coin="BTC")
    truth = client.market.truth("hyperliquid", "BTC/USDC:USDC").trades(NOON_US - 60 * MINUTE_US, NOON_US + DAY_US)
    assert len(rows) == 10
    known = [tuple(row) for row in truth]
    last = known.index(trade(rows[0]))
    assert [trade(row) for row in reversed(rows)] == known[last - 9 : last + 1]


async def test_numbers_are_strings_with_one_decimal_at_least(client: Client) -> None:
    (row,) = await client.candles("BTC", NOON_MS - 60_000, NOON_MS - 1)
    assert all(row[name].endswith(".0") for name in "ohlc")
    for quiet in await client.candles("kPEPE", NOON_MS - 3_600_000, NOON_MS):
        assert quiet["v"].endswith(".0")
        assert not quiet["o"].endswith("0")


async def test_requests_weigh_by_what_they_return(limited: Client) -> None:
    """A full window weighs 20 + 5000 / 60: after twelve of them, and the debt they leave, nothing passes."""
    wanted = {"coin": "DEAD", "interval": "1m", "startTime": 0, "endTime": NOON_MS}
    answers = [await limited.whole({"type": "candleSnapshot", "req": wanted}) for _ in range(14)]
    statuses = [status for status, _ in answers]
    assert statuses[:11] == [200] * 11
    assert statuses[-1] == 429
    assert answers[-1] == (429, "null")
    assert limited.market.requests("hyperliquid").refused == statuses.count(429)
    assert limited.market.requests("hyperliquid").paths["/info"] == 14


# --- streams


async def test_trades_are_an_old_snapshot_and_then_one_unbroken_run(fast: Client) -> None:
    async with fast.connect() as socket:
        answer = await subscribe(socket, "trades", "BTC")
        subscribed_us = fast.market.clock.now_us()
        wanted = {"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}}
        assert answer == {"channel": "subscriptionResponse", "data": wanted}
        snapshot = (await socket.receive_json(timeout=5))["data"]
        live: list[Any] = []
        while len(live) < 60:
            message = await socket.receive_json(timeout=10)
            assert message["channel"] == "trades"
            live += message["data"]
    assert len(snapshot) == 10
    assert all(row["time"] * 1000 < subscribed_us for row in snapshot)
    seen = [trade(row) for row in [*reversed(snapshot), *live]]
    truth = [
        tuple(row)
        for row in fast.market.truth("hyperliquid", "BTC/USDC:USDC").trades(NOON_US - DAY_US, NOON_US + DAY_US)
    ]
    first = truth.index(seen[0])
    assert seen == truth[first : first + len(seen)]
    ids = [row["tid"] for row in live]
    assert ids != sorted(ids)


async def test_the_snapshot_of_a_quiet_coin_is_hours_old(client: Client) -> None:
    async with client.connect() as socket:
        await subscribe(socket, "trades", "DEAD")
        rows = (await socket.receive_json(timeout=5))["data"]
    assert len(rows) == 10
    assert max(row["time"] for row in rows) < NOON_MS - 3_600_000


async def test_a_reconnect_repeats_trades_under_the_same_ids(fast: Client) -> None:
    seen: list[list[int]] = []
    for _ in range(2):
        async with fast.connect() as socket:
            await subscribe(socket, "trades", "PURR/USDC")
            seen.append([row["tid"] for row in (await socket.receive_json(timeout=5))["data"]])
    assert set(seen[0]) & set(seen[1])


async def test_candles_come_with_trades_only_and_none_is_called_closed(fast: Client) -> None:
    last: dict[tuple[str, int], dict[str, Any]] = {}
    async with fast.connect() as socket:
        for coin in ("BTC", "DEAD"):
            answer = await subscribe(socket, "candle", coin, interval="1m")
            assert answer["data"]["subscription"] == {"type": "candle", "interval": "1m", "coin": coin}
        while len(last) < 4:
            message = await socket.receive_json(timeout=10)
            assert message["channel"] == "candle"
            row = message["data"]
            assert row.keys() == {"t", "T", "s", "i", "o", "c", "h", "l", "v", "n"}
            before = last.get((row["s"], row["t"]))
            assert before is None or before["n"] < row["n"]
            last[row["s"], row["t"]] = row
    assert {coin for coin, _ in last} == {"BTC"}
    complete = list(last.values())[:-1]
    start_us, end_us = complete[0]["t"] * 1000, (complete[-1]["T"] + 1) * 1000
    truth = fast.market.truth("hyperliquid", "BTC/USDC:USDC").candles(start_us, end_us)
    assert [candle(row) for row in complete] == [tuple(row) for row in truth]


async def test_refusals_come_on_the_error_channel_and_leave_the_rest(fast: Client) -> None:
    async with fast.connect() as socket:
        await subscribe(socket, "trades", "BTC")
        for coin, interval in (("BTC", "1m"), ("BTC", "5m")):
            await subscribe(socket, "candle", coin, interval=interval)
        again = await subscribe(socket, "candle", "BTC", interval="5m")
        assert again == {
            "channel": "error",
            "data": 'Already subscribed: {"type":"candle","interval":"5m","coin":"BTC"}',
        }
        for request, error in [
            (("trades", "btc"), 'Invalid subscription {"type":"trades","coin":"btc"}'),
            (("trades", "ETH", "unsubscribe"), 'Invalid subscription {"type":"trades","coin":"ETH"}'),
            (("trades", "kPEPE", "unsubscribe"), 'Already unsubscribed: {"type":"trades","coin":"kPEPE"}'),
        ]:
            assert (await subscribe(socket, *request))["data"] == error
        assert (await subscribe(socket, "candle", "BTC", interval="7m"))["data"].startswith("Invalid subscription")
        for text in ("what", "[]", '{"method":"subscribe"}', '{"method":"subscribe","subscription":{"type":"l2"}}',
                     '{"method":"subscribe","subscription":{"type":"trades","coin":["BTC","kPEPE"]}}'):  # fmt: skip
            await socket.send_str(text)
            while (message := await socket.receive_json(timeout=5))["channel"] != "error":
                pass
            assert message["data"] == f"Error parsing JSON into valid websocket request: {text}"
        await socket.receive_json(timeout=10)
    assert fast.market.requests("hyperliquid").subscriptions == 3


async def test_unsubscribing_ends_a_stream(fast: Client) -> None:
    async with fast.connect() as socket:
        await subscribe(socket, "trades", "BTC")
        answer = await subscribe(socket, "trades", "BTC", "unsubscribe")
        wanted = {"method": "unsubscribe", "subscription": {"type": "trades", "coin": "BTC"}}
        assert answer == {"channel": "subscriptionResponse", "data": wanted}
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.5)


async def test_ping_and_pong(client: Client) -> None:
    async with client.connect() as socket:
        await socket.send_json({"method": "ping"})
        assert await socket.receive_json(timeout=5) == {"channel": "pong"}


async def test_a_client_that_says_nothing_is_cut(fast: Client) -> None:
    """However much it is sent, and though its library answers pings; who pings stays."""
    venue(fast).silence_max_s = 0.6
    loop = asyncio.get_running_loop()
    async with fast.connect() as silent, fast.connect() as polite:
        await subscribe(silent, "trades", "BTC")
        begun_s = loop.time()
        while (message := await silent.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            if loop.time() - begun_s < 0.5:
                await polite.send_json({"method": "ping"})
        assert 0.4 < loop.time() - begun_s < 2
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert silent.close_code in (None, 1006)
        await polite.send_json({"method": "ping"})
        assert (await polite.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT


async def test_an_unknown_coin_may_cut_the_connection(client: Client) -> None:
    venue(client).unknown_coin_cuts = True
    async with client.connect() as socket:
        await socket.send_json({"method": "subscribe", "subscription": {"type": "trades", "coin": "NOPE"}})
        assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_ten_connections_at_once_unless_told_otherwise(limited: Client) -> None:
    async def refused(sockets: list[Any]) -> bool:
        await sockets[-1].send_json({"method": "ping"})
        message = await sockets[-1].receive(timeout=5)
        return (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)

    sockets: list[Any] = []
    try:
        for number in range(1, 12):
            sockets.append(await limited.connect())
            assert await refused(sockets) is (number > 10)
        venue(limited).connections_max = 100
        sockets.append(await limited.connect())
        assert not await refused(sockets)
    finally:
        for socket in sockets:
            await socket.close()


async def test_a_thousand_subscriptions_for_all_connections_together(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US)
    async with SimulatedMarket({"hyperliquid": 72}, clock=clock) as market:
        names = coins(market.venue("hyperliquid").tapes[symbol].spec for symbol in market.symbols("hyperliquid"))
        wanted = [(coin, interval) for coin in names.values() for interval in
                  ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")]  # fmt: skip
        client = Client(market, http)
        async with client.connect() as one, client.connect() as other:
            for coin, interval in wanted[:600]:
                await subscribe(one, "candle", coin, interval=interval)
            for coin, interval in wanted[600:1_000]:
                await subscribe(other, "candle", coin, interval=interval)
            coin, interval = wanted[1_000]
            refused = await subscribe(other, "candle", coin, interval=interval)
            assert refused == {"channel": "error", "data": "Cannot track more than 1000 total subscriptions."}
        assert market.requests("hyperliquid").subscriptions == 1_000


async def test_two_thousand_messages_a_minute_for_all_connections_together(limited: Client) -> None:
    async with limited.connect() as one, limited.connect() as other:
        for _ in range(1_500):
            await one.send_json({"method": "ping"})
            assert await one.receive_json(timeout=5) == {"channel": "pong"}
        pongs = 0
        for _ in range(600):
            await other.send_json({"method": "ping"})
        while (message := await other.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pongs += 1
        assert 490 < pongs < 600
        assert (message.data, message.extra) == (1008, "Too many messages")


async def test_a_coin_listed_later_comes_last(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US, speed=60)
    late = SymbolSpec("LATE/USDC:USDC", 50_000, listed_at_us=NOON_US + MINUTE_US, price_decimals=2, volume_decimals=2)
    async with SimulatedMarket({"hyperliquid": [late, *SPECS[:2]]}, clock=clock, rate_limits=False) as market:
        client = Client(market, http)
        assert [coin["name"] for coin in (await client.ask("meta"))["universe"]] == ["BTC", "kPEPE"]
        while len(names := [coin["name"] for coin in (await client.ask("meta"))["universe"]]) < 3:
            await asyncio.sleep(0.05)
        assert names == ["BTC", "kPEPE", "LATE"]
        assert clock.now_us() > NOON_US + MINUTE_US
