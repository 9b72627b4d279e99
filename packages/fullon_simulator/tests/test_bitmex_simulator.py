"""BitMEX's quirks, one test each, over real sockets; and its records, which need none."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec, Tape, default_symbols

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
NOON_US = 1_767_268_800_000_000

SPECS = [
    SymbolSpec("BTC/USD:BTC", 60_000, price=100_000,
               price_decimals=1, price_step=5, volume_decimals=0, volume_step=100),
    SymbolSpec("ETH/USDT:USDT", 20_000, price=3_500,
               price_decimals=2, price_step=5, volume_decimals=4, volume_step=1_000),
    SymbolSpec("DOGE/USDT:USDT", 40, price=0.2, price_decimals=5, volume_decimals=0, volume_step=1_000),
    SymbolSpec("DEAD/USDT:USDT", 0.2, price=1.5, price_decimals=4, volume_decimals=1, volume_step=1_000),
    SymbolSpec("NEW/USDT:USDT", 4_000, price=7, listed_at_us=NOON_US - 3 * HOUR_US + 20 * MINUTE_US + 25_000_000,
               price_decimals=4, volume_decimals=1, volume_step=1_000),
]  # fmt: skip
IDS = {spec.symbol: spec.base.replace("BTC", "XBT") + spec.quote for spec in SPECS}


class Client:
    """A plain client of the simulated BitMEX."""

    def __init__(self, market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
        self.market = market
        self._http = http
        self._origin = market.origin("bitmex")

    async def whole(self, path: str, **query: object) -> tuple[int, Any, Any]:
        params = {name: str(value) for name, value in query.items()}
        async with self._http.get(f"{self._origin}/api/v1/{path}", params=params) as answer:
            return answer.status, await answer.json(), answer.headers

    async def ask(self, path: str, **query: object) -> Any:
        status, body, _ = await self.whole(path, **query)
        assert status == 200, body
        return body

    async def buckets(self, symbol: str, **query: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.ask("trade/bucketed", symbol=IDS[symbol], **{"binSize": "1m", **query})
        return rows

    def connect(self, query: str = "") -> Any:
        return self._http.ws_connect(self._origin.replace("http", "ws") + f"/realtime{query}")


@pytest.fixture
async def client(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client of a market at noon in real time, without limits."""
    clock = MarketClock.starting_at(NOON_US)
    async with SimulatedMarket({"bitmex": SPECS}, clock=clock, rate_limits=False) as market:
        yield Client(market, http)


