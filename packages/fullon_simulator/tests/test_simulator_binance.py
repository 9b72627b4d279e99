"""Binance's quirks, one test each, over real sockets."""

import asyncio
import itertools
import json
from typing import Any

import aiohttp
import pytest

from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec

DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
NOON_US = 1_767_268_800_000_000
NOON_MS = NOON_US // 1000


class Binance:
    """A plain client of the simulated Binance."""

    def __init__(self, market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
        self.market = market
        self._http = http
        self._origin = market.origin("binance")

    async def ask(self, path: str, **query: object) -> Any:
        status, body, _ = await self.whole(path, **query)
        assert status == 200, body
        return body

    async def whole(self, path: str, **query: object) -> tuple[int, Any, Any]:
        params = {name: str(value) for name, value in query.items()}
        async with self._http.get(self._origin + path, params=params) as answer:
            return answer.status, await answer.json(), answer.headers

    def connect(self, path: str = "/ws") -> Any:
        return self._http.ws_connect(self._origin.replace("http", "ws") + path)


@pytest.fixture
def binance(market: SimulatedMarket, http: aiohttp.ClientSession) -> Binance:
    return Binance(market, http)


@pytest.fixture
def fast_binance(fast_market: SimulatedMarket, http: aiohttp.ClientSession) -> Binance:
    return Binance(fast_market, http)


async def request(socket: Any, method: str, params: list[Any] | None = None, number: int = 1) -> Any:
    """Send a request and return its answer, passing over data."""
    await socket.send_json({"method": method, "params": params or [], "id": number})
    while "id" not in (message := await socket.receive_json(timeout=10)):
        pass
    return message


def candle(row: list[Any]) -> tuple[Any, ...]:
    return (row[0] * 1000, *(float(text) for text in row[1:6]), row[8])


# --- REST


async def test_ping_time_and_the_missing_futures(binance: Binance) -> None:
    assert await binance.ask("/api/v3/ping") == {}
    assert 0 <= (await binance.ask("/api/v3/time"))["serverTime"] - NOON_MS < 5_000
    for path in ("/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"):
        assert (await binance.ask(path))["symbols"] == []


async def test_exchange_info_lists_the_symbols(binance: Binance) -> None:
    symbols = {entry["symbol"]: entry for entry in (await binance.ask("/api/v3/exchangeInfo"))["symbols"]}
    assert symbols.keys() == {"BTCUSDT", "ETHUSDT", "DOGEUSDT", "BATUSDT", "NEWUSDT"}
    assert symbols["BTCUSDT"]["filters"][0]["tickSize"] == "0.10000000"
    (one,) = (await binance.ask("/api/v3/exchangeInfo", symbol="ETHUSDT"))["symbols"]
    assert one == symbols["ETHUSDT"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "NOPE", "interval": "1m"}, -1121),
        ({"interval": "1m"}, -1102),
        ({"symbol": "BTCUSDT"}, -1102),
        ({"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "1m", "startTime": "now"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": 0}, -1130),
    ],
)
async def test_errors_come_with_http_400_and_a_code(binance: Binance, query: dict[str, object], code: int) -> None:
    status, body, _ = await binance.whole("/api/v3/klines", **query)
    assert (status, body["code"]) == (400, code)
    if code == -1121:
        assert body == {"code": -1121, "msg": "Invalid symbol."}