@pytest.fixture
async def fast(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client of a market where a minute takes a quarter of a second."""
    clock = MarketClock.starting_at(NOON_US, speed=240)
    async with SimulatedMarket({"bitmex": SPECS}, clock=clock, rate_limits=False) as market:
        yield Client(market, http)


def iso(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000) * 1_000


def candle(row: dict[str, Any], length_us: int = MINUTE_US) -> tuple[Any, ...]:
    """Return a bucket as the truth has it: by its open time."""
    prices = (float(row[name]) for name in ("open", "high", "low", "close", "volume"))
    return (micros(row["timestamp"]) - length_us, *prices, row["trades"])


def trade(row: dict[str, Any]) -> tuple[Any, ...]:
    stamp = micros(row["timestamp"])
    return stamp, float(row["price"]), float(row["size"]), row["side"].lower(), "", row["trdMatchID"]


async def answer(socket: Any) -> dict[str, Any]:
    """Return the next message that is not of a table."""
    while "table" in (message := await socket.receive_json(timeout=10)):
        pass
    found: dict[str, Any] = message
    return found


async def table(socket: Any) -> dict[str, Any]:
    """Return the next message of a table."""
    while "table" not in (message := await socket.receive_json(timeout=10)):
        pass
    found: dict[str, Any] = message
    return found


# --- records


def test_prices_are_ticks_and_volumes_are_contracts() -> None:
    for trade in Tape(7, "bitmex", SPECS[0]).trades(NOON_US - HOUR_US, NOON_US):
        assert trade.price * 2 == int(trade.price * 2)
        assert trade.volume % 100 == 0
        assert trade.order_type == ""
        assert str(UUID(trade.trade_id)) == trade.trade_id
    for trade in Tape(7, "bitmex", SPECS[1]).trades(NOON_US - HOUR_US, NOON_US):
        assert trade.volume % 1_000 == 0


def test_candles_open_with_the_close_before_them() -> None:
    tape = Tape(7, "bitmex", SPECS[1])
    candles = tape.candles(NOON_US - DAY_US, NOON_US)
    assert candles[0].open == tape.trades(NOON_US - 2 * DAY_US, candles[0].timestamp_us)[-1].price
    assert all(after.open == before.close for before, after in pairwise(candles))
    outside = [row for row in candles if not row.low <= row.open <= row.high]
    assert 0.05 < len(outside) / len(candles) < 0.5


def test_the_first_candle_of_all_opens_with_its_first_trade() -> None:
    tape = Tape(7, "bitmex", SPECS[4])
    first = tape.candles(0, NOON_US)[0]
    assert first.open == tape.trades(0, NOON_US)[0].price


def test_a_market_is_listed_at_a_full_hour() -> None:
    assert Tape(7, "bitmex", SPECS[4]).listed_at_us == NOON_US - 3 * HOUR_US


def test_default_markets_trade_ticks_and_lots() -> None:
    specs = default_symbols("bitmex", 60)
    assert len({spec.symbol for spec in specs}) == 60
    assert [spec.symbol for spec in specs[:3]] == ["BTC/USD:BTC", "BTC/USDT:USDT", "ETH/USDT:USDT"]
    for spec in specs:
        rows = Tape(7, "bitmex", spec).read(0, 100)
        assert not any(rows.price % spec.price_step)
        assert not any(rows.volume % spec.volume_step)
    assert (specs[0].price_digits, specs[0].price_step, specs[0].volume_step) == (1, 5, 100)


@pytest.mark.parametrize("steps", [{"price_step": 0}, {"volume_step": -1}])
def test_steps_are_one_or_more(steps: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="allowed is 1 or more"):
        SymbolSpec("BTC/USD:BTC", **steps)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USD:USD", "ETH/USD:BTC", "ETH/EUR:ETH"])
def test_only_inverse_and_linear_perpetuals_are_traded(symbol: str) -> None:
    with pytest.raises(ValueError, match="bitmex has inverse and linear perpetuals"):
        Tape(7, "bitmex", SymbolSpec(symbol))


# --- REST


async def test_instruments_say_what_a_contract_is(client: Client) -> None:
    found = {row["symbol"]: row for row in await client.ask("instrument/active")}
    assert found.keys() == set(IDS.values())
    inverse, linear = found["XBTUSD"], found["ETHUSDT"]
    assert (inverse["isInverse"], inverse["settlCurrency"], inverse["tickSize"], inverse["lotSize"]) == (
        True,
        "XBt",
        0.5,
        100,
    )
    assert (linear["isInverse"], linear["settlCurrency"], linear["tickSize"], linear["lotSize"]) == (
        False,
        "USDt",
        0.05,
        1000,
    )
    assert (inverse["underlying"], inverse["quoteCurrency"]) == ("XBT", "USD")
    assert linear["underlyingToPositionMultiplier"] == 10_000
    truth = client.market.truth("bitmex", "NEW/USDT:USDT")
    assert micros(found["NEWUSDT"]["listing"]) == truth.listed_at_us
    assert {row["currency"]: row["asset"] for row in await client.ask("wallet/assets")} == {
        "XBt": "XBT",
        "USDt": "USDT",
    }


@pytest.mark.parametrize("symbol", ["BTC/USD:BTC", "ETH/USDT:USDT", "DOGE/USDT:USDT"])
async def test_buckets_page_through_two_days_equal_to_the_truth(client: Client, symbol: str) -> None:
    """Each is stamped with its end; quiet ones are rows too, so that a full page is 1,000 minutes."""
    start_us, rows = NOON_US - 2 * DAY_US, []
    while (next_us := start_us + (len(rows) + 1) * MINUTE_US) <= NOON_US:
        rows += await client.buckets(symbol, count=1000, startTime=iso(next_us), endTime=iso(NOON_US))
    assert [micros(row["timestamp"]) for row in rows] == list(range(start_us + MINUTE_US, NOON_US + 1, MINUTE_US))
    truth = client.market.truth("bitmex", symbol)
    assert [candle(row) for row in rows if row["trades"]] == [tuple(row) for row in truth.candles(start_us, NOON_US)]
    for before, row in pairwise(rows):
        assert row["open"] == before["close"]
        if not row["trades"]:
            assert row["high"] == row["low"] == row["close"] == row["open"]
            assert [row[name] for name in ("volume", "vwap", "lastSize", "turnover", "homeNotional")] == [
                0,
                None,
                None,
                0,
                0,
            ]


async def test_the_bounds_of_buckets_are_ends_and_inclusive(client: Client) -> None:
    async def ends(**query: object) -> list[int]:
        rows = await client.buckets("ETH/USDT:USDT", **query)
        return [(micros(row["timestamp"]) - NOON_US) // MINUTE_US for row in rows]

    five, two = iso(NOON_US - 5 * MINUTE_US), iso(NOON_US - 2 * MINUTE_US)
    assert await ends(startTime=five, endTime=two) == [-5, -4, -3, -2]
    assert await ends(startTime=iso(NOON_US - 5 * MINUTE_US + 1_000), endTime=iso(NOON_US - 2 * MINUTE_US - 1_000)) == [
        -4,
        -3,
    ]
    assert await ends(startTime=five) == [-5, -4, -3, -2, -1, 0]
    assert await ends(startTime=five, partial="true") == [-5, -4, -3, -2, -1, 0, 1]
    assert await ends(startTime=five, endTime=iso(NOON_US), partial="true") == [-5, -4, -3, -2, -1, 0]
    assert await ends(startTime=five, count=2) == [-5, -4]
    assert await ends(startTime=five, count=2, start=3) == [-2, -1]
    assert await ends(reverse="true", count=3) == [0, -1, -2]
    assert await ends(reverse="true", count=2, start=1, partial="true") == [0, -1]
    assert await ends(startTime="2026-01-01 11:58", endTime="2026-01-01T12:00:00+00:00") == [-2, -1, 0]
    assert await ends(startTime=iso(NOON_US + HOUR_US)) == []
    assert len(await ends(reverse="true")) == 100
    assert len(await ends(count=1000)) == 1_000


async def test_before_the_first_trade_prices_are_null(client: Client) -> None:
    rows = await client.buckets("NEW/USDT:USDT", count=30)
    assert micros(rows[0]["timestamp"]) == NOON_US - 3 * HOUR_US + MINUTE_US
    early = [row for row in rows if row["open"] is None]
    assert rows[:20] == early
    assert all(row["close"] is None and row["trades"] == row["volume"] == 0 for row in early)
    truth = client.market.truth("bitmex", "NEW/USDT:USDT")
    assert candle(rows[20]) == tuple(truth.candles(0, NOON_US)[0])


@pytest.mark.parametrize(("size", "length_us"), [("5m", 5 * MINUTE_US), ("1h", HOUR_US), ("1d", DAY_US)])
async def test_other_buckets_equal_the_truth(client: Client, size: str, length_us: int) -> None:
    end_us = NOON_US // length_us * length_us
    start_us = end_us - 20 * length_us
    rows = await client.buckets("DOGE/USDT:USDT", binSize=size, startTime=iso(start_us + length_us), count=20)
    truth = client.market.truth("bitmex", "DOGE/USDT:USDT").candles(start_us, end_us, length_us // 1_000_000)
    assert [candle(row, length_us) for row in rows if row["trades"]] == [tuple(row) for row in truth]
    assert len(rows) == 20


@pytest.mark.parametrize("symbol", ["BTC/USD:BTC", "ETH/USDT:USDT"])
async def test_trades_page_by_offset_equal_to_the_truth_and_to_the_buckets(client: Client, symbol: str) -> None:
    bounds = {"startTime": iso(NOON_US - HOUR_US), "endTime": iso(NOON_US - 1_000)}
    rows: list[dict[str, Any]] = []
    while page := await client.ask("trade", symbol=IDS[symbol], count=1000, start=len(rows), **bounds):
        rows += page
    truth = client.market.truth("bitmex", symbol).trades(NOON_US - HOUR_US, NOON_US)
    assert [trade(row) for row in rows] == [tuple(row) for row in truth]
    assert len({row["trdMatchID"] for row in rows}) == len(rows) > 800
    sums: dict[int, Counter[str]] = {}
    for row in rows:
        minute = sums.setdefault(micros(row["timestamp"]) // MINUTE_US, Counter())
        for name in ("size", "grossValue", "homeNotional", "foreignNotional"):
            minute[name] += row[name]
    for bucket in await client.buckets(symbol, startTime=iso(NOON_US - HOUR_US + MINUTE_US), count=60):
        minute = sums.get(micros(bucket["timestamp"]) // MINUTE_US - 1, Counter())
        assert (bucket["volume"], bucket["turnover"]) == (minute["size"], minute["grossValue"])
        assert bucket["homeNotional"] == pytest.approx(minute["homeNotional"])
        assert bucket["foreignNotional"] == pytest.approx(minute["foreignNotional"])
        assert bucket["vwap"] is None or bucket["low"] - 0.5 <= bucket["vwap"] <= bucket["high"] + 0.5


async def test_a_contract_is_a_dollar_of_bitcoin_or_a_part_of_a_coin(client: Client) -> None:
    (inverse,) = await client.ask("trade", symbol="XBTUSD", count=1, reverse="true")
    assert inverse["foreignNotional"] == inverse["size"]
    assert inverse["homeNotional"] == pytest.approx(inverse["size"] / inverse["price"], rel=1e-4)
    assert inverse["grossValue"] == round(inverse["homeNotional"] * 100_000_000)
    (linear,) = await client.ask("trade", symbol="ETHUSDT", count=1, reverse="true")
    assert linear["homeNotional"] == linear["size"] / 10_000
    assert linear["foreignNotional"] == pytest.approx(linear["homeNotional"] * linear["price"])


async def test_trades_run_either_way_and_know_where_the_price_goes(client: Client) -> None:
    bounds = {"symbol": "ETHUSDT", "startTime": iso(NOON_US - HOUR_US // 3), "endTime": iso(NOON_US), "count": 1000}
    rows = await client.ask("trade", **bounds)
    assert await client.ask("trade", **bounds | {"count": 5}, start=2) == rows[2:7]
    assert await client.ask("trade", **bounds | {"count": 5}, start=2, reverse="true") == rows[-3:-8:-1]
    for before, row in pairwise(rows):
        same = "Zero" if row["price"] == before["price"] else ""
        up = row["price"] > before["price"] or (same and before["tickDirection"].endswith("PlusTick"))
        assert row["tickDirection"] == f"{same}{'Plus' if up else 'Minus'}Tick"
    first = await client.ask("trade", symbol="NEWUSDT", count=1)
    assert micros(first[0]["timestamp"]) == SPECS[4].listed_at_us


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("trade/bucketed", {"binSize": "7m"}, "binSize is invalid."),
        (
            "trade/bucketed",
            {"count": 1001},
            "Maximum result count is 1000. Please use the start & count params to paginate.",
        ),
        ("trade", {"count": 0}, "Count must be a positive integer."),
        ("trade", {"count": "many"}, "'count' must be a number."),
        ("trade", {"start": "-1"}, "'start' must be a number."),
        ("trade", {"startTime": "yesterday"}, "startTime is invalid."),
        ("trade", {"endTime": "0001-01-01"}, "endTime is invalid."),
    ],
)
async def test_wrong_requests_are_http_400_with_a_message(
    client: Client, path: str, query: dict[str, object], message: str
) -> None:
    status, body, _ = await client.whole(path, **{"symbol": "XBTUSD", **query})
    assert (status, body) == (400, {"error": {"message": message, "name": "HTTPError"}})


async def test_an_unknown_symbol_has_no_rows(client: Client) -> None:
    assert await client.ask("trade", symbol="NOPE") == []
    assert await client.ask("trade/bucketed", symbol="NOPE", binSize="1m") == []


async def test_thirty_requests_a_minute(http: aiohttp.ClientSession) -> None:
    async with SimulatedMarket({"bitmex": SPECS[2:4]}, clock=MarketClock.starting_at(NOON_US)) as market:
        client = Client(market, http)
        left = []
        while (answer := await client.whole("trade", symbol="DEADUSDT", count=1))[0] == 200:
            left.append(int(answer[2]["x-ratelimit-remaining"]))
            assert answer[2]["x-ratelimit-limit"] == "30"
        assert left[:3] == [29, 28, 27]
        assert 30 <= len(left) <= 32
        status, body, headers = answer
        assert (status, headers["x-ratelimit-remaining"]) == (429, "0")
        assert 1 <= int(headers["Retry-After"]) <= 2
        assert abs(int(headers["x-ratelimit-reset"]) - market.clock.now_us() // 1_000_000) <= 3
        assert body["error"]["name"] == "RateLimitError"
        assert market.requests("bitmex").refused == 1


# --- streams


async def test_a_client_is_welcomed_and_each_topic_answered(client: Client) -> None:
    async with client.connect() as socket:
        welcome = await socket.receive_json(timeout=5)
        assert welcome["info"] == "Welcome to the BitMEX Realtime API."
        assert abs(micros(welcome["timestamp"]) - NOON_US) < 5_000_000
        request = {
            "op": "subscribe",
            "args": ["trade:XBTUSD", "trade:NOPE", "book:XBTUSD", "trade", "tradeBin1m:ETHUSDT"],
        }
        await socket.send_json(request)
        assert await answer(socket) == {"success": True, "subscribe": "trade:XBTUSD", "request": request}
        for error in (
            "Unknown or expired symbol: NOPE",
            "Unknown table: book",
            "Unknown or expired symbol: ",
        ):
            assert await answer(socket) == {"status": 400, "error": error, "meta": {}, "request": request}
        assert (await answer(socket))["subscribe"] == "tradeBin1m:ETHUSDT"
        first, second = await table(socket), await table(socket)
        assert (first["table"], first["action"], first["filter"]) == ("trade", "partial", {"symbol": "XBTUSD"})
        assert (second["table"], second["action"], second["filter"]) == ("tradeBin1m", "partial", {"symbol": "ETHUSDT"})
        assert len(first["data"]) == len(second["data"]) == 1
        assert micros(second["data"][0]["timestamp"]) == NOON_US
        for text, error in [
            ('{"op":"subscribe","args":"trade:XBTUSD"}', "You are already subscribed to this topic: trade:XBTUSD"),
            ('{"op":"unsubscribe","args":["trade:ETHUSDT"]}', "You are not subscribed to this topic: trade:ETHUSDT"),
            ('{"op":"subscribe"}', "Unknown table: None"),
        ]:
            await socket.send_str(text)
            refusal = await answer(socket)
            assert (refusal["status"], refusal["error"]) == (400, error)
        await socket.send_str("what")
        assert (await answer(socket))["status"] == 400
    assert client.market.requests("bitmex").subscriptions == 2


async def test_a_bare_ping_is_answered_by_a_bare_pong(client: Client) -> None:
    async with client.connect() as socket:
        await socket.receive_json(timeout=5)
        await socket.send_str("ping")
        assert (await socket.receive(timeout=5)).data == "pong"


async def test_trades_are_the_last_one_and_then_one_unbroken_run(fast: Client) -> None:
    rows: list[dict[str, Any]] = []
    async with fast.connect("?subscribe=trade:XBTUSD") as socket:
        partial = await table(socket)
        assert partial["action"] == "partial"
        while len(rows) < 60:
            message = await table(socket)
            assert message.keys() == {"table", "action", "data"}
            assert (message["table"], message["action"]) == ("trade", "insert")
            rows += message["data"]
    seen = [trade(row) for row in [*partial["data"], *rows]]
    known = [
        tuple(row) for row in fast.market.truth("bitmex", "BTC/USD:BTC").trades(NOON_US - HOUR_US, NOON_US + DAY_US)
    ]
    first = known.index(seen[0])
    assert seen == known[first : first + len(seen)]


async def test_a_reconnect_repeats_the_last_trade(client: Client) -> None:
    seen = []
    for _ in range(2):
        async with client.connect("?subscribe=trade:DEADUSDT") as socket:
            seen.append((await table(socket))["data"][0]["trdMatchID"])
    assert seen[0] == seen[1]


async def test_every_minute_is_pushed_once_at_its_end_quiet_or_not(fast: Client) -> None:
    symbols = ("BTC/USD:BTC", "DEAD/USDT:USDT")
    pushed: dict[str, list[dict[str, Any]]] = {IDS[symbol]: [] for symbol in symbols}
    async with fast.connect() as socket:
        await socket.send_json({"op": "subscribe", "args": [f"tradeBin1m:{name}" for name in pushed]})
        while any(len(rows) < 4 for rows in pushed.values()):
            message = await table(socket)
            assert message["table"] == "tradeBin1m"
            for row in message["data"]:
                assert micros(row["timestamp"]) <= fast.market.clock.now_us()
                pushed[row["symbol"]].append(row)
    for symbol in symbols:
        rows = pushed[IDS[symbol]]
        ends = [micros(row["timestamp"]) for row in rows]
        assert ends == [ends[0] + MINUTE_US * number for number in range(len(ends))]
        truth = fast.market.truth("bitmex", symbol).candles(ends[0] - MINUTE_US, ends[-1])
        assert [candle(row) for row in rows if row["trades"]] == [tuple(row) for row in truth]
    assert not any(row["trades"] for row in pushed["DEADUSDT"])


async def test_five_minutes_are_pushed_at_theirs(fast: Client) -> None:
    async with fast.connect("?subscribe=tradeBin5m:ETHUSDT") as socket:
        await table(socket)
        (row,) = (await table(socket))["data"]
    end_us = micros(row["timestamp"])
    assert end_us % (5 * MINUTE_US) == 0
    (truth,) = fast.market.truth("bitmex", "ETH/USDT:USDT").candles(end_us - 5 * MINUTE_US, end_us, 300)
    assert candle(row, 5 * MINUTE_US) == tuple(truth)


async def test_unsubscribing_ends_a_topic(fast: Client) -> None:
    async with fast.connect("?subscribe=trade:XBTUSD,tradeBin1m:XBTUSD") as socket:
        await table(socket)
        request = {"op": "unsubscribe", "args": ["trade:XBTUSD"]}
        await socket.send_json(request)
        assert await answer(socket) == {"success": True, "unsubscribe": "trade:XBTUSD", "request": request}
        assert {(await table(socket))["table"] for _ in range(3)} == {"tradeBin1m"}


@pytest.mark.parametrize("mixed", [False, True])
async def test_one_message_may_carry_several_symbols(http: aiohttp.ClientSession, mixed: bool) -> None:
    clock = MarketClock.starting_at(NOON_US, speed=600)
    seen: dict[str, list[dict[str, Any]]] = {"XBTUSD": [], "ETHUSDT": []}
    sizes = set()
    async with (
        SimulatedMarket({"bitmex": SPECS[:2]}, clock=clock, rate_limits=False, mixed_frames=mixed) as market,
        Client(market, http).connect("?subscribe=trade:XBTUSD,trade:ETHUSDT") as socket,
    ):
        while sum(map(len, seen.values())) < 300:
            message = await table(socket)
            sizes.add(len({row["symbol"] for row in message["data"]}))
            for row in message["data"]:
                seen[row["symbol"]].append(row)
        for symbol, rows in zip(("BTC/USD:BTC", "ETH/USDT:USDT"), seen.values(), strict=True):
            known = [tuple(row) for row in market.truth("bitmex", symbol).trades(NOON_US - HOUR_US, NOON_US + DAY_US)]
            first = known.index(trade(rows[0]))
            assert [trade(row) for row in rows] == known[first : first + len(rows)]
    assert sizes == ({1, 2} if mixed else {1})


async def test_forty_connections_an_hour(http: aiohttp.ClientSession) -> None:
    async with SimulatedMarket({"bitmex": SPECS[3:4]}, clock=MarketClock.starting_at(NOON_US)) as market:
        client = Client(market, http)
        for left in range(39, -1, -1):
            async with client.connect() as socket:
                assert (await socket.receive_json(timeout=5))["limit"] == {"remaining": left}
        async with client.connect() as socket:
            refusal = json.loads((await socket.receive(timeout=5)).data)
            assert refusal["error"].startswith("Rate limit exceeded, retry in ")
            assert (await socket.receive(timeout=5)).data == 1008