async def test_klines_page_through_days_equal_to_the_truth(binance: Binance) -> None:
    """Quiet minutes are flat rows, so that a full page is 1,000 minutes."""
    for symbol in ("ETH/USDT", "DOGE/USDT"):
        start_us = NOON_US - 2 * DAY_US
        paged: list[Any] = []
        while (next_ms := paged[-1][0] + 60_000 if paged else start_us // 1000) < NOON_MS:
            rows = await binance.ask(
                "/api/v3/klines",
                symbol=symbol.replace("/", ""),
                interval="1m",
                startTime=next_ms,
                endTime=NOON_MS - 1,
                limit=1000,
            )
            assert [row[0] for row in rows] == [next_ms + 60_000 * n for n in range(len(rows))]
            paged += rows
        assert len(paged) == 2 * 1440
        truth = binance.market.truth("binance", symbol).candles(start_us, NOON_US)
        assert [candle(row) for row in paged if row[8]] == [tuple(row) for row in truth]
        for before, row in itertools.pairwise(paged):
            assert row[6] == row[0] + 59_999
            if not row[8]:
                assert row[1:6] == [before[4]] * 4 + ["0.00000000"]
                assert row[7:] == ["0.00000000", 0, "0.00000000", "0.00000000", "0"]


async def test_klines_bounds_are_inclusive_open_times_and_the_running_one_is_last(binance: Binance) -> None:
    async def opens(**query: int) -> list[int]:
        rows = await binance.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", **query)
        return [(row[0] - NOON_MS) // 60_000 for row in rows]

    assert await opens(startTime=NOON_MS - 300_000, endTime=NOON_MS - 120_000) == [-5, -4, -3, -2]
    assert await opens(startTime=NOON_MS - 299_999, endTime=NOON_MS - 120_001) == [-4, -3]
    assert await opens(startTime=NOON_MS - 300_000, limit=2) == [-5, -4]
    assert await opens(endTime=NOON_MS - 120_000, limit=2) == [-3, -2]
    assert (await opens())[-1] == 0
    assert len(await opens()) == 500
    assert len(await opens(limit=5_000)) == 1_000
    assert await opens(startTime=NOON_MS + 3_600_000) == []


async def test_klines_begin_with_the_listing(binance: Binance) -> None:
    rows = await binance.ask("/api/v3/klines", symbol="NEWUSDT", interval="1m", startTime=0, limit=5)
    listed_us = binance.market.truth("binance", "NEW/USDT").listed_at_us
    assert rows[0][0] * 1000 == listed_us // MINUTE_US * MINUTE_US
    assert rows[0][8] > 0


@pytest.mark.parametrize(("interval", "length_s"), [("5m", 300), ("1h", 3_600), ("1d", 86_400), ("1s", 1)])
async def test_klines_of_other_intervals_equal_the_truth(binance: Binance, interval: str, length_s: int) -> None:
    start_us = NOON_US // DAY_US * DAY_US - 30 * length_s * 1_000_000
    rows = await binance.ask(
        "/api/v3/klines", symbol="ETHUSDT", interval=interval, startTime=start_us // 1000, limit=30
    )
    end_us = start_us + 30 * length_s * 1_000_000
    truth = binance.market.truth("binance", "ETH/USDT").candles(start_us, end_us, length_s)
    assert [candle(row) for row in rows if row[8]] == [tuple(row) for row in truth]


async def test_weeks_begin_on_monday_and_months_on_the_first(binance: Binance) -> None:
    (week,) = await binance.ask("/api/v3/klines", symbol="DOGEUSDT", interval="1w", limit=1)
    (month,) = await binance.ask(
        "/api/v3/klines", symbol="DOGEUSDT", interval="1M", startTime=1_764_547_200_000, limit=1
    )
    assert week[0] == 1_766_966_400_000  # Monday 2025-12-29
    assert (month[0], month[6]) == (1_764_547_200_000, 1_767_225_599_999)  # December 2025
    days = binance.market.truth("binance", "DOGE/USDT").candles(month[0] * 1000, (month[6] + 1) * 1000, 86_400)
    assert month[8] == sum(day.trades for day in days)


async def test_agg_trades_page_by_id_equal_to_the_truth(binance: Binance) -> None:
    start_us = NOON_US - 4 * 3_600_000_000
    query = {"symbol": "BTCUSDT", "limit": 1000}
    paged = await binance.ask("/api/v3/aggTrades", **query, startTime=start_us // 1000, endTime=NOON_MS - 1)
    assert len(paged) == 1000
    while paged[-1]["T"] < NOON_MS:
        rows = await binance.ask("/api/v3/aggTrades", **query, fromId=paged[-1]["a"] + 1)
        if not rows:
            break
        paged += rows
    paged = [row for row in paged if row["T"] < NOON_MS]
    assert [row["a"] for row in paged] == list(range(paged[0]["a"], paged[0]["a"] + len(paged)))
    assert all(row["f"] == before["l"] + 1 for before, row in itertools.pairwise(paged))
    assert any(row["l"] > row["f"] for row in paged)
    truth = binance.market.truth("binance", "BTC/USDT")
    assert [
        (row["T"] * 1000, float(row["p"]), float(row["q"]), "sell" if row["m"] else "buy", "", str(row["a"]))
        for row in paged
    ] == [tuple(row) for row in truth.aggregates(start_us, NOON_US)]
    assert sum(row["l"] - row["f"] + 1 for row in paged) == len(truth.trades(start_us, NOON_US))


async def test_agg_trades_refuse_an_id_together_with_a_time(binance: Binance) -> None:
    status, body, _ = await binance.whole("/api/v3/aggTrades", symbol="BTCUSDT", fromId=1, startTime=NOON_MS)
    assert (status, body["code"]) == (400, -1128)
    newest = await binance.ask("/api/v3/aggTrades", symbol="BTCUSDT")
    assert len(newest) == 500


async def test_historical_trades_are_the_single_trades(binance: Binance) -> None:
    truth = binance.market.truth("binance", "ETH/USDT").trades(NOON_US - 3_600_000_000, NOON_US)
    rows = await binance.ask("/api/v3/historicalTrades", symbol="ETHUSDT", fromId=truth[0].trade_id, limit=500)
    assert [
        (row["time"] * 1000, float(row["price"]), float(row["qty"]), row["isBuyerMaker"], str(row["id"]))
        for row in rows
    ] == [(t.timestamp_us, t.price, t.volume, t.side == "sell", t.trade_id) for t in truth[:500]]
    recent = await binance.ask("/api/v3/trades", symbol="ETHUSDT", limit=3)
    assert [row["id"] - recent[0]["id"] for row in recent] == [0, 1, 2]


async def test_weight_is_counted_refused_and_at_last_banned(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US + 1_000_000)
    async with SimulatedMarket({"binance": 1}, clock=clock) as market:
        binance = Binance(market, http)
        status, _, headers = await binance.whole("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1)
        assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "2")
        for used in range(27, 6_000, 25):
            status, _, headers = await binance.whole("/api/v3/trades", symbol="BTCUSDT", limit=1)
            assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, str(used))
        statuses = []
        for _ in range(13):
            status, body, headers = await binance.whole("/api/v3/trades", symbol="BTCUSDT", limit=1)
            assert body["code"] == -1003
            assert 0 < int(headers["Retry-After"]) <= (60 if status == 429 else 120)
            statuses.append(status)
    assert statuses == [429] * 10 + [418] * 3
    assert market.requests("binance").refused == 13


async def test_the_weight_window_keeps_pace_with_the_clock(http: aiohttp.ClientSession) -> None:
    async with SimulatedMarket({"binance": 1}, clock=MarketClock.starting_at(NOON_US, speed=400)) as market:
        binance = Binance(market, http)
        used: list[int] = []
        async with asyncio.timeout(10):
            while used.count(1) < 2:
                used.append(int((await binance.whole("/api/v3/time"))[2]["X-MBX-USED-WEIGHT-1M"]))


# --- streams


async def test_subscribe_is_acknowledged_once_for_all_streams(binance: Binance) -> None:
    streams = ["btcusdt@trade", "btcusdt@aggTrade", "btcusdt@kline_1m"]
    async with binance.connect() as socket:
        assert await request(socket, "SUBSCRIBE", streams, 9) == {"result": None, "id": 9}
        assert (await request(socket, "LIST_SUBSCRIPTIONS"))["result"] == streams
        assert await request(socket, "UNSUBSCRIBE", streams[:1]) == {"result": None, "id": 1}
        assert (await request(socket, "LIST_SUBSCRIPTIONS"))["result"] == streams[1:]
    assert binance.market.requests("binance").subscriptions == 3


@pytest.mark.parametrize(
    "message",
    [
        '{"method":"SUBSCRIBE","params":["btcusdt@nothing"],"id":4}',
        '{"method":"SUBSCRIBE","params":["btcusdt@kline_7m"],"id":4}',
        '{"method":"SUBSCRIBE","params":"btcusdt@trade","id":4}',
        '{"method":"DANCE","id":4}',
        '{"params":[],"id":4}',
    ],
)
async def test_wrong_requests_are_refused_and_the_socket_stays(binance: Binance, message: str) -> None:
    async with binance.connect() as socket:
        await socket.send_str(message)
        refused = await socket.receive_json(timeout=5)
        assert (refused["error"]["code"], refused["id"]) == (2, 4)
        await socket.send_str("{")
        assert (await socket.receive_json(timeout=5))["error"]["code"] == 3
        assert await request(socket, "SUBSCRIBE", ["btcusdt@trade"]) == {"result": None, "id": 1}


async def test_a_stream_of_an_unknown_symbol_is_acknowledged_and_silent(fast_binance: Binance) -> None:
    async with fast_binance.connect() as socket:
        assert await request(socket, "SUBSCRIBE", ["nopeusdt@trade"]) == {"result": None, "id": 1}
        # The client's own timeout begins anew with each ping of the server.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await socket.receive_json()


async def test_trades_and_aggregates_are_the_truth_without_a_hole(fast_binance: Binance) -> None:
    market = fast_binance.market
    trades: list[Any] = []
    aggregates: list[Any] = []
    async with fast_binance.connect() as socket:
        await request(socket, "SUBSCRIBE", ["btcusdt@trade", "btcusdt@aggTrade"])
        from_us = market.clock.now_us()
        while market.clock.now_us() < from_us + 2 * MINUTE_US:
            event = await socket.receive_json(timeout=10)
            assert event["E"] >= event["T"]
            (trades if event["e"] == "trade" else aggregates).append(event)
    truth = market.truth("binance", "BTC/USDT")
    start_us = trades[0]["T"] * 1000
    assert start_us - from_us < MINUTE_US // 3
    sides = {True: "sell", False: "buy"}
    assert [(e["T"] * 1000, float(e["p"]), float(e["q"]), sides[e["m"]], str(e["t"])) for e in trades] == [
        (*t[:4], t.trade_id) for t in truth.trades(start_us, NOON_US + DAY_US)[: len(trades)]
    ]
    assert [(e["T"] * 1000, float(e["p"]), float(e["q"]), sides[e["m"]], "", str(e["a"])) for e in aggregates] == [
        tuple(row) for row in truth.aggregates(start_us, NOON_US + DAY_US)[: len(aggregates)]
    ]
    assert aggregates[0]["f"] == trades[0]["t"]
    assert all(e["f"] == before["l"] + 1 for before, e in itertools.pairwise(aggregates))


@pytest.mark.parametrize(
    ("path", "wrapped"),
    [
        ("/ws/btcusdt@trade", False),
        ("/stream?streams=btcusdt@trade/ethusdt@trade", True),
        ("/ws/ethusdt@trade/btcusdt@trade", False),
    ],
)
async def test_streams_named_in_the_address_need_no_request(fast_binance: Binance, path: str, wrapped: bool) -> None:
    async with fast_binance.connect(path) as socket:
        seen = [await socket.receive_json(timeout=10) for _ in range(20)]
    assert all(("stream" in message) == wrapped for message in seen)
    if wrapped:
        assert {message["stream"] for message in seen} <= {"btcusdt@trade", "ethusdt@trade"}
        seen = [message["data"] for message in seen]
    assert {event["e"] for event in seen} == {"trade"}


async def test_combined_can_be_switched_on(fast_binance: Binance) -> None:
    async with fast_binance.connect() as socket:
        assert (await request(socket, "GET_PROPERTY", ["combined"]))["result"] is False
        assert (await request(socket, "SET_PROPERTY", ["combined", True]))["result"] is None
        await request(socket, "SUBSCRIBE", ["btcusdt@trade"])
        assert (await socket.receive_json(timeout=10))["stream"] == "btcusdt@trade"
        assert (await request(socket, "SET_PROPERTY", ["combined", 1]))["error"]["code"] == 1
        assert (await request(socket, "GET_PROPERTY", ["colour"]))["error"]["code"] == 0


async def test_klines_update_every_two_seconds_and_close_once_with_the_truth(fast_binance: Binance) -> None:
    """Every minute closes, quiet ones with no trades and no ids."""
    market, names = fast_binance.market, ("BTC/USDT", "BAT/USDT")
    closed: dict[str, list[Any]] = {name.replace("/", ""): [] for name in names}
    told: list[int] = []
    async with fast_binance.connect() as socket:
        await request(socket, "SUBSCRIBE", ["btcusdt@kline_1m", "batusdt@kline_1m"])
        while any(len(klines) < 3 for klines in closed.values()):
            event = await socket.receive_json(timeout=20)
            if event["k"]["x"]:
                closed[event["s"]].append(event["k"])
            else:
                assert event["s"] == "BTCUSDT"
                told.append(event["E"])
    assert all(after - before >= 1_900 for before, after in itertools.pairwise(told))
    assert 20 < len(told) < 100
    for name in names:
        klines = closed[name.replace("/", "")]
        assert [k["t"] for k in klines] == [klines[0]["t"] + 60_000 * n for n in range(len(klines))]
        start_us, end_us = klines[0]["t"] * 1000, (klines[-1]["T"] + 1) * 1000
        truth = market.truth("binance", name)
        assert [
            (k["t"] * 1000, float(k["o"]), float(k["h"]), float(k["l"]), float(k["c"]), float(k["v"]), k["n"])
            for k in klines
            if k["n"]
        ] == [tuple(row) for row in truth.candles(start_us, end_us)]
        for k in klines:
            if k["n"]:
                inside = truth.trades(k["t"] * 1000, (k["T"] + 1) * 1000)
                assert (str(k["f"]), str(k["L"])) == (inside[0].trade_id, inside[-1].trade_id)
            else:
                assert (k["f"], k["L"], k["v"], k["o"]) == (-1, -1, "0.00000000", k["c"])
    assert not any(k["n"] for k in closed["BATUSDT"])


async def test_other_kline_intervals_close_on_their_own_bounds(fast_binance: Binance) -> None:
    async with fast_binance.connect() as socket:
        await request(socket, "SUBSCRIBE", ["btcusdt@kline_3m"])
        while not (event := await socket.receive_json(timeout=20))["k"]["x"]:
            pass
    kline = event["k"]
    assert (kline["i"], kline["t"] % 180_000, kline["T"]) == ("3m", 0, kline["t"] + 179_999)
    (truth,) = fast_binance.market.truth("binance", "BTC/USDT").candles(kline["t"] * 1000, (kline["T"] + 1) * 1000, 180)
    assert (float(kline["v"]), kline["n"]) == (truth.volume, truth.trades)


async def test_the_ticker_sums_up_the_past_day_once_a_second(fast_binance: Binance) -> None:
    market = fast_binance.market
    async with fast_binance.connect() as socket:
        await request(socket, "SUBSCRIBE", ["btcusdt@ticker"])
        events = [await socket.receive_json(timeout=10) for _ in range(5)]
    assert all(after["E"] - before["E"] >= 950 for before, after in itertools.pairwise(events))
    last = events[-1]
    assert last["C"] - last["O"] - DAY_US // 1000 in range(60_000)
    truth = market.truth("binance", "BTC/USDT").trades(last["O"] * 1000, last["C"] * 1000 + 60_000_000)
    inside = [trade for trade in truth if int(trade.trade_id) <= last["L"]]
    assert (last["n"], str(last["F"])) == (len(inside), inside[0].trade_id)
    assert (float(last["o"]), float(last["c"])) == (inside[0].price, inside[-1].price)
    assert (float(last["h"]), float(last["l"])) == (
        max(trade.price for trade in inside),
        min(trade.price for trade in inside),
    )
    assert float(last["v"]) == pytest.approx(sum(trade.volume for trade in inside))
    assert float(last["b"]) < float(last["a"])


async def test_a_stream_asked_for_before_the_listing_stays_silent(http: aiohttp.ClientSession) -> None:
    """The unknown stream is remembered; leaving while others listen to the listed one harms nobody."""
    clock = MarketClock.starting_at(NOON_US, speed=60)
    specs = [SymbolSpec("LATE/USDT", 500_000, listed_at_us=NOON_US + MINUTE_US // 2)]
    async with SimulatedMarket({"binance": specs}, clock=clock, rate_limits=False) as market:
        binance = Binance(market, http)
        async with binance.connect() as late:
            async with binance.connect() as early:
                await request(early, "SUBSCRIBE", ["lateusdt@trade"])
                while (await binance.whole("/api/v3/klines", symbol="LATEUSDT", interval="1m"))[0] == 400:
                    pass
                await request(late, "SUBSCRIBE", ["lateusdt@trade"])
                await late.receive_json(timeout=10)
                assert (await request(early, "LIST_SUBSCRIPTIONS"))["result"] == ["lateusdt@trade"]
            assert (await late.receive_json(timeout=10))["e"] == "trade"


async def test_a_connection_holds_1024_streams(http: aiohttp.ClientSession) -> None:
    async with SimulatedMarket({"binance": 1_030}, clock=MarketClock.starting_at(NOON_US)) as market:
        streams = [f"{symbol.replace('/', '').lower()}@trade" for symbol in market.symbols("binance")]
        async with Binance(market, http).connect() as socket:
            assert (await request(socket, "SUBSCRIBE", streams[:1_024]))["result"] is None
            assert (await request(socket, "SUBSCRIBE", streams[:1_025]))["error"]["code"] == 2


async def test_more_than_five_messages_a_second_end_the_connection(http: aiohttp.ClientSession) -> None:
    async with (
        SimulatedMarket({"binance": 1}, clock=MarketClock.starting_at(NOON_US)) as market,
        Binance(market, http).connect() as socket,
    ):
        for number in range(20):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        answers = 0
        while (message := await socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            answers += 1
        assert answers < 20
        assert (message.data, message.extra) == (1008, "Too many requests")


async def test_the_server_pings_every_twenty_seconds(fast_market: SimulatedMarket) -> None:
    async with aiohttp.ClientSession() as session:
        url = fast_market.origin("binance").replace("http", "ws") + "/ws"
        async with session.ws_connect(url, autoping=False) as socket:
            from_us = fast_market.clock.now_us()
            for _ in range(3):
                message = await socket.receive(timeout=5)
                assert message.type is aiohttp.WSMsgType.PING
                await socket.pong(message.data)
            assert 55_000_000 < fast_market.clock.now_us() - from_us < 75_000_000
            await socket.ping(b"are you there")
            message = await socket.receive(timeout=5)
            assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"are you there")


async def test_prices_are_strings_of_eight_decimals(binance: Binance) -> None:
    (row,) = await binance.ask("/api/v3/aggTrades", symbol="BTCUSDT", limit=1)
    (kline,) = await binance.ask("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1)
    for text in (row["p"], row["q"], *kline[1:6], kline[7], kline[9], kline[10]):
        assert len(text.partition(".")[2]) == 8


async def test_every_frame_and_answer_passes_the_outlet(market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
    """The place where faults are put: what it returns is what the client gets."""
    from aiohttp import web

    from fullon_simulator import Connection, Frame, Outlet

    class Repeating(Outlet):
        def frames(self, connection: Connection, frame: Frame) -> tuple[Frame, ...]:
            return (frame, frame) if frame.channel == "trade" else (frame,)

        async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
            return web.Response(text="<html>", content_type="text/html", status=502)

    market.venue("binance").outlet = Repeating()
    binance = Binance(market, http)
    async with http.get(market.origin("binance") + "/api/v3/time") as answer:
        assert (answer.status, await answer.text()) == (502, "<html>")
    async with binance.connect() as socket:
        await request(socket, "SUBSCRIBE", ["btcusdt@trade"])
        assert json.dumps(await socket.receive_json(timeout=20)) == json.dumps(await socket.receive_json(timeout=5))


async def test_a_symbol_listed_later_appears_when_its_time_comes(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US, speed=60)
    specs = [SymbolSpec("LATE/USDT", 50_000, listed_at_us=NOON_US + MINUTE_US)]
    async with SimulatedMarket({"binance": specs}, clock=clock, rate_limits=False) as market:
        binance = Binance(market, http)
        assert (await binance.ask("/api/v3/exchangeInfo"))["symbols"] == []
        assert (await binance.whole("/api/v3/aggTrades", symbol="LATEUSDT"))[1]["code"] == -1121
        while clock.now_us() < NOON_US + MINUTE_US + 5_000_000:
            assert market.truth("binance", "LATE/USDT").candles(0, NOON_US + DAY_US) == []
            await binance.ask("/api/v3/ping")
        rows = await binance.ask("/api/v3/aggTrades", symbol="LATEUSDT", fromId=1)
        assert rows[0]["T"] * 1000 == NOON_US + MINUTE_US
