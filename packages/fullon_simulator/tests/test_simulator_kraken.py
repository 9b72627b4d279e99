"""Kraken's quirks, one test each, over real sockets."""

import asyncio
import json
import time
from decimal import Decimal
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import aiohttp
import pytest

from fullon_simulator import Connection, MarketClock, SimulatedMarket, SymbolSpec

DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
NOON_US = 1_767_268_800_000_000


class Kraken:
    """A plain client of the simulated Kraken."""

    def __init__(self, market: SimulatedMarket, http: aiohttp.ClientSession) -> None:
        self.market = market
        self._http = http
        self._origin = market.origin("kraken")

    async def ask(self, method: str, **query: object) -> dict[str, Any]:
        params = {name: str(value) for name, value in query.items()}
        async with self._http.get(f"{self._origin}/0/public/{method}", params=params) as answer:
            assert answer.status == 200
            body: dict[str, Any] = json.loads(await answer.text(), parse_float=Decimal)
            return body

    async def rows(self, method: str, pair: str, **query: object) -> tuple[list[Any], Any]:
        body = await self.ask(method, pair=pair, **query)
        assert body["error"] == []
        last = body["result"].pop("last")
        (rows,) = body["result"].values()
        return rows, last

    def connect(self) -> Any:
        return self._http.ws_connect(self._origin.replace("http", "ws") + "/v2")


@pytest.fixture
def kraken(market: SimulatedMarket, http: aiohttp.ClientSession) -> Kraken:
    return Kraken(market, http)


@pytest.fixture
def fast_kraken(fast_market: SimulatedMarket, http: aiohttp.ClientSession) -> Kraken:
    return Kraken(fast_market, http)


async def subscribe(socket: Any, channel: str, symbols: list[str], **params: object) -> list[dict[str, Any]]:
    """Send a subscription and return as many answers as there are symbols."""
    request = {"method": "subscribe", "params": {"channel": channel, "symbol": symbols, **params}, "req_id": 7}
    await socket.send_json(request)
    return [await answer(socket) for _ in symbols]


async def answer(socket: Any) -> dict[str, Any]:
    """Return the next message that is no data."""
    while "method" not in (message := await socket.receive_json(timeout=10)):
        pass
    return message  # type: ignore[no-any-return]


async def data(socket: Any, channel: str, kind: str = "update") -> dict[str, Any]:
    """Return the next message of a channel."""
    while True:
        message: dict[str, Any] = await socket.receive_json(timeout=20)
        if message.get("channel") == channel and message.get("type", kind) == kind:
            return message


# --- REST


async def test_time_and_status_are_the_clocks(kraken: Kraken) -> None:
    shown = await kraken.ask("Time")
    assert shown["result"]["unixtime"] - NOON_US // 1_000_000 in (0, 1, 2)
    assert shown["result"]["rfc1123"].startswith("Thu, 01 Jan 2026 12:00:0")
    assert (await kraken.ask("SystemStatus"))["result"]["status"] == "online"


async def test_assets_and_pairs_have_krakens_own_names(kraken: Kraken) -> None:
    assets = (await kraken.ask("Assets"))["result"]
    assert assets["XXBT"]["altname"] == "XBT"
    assert assets["ZUSD"]["altname"] == "USD"
    pairs = (await kraken.ask("AssetPairs"))["result"]
    assert {"XXBTZUSD", "XETHZUSD", "XDGUSD", "BATUSD"} < pairs.keys()
    assert pairs["XXBTZUSD"]["wsname"] == "XBT/USD"
    assert pairs["XXBTZUSD"]["pair_decimals"] == 1
    one = (await kraken.ask("AssetPairs", pair="XBTUSD"))["result"]
    assert one == {"XXBTZUSD": pairs["XXBTZUSD"]}


async def test_errors_come_with_http_200(kraken: Kraken) -> None:
    assert await kraken.ask("OHLC", pair="NOPE") == {"error": ["EQuery:Unknown asset pair"]}
    assert await kraken.ask("Trades", pair="NOPE") == {"error": ["EQuery:Unknown asset pair"]}
    assert await kraken.ask("AssetPairs", pair="XBTUSD,NOPE") == {"error": ["EQuery:Unknown asset pair"]}
    for wrong in ({"interval": 7}, {"interval": "x"}, {"since": "yesterday"}):
        assert await kraken.ask("OHLC", pair="XBTUSD", **wrong) == {"error": ["EGeneral:Invalid arguments"]}
    for wrong in ({"count": 1001}, {"count": 0}, {"since": "-1"}):
        assert await kraken.ask("Trades", pair="XBTUSD", **wrong) == {"error": ["EGeneral:Invalid arguments"]}
    assert await kraken.ask("Nothing") == {"error": ["EGeneral:Unknown method"]}


@pytest.mark.parametrize("since", [0, NOON_US // 1_000_000 - 86_400])
async def test_ohlc_is_the_newest_720_rows_whatever_since_says(kraken: Kraken, since: int) -> None:
    rows, last = await kraken.rows("OHLC", "XXBTZUSD", interval=1, since=since)
    running_s = kraken.market.clock.now_us() // MINUTE_US * 60
    assert [row[0] for row in rows] == [running_s - 60 * back for back in range(719, -1, -1)]
    assert last == rows[-2][0]


async def test_ohlc_since_is_exclusive_and_the_running_row_is_always_there(kraken: Kraken) -> None:
    running_s = kraken.market.clock.now_us() // MINUTE_US * 60
    rows, _ = await kraken.rows("OHLC", "XBTUSD", since=running_s - 180)
    assert [row[0] for row in rows] == [running_s - 120, running_s - 60, running_s]
    rows, _ = await kraken.rows("OHLC", "XBTUSD", since=running_s + 3_600)
    assert [row[0] for row in rows] == [running_s]


async def test_ohlc_rows_equal_the_truth_and_empty_minutes_are_flat(kraken: Kraken) -> None:
    for pair, symbol in [("XXBTZUSD", "BTC/USD"), ("XDGUSD", "DOGE/USD"), ("NEWUSD", "NEW/USD")]:
        truth = kraken.market.truth("kraken", symbol)
        rows, _ = await kraken.rows("OHLC", pair)
        closed, empty = {}, 0
        for (time_s, *prices, vwap, volume, count), before in zip(rows[1:-1], rows, strict=False):
            if count:
                closed[time_s * 1_000_000] = [*(float(price) for price in prices), float(volume), count]
                assert float(prices[2]) <= float(vwap) <= float(prices[1])
            else:
                empty += 1
                assert (prices, vwap, volume) == ([before[4]] * 4, "0.0", "0.00000000")
        candles = truth.candles(rows[1][0] * 1_000_000, rows[-1][0] * 1_000_000)
        assert {candle[0]: list(candle[1:]) for candle in candles} == closed
        assert empty


async def test_ohlc_begins_with_the_listing(kraken: Kraken) -> None:
    rows, _ = await kraken.rows("OHLC", "NEWUSD")
    assert rows[0][0] == kraken.market.truth("kraken", "NEW/USD").listed_at_us // MINUTE_US * 60
    assert rows[0][7] > 0


@pytest.mark.parametrize("minutes", [5, 60, 1440, 10_080])
async def test_ohlc_of_longer_intervals_equals_the_truth(kraken: Kraken, minutes: int) -> None:
    rows, _ = await kraken.rows("OHLC", "XDGUSD", interval=minutes, since=NOON_US // 1_000_000 - 40 * 86_400)
    candles = kraken.market.truth("kraken", "DOGE/USD").candles(rows[0][0] * 1_000_000, NOON_US, minutes * 60)
    closed = [row for row in rows[:-1] if row[7]]
    assert [(row[0] * 1_000_000, float(row[1]), float(row[6]), row[7]) for row in closed] == [
        (candle.timestamp_us, candle.open, candle.volume, candle.trades) for candle in candles
    ]


async def test_trades_page_by_the_nanosecond_cursor_without_loss_or_repeat(kraken: Kraken) -> None:
    """Pages end in the middle of instants; the cursor tells trades of one microsecond apart."""
    start_us = NOON_US - 2 * 3_600_000_000
    for count in (1000, 77):
        paged: list[Any] = []
        cursor = str(start_us * 1000 - 1)
        while True:
            rows, cursor = await kraken.rows("Trades", "XBTUSD", since=cursor, count=count)
            assert len(rows) <= count
            paged += rows
            if not rows or rows[-1][2] * 1_000_000 >= NOON_US:
                break
        truth = kraken.market.truth("kraken", "BTC/USD").trades(start_us, NOON_US)
        assert len(truth) > 2_000
        assert [
            (int(time_s * 1_000_000), float(price), float(volume), side, kind, str(trade_id))
            for price, volume, time_s, side, kind, _, trade_id in paged
            if time_s * 1_000_000 < NOON_US
        ] == [(*trade[:3], trade.side[0], trade.order_type[0], trade.trade_id) for trade in truth]


async def test_more_than_a_page_of_trades_within_one_second(http: aiohttp.ClientSession) -> None:
    spec = SymbolSpec("BTC/USD", 5_000, burst_share=0.9)
    clock = MarketClock.starting_at(NOON_US // DAY_US * DAY_US)
    async with SimulatedMarket({"kraken": [spec]}, clock=clock) as market:
        kraken = Kraken(market, http)
        truth = market.truth("kraken", "BTC/USD").trades(clock.now_us() - DAY_US, clock.exchange_us)
        paged: list[Any] = []
        cursor = str((clock.exchange_us - DAY_US) * 1000)
        for _ in range(8):
            rows, cursor = await kraken.rows("Trades", "XBTUSD", since=cursor)
            paged += rows
        times_us = [trade.timestamp_us for trade in truth]
        assert any(later - time_us < 1_000_000 for time_us, later in zip(times_us, times_us[2_500:], strict=False))
        assert [row[6] for row in paged][: len(truth)] == [int(trade.trade_id) for trade in truth]


async def test_trades_prints_seven_decimals_and_reads_seconds_and_nanoseconds(kraken: Kraken) -> None:
    url = f"{kraken.market.origin('kraken')}/0/public/Trades?pair=XBTUSD&since={NOON_US // 1_000_000 - 60}&count=1"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    first = json.loads(text, parse_float=str)["result"]["XXBTZUSD"][0]
    assert len(first[2].partition(".")[2]) == 7
    assert len(first[0].partition(".")[2]) == 5
    assert len(first[1].partition(".")[2]) == 8
    by_nanoseconds, _ = await kraken.rows("Trades", "XBTUSD", since=(NOON_US - MINUTE_US) * 1000, count=1)
    assert by_nanoseconds[0][6] == first[6]


async def test_trades_without_since_are_the_newest_and_at_the_end_there_are_none(kraken: Kraken) -> None:
    rows, last = await kraken.rows("Trades", "XBTUSD", count=10)
    assert len(rows) == 10
    assert int(last) >= int(rows[-1][2] * 1_000_000_000)
    future = (kraken.market.clock.now_us() + DAY_US) * 1000
    assert await kraken.rows("Trades", "XBTUSD", since=future) == ([], str(future))


async def test_trades_from_zero_begin_with_the_first_trade(kraken: Kraken) -> None:
    rows, _ = await kraken.rows("Trades", "NEWUSD", since=0)
    assert rows[0][6] == 1
    assert int(rows[0][2] * 1_000_000) == kraken.market.truth("kraken", "NEW/USD").listed_at_us


async def test_a_pair_listed_tomorrow_is_unknown_today(http: aiohttp.ClientSession) -> None:
    specs = [SymbolSpec("BTC/USD"), SymbolSpec("LATE/USD", listed_at_us=NOON_US + DAY_US)]
    async with SimulatedMarket({"kraken": specs}, clock=MarketClock.starting_at(NOON_US)) as market:
        kraken = Kraken(market, http)
        assert list((await kraken.ask("AssetPairs"))["result"]) == ["XXBTZUSD"]
        assert (await kraken.ask("Trades", pair="LATEUSD"))["error"] == ["EQuery:Unknown asset pair"]


async def test_rest_allows_a_burst_and_then_one_call_a_second_of_the_clock(http: aiohttp.ClientSession) -> None:
    clock = MarketClock.starting_at(NOON_US, speed=20)
    async with SimulatedMarket({"kraken": 1}, clock=clock) as market:
        kraken = Kraken(market, http)
        started_us = clock.now_us()
        answers = [await kraken.ask("Time") for _ in range(60)]
        passed_s = (clock.now_us() - started_us) / 1_000_000
        allowed = sum(not body["error"] for body in answers)
        assert 15 <= allowed <= 15 + passed_s
        assert answers[-1]["error"] in ([], ["EGeneral:Too many requests"])
        counters = market.requests("kraken")
        assert counters.paths["/0/public/Time"] == 60
        assert counters.refused == 60 - allowed > 0


# --- WebSocket v2


async def test_the_status_comes_first(kraken: Kraken) -> None:
    async with kraken.connect() as socket:
        status = await socket.receive_json(timeout=5)
    assert (status["channel"], status["type"], status["data"][0]["system"]) == ("status", "update", "online")


async def test_each_symbol_is_acknowledged_or_refused_by_itself(kraken: Kraken) -> None:
    async with kraken.connect() as socket:
        answers = await subscribe(socket, "trade", ["BTC/USD", "XBT/USD", "ETH/USD"])
        assert [(a["req_id"], a["success"]) for a in answers] == [(7, True), (7, False), (7, True)]
        assert answers[0]["result"] == {"channel": "trade", "symbol": "BTC/USD", "snapshot": False}
        assert (answers[1]["error"], answers[1]["symbol"]) == ("Currency pair not supported XBT/USD", "XBT/USD")
        assert {"time_in", "time_out"} < answers[0].keys()
        again = await subscribe(socket, "trade", ["BTC/USD"])
        assert (again[0]["success"], again[0]["error"]) == (False, "Already subscribed")
    assert kraken.market.requests("kraken").subscriptions == 2


async def test_wrong_messages_are_refused_and_the_socket_stays(kraken: Kraken) -> None:
    async with kraken.connect() as socket:
        for text in (
            "{",
            "[]",
            '{"method":7}',
            '{"method":"subscribe"}',
            '{"method":"subscribe","params":{"channel":"x"}}',
        ):
            await socket.send_str(text)
            assert (await answer(socket))["success"] is False
        (refused,) = await subscribe(socket, "ohlc", ["BTC/USD"], interval=7)
        assert refused["error"] == "Interval 7 is not supported"
        (fine,) = await subscribe(socket, "ohlc", ["BTC/USD"])
        assert fine["success"]


async def test_ping_is_answered_with_the_times(kraken: Kraken) -> None:
    async with kraken.connect() as socket:
        await socket.send_json({"method": "ping", "req_id": 3})
        pong = await answer(socket)
    assert (pong["method"], pong["req_id"]) == ("pong", 3)
    assert pong["time_in"] <= pong["time_out"]
    assert pong["time_in"].startswith("2026-01-01T12:00:")


async def test_a_snapshot_is_the_last_fifty_and_only_sent_when_asked_for(kraken: Kraken) -> None:
    async with kraken.connect() as socket:
        await subscribe(socket, "trade", ["BTC/USD"], snapshot=True)
        snapshot = await data(socket, "trade", "snapshot")
        first = await data(socket, "trade")
    ids = [trade["trade_id"] for trade in snapshot["data"]]
    assert ids == list(range(ids[0], ids[0] + 50))
    assert first["data"][0]["trade_id"] == ids[-1] + 1
    async with kraken.connect() as socket:
        await subscribe(socket, "trade", ["BTC/USD"])
        assert (await socket.receive_json(timeout=20)).get("type") != "snapshot"


async def test_live_trades_are_the_truth_without_a_hole(fast_kraken: Kraken) -> None:
    market = fast_kraken.market
    received: dict[str, list[Any]] = {"BTC/USD": [], "ETH/USD": []}
    async with fast_kraken.connect() as socket:
        await subscribe(socket, "trade", list(received))
        from_us = market.clock.now_us()
        end_us = market.clock.now_us() + 2 * MINUTE_US
        while market.clock.now_us() < end_us:
            message = await data(socket, "trade")
            assert len({trade["symbol"] for trade in message["data"]}) == 1
            for trade in message["data"]:
                received[trade["symbol"]].append(trade)
    for symbol, trades in received.items():
        truth = market.truth("kraken", symbol).trades(from_us - MINUTE_US, end_us + MINUTE_US)
        first, last = str(trades[0]["trade_id"]), str(trades[-1]["trade_id"])
        ids = [trade.trade_id for trade in truth]
        expected = truth[ids.index(first) : ids.index(last) + 1]
        assert [(t["price"], t["qty"], t["side"], t["ord_type"], str(t["trade_id"])) for t in trades] == [
            tuple(trade[1:]) for trade in expected
        ]
        assert [t["timestamp"] for t in trades] == [iso(trade.timestamp_us) for trade in expected]
        assert trades[0]["trade_id"] <= int(next(t.trade_id for t in truth if t.timestamp_us >= from_us))


def iso(time_us: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_us // 1_000_000)) + f".{time_us % 1_000_000:06d}Z"


async def test_mixed_frames_carry_trades_of_several_symbols(http: aiohttp.ClientSession) -> None:
    specs = [SymbolSpec(f"C{number}/USD", 100_000) for number in range(5)]
    clock = MarketClock.starting_at(NOON_US, speed=30)
    async with (
        SimulatedMarket({"kraken": specs}, clock=clock, mixed_frames=True) as market,
        Kraken(market, http).connect() as socket,
    ):
        await subscribe(socket, "trade", [spec.symbol for spec in specs])
        received: dict[str, list[int]] = {spec.symbol: [] for spec in specs}
        mixed = 0
        for _ in range(40):
            message = await data(socket, "trade")
            mixed += len({trade["symbol"] for trade in message["data"]}) > 1
            for trade in message["data"]:
                received[trade["symbol"]].append(trade["trade_id"])
    assert mixed
    for ids in received.values():
        assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_a_candle_is_repeated_while_it_runs_and_its_last_update_is_the_truth(fast_kraken: Kraken) -> None:
    market, last = fast_kraken.market, {}
    async with fast_kraken.connect() as socket:
        await subscribe(socket, "ohlc", ["BTC/USD", "ETH/USD"], interval=1)
        snapshot = await data(socket, "ohlc", "snapshot")
        assert 5 <= len(snapshot["data"]) <= 10
        from_us = market.clock.now_us() // MINUTE_US * MINUTE_US
        end_us = from_us + 3 * MINUTE_US
        updates = 0
        while market.clock.now_us() < end_us + MINUTE_US // 2:
            for candle in (await data(socket, "ohlc"))["data"]:
                assert candle["interval"] == 1
                last[candle["symbol"], candle["interval_begin"]] = candle
                updates += 1
    assert updates > 2 * len(last)
    for symbol in ("BTC/USD", "ETH/USD"):
        for truth in market.truth("kraken", symbol).candles(from_us, end_us):
            begin = iso(truth.timestamp_us).replace("Z", "000Z")
            candle = last[symbol, begin]
            assert tuple(candle[name] for name in ("open", "high", "low", "close", "volume", "trades")) == truth[1:]
            assert candle["timestamp"] == iso(truth.timestamp_us + MINUTE_US)


async def test_quiet_markets_send_heartbeats_and_no_candles(fast_kraken: Kraken) -> None:
    """A heartbeat comes about once a second of the clock, and only once something is subscribed."""
    async with fast_kraken.connect() as socket:
        assert (await socket.receive_json(timeout=5))["channel"] == "status"
        with pytest.raises(TimeoutError):
            await socket.receive_json(timeout=0.3)
    async with fast_kraken.connect() as socket:
        await subscribe(socket, "ohlc", ["BAT/USD"], snapshot=False)
        from_us = fast_kraken.market.clock.now_us()
        for _ in range(60):
            assert await socket.receive_json(timeout=5) == {"channel": "heartbeat"}
        passed_s = (fast_kraken.market.clock.now_us() - from_us) / 1_000_000
    assert 55 < passed_s < 120


async def test_the_ticker_sums_up_the_past_day_with_every_trade(fast_kraken: Kraken) -> None:
    async with fast_kraken.connect() as socket:
        await subscribe(socket, "ticker", ["BTC/USD"])
        (first,) = (await data(socket, "ticker", "snapshot"))["data"]
        (second,) = (await data(socket, "ticker"))["data"]
    assert first["timestamp"] < second["timestamp"]
    end_us = fast_kraken.market.clock.now_us()
    truth = fast_kraken.market.truth("kraken", "BTC/USD").trades(end_us - DAY_US - 5 * MINUTE_US, end_us)
    assert second["low"] == min(trade.price for trade in truth)
    last = next(trade for trade in reversed(truth) if iso(trade.timestamp_us) == second["timestamp"])
    assert last.price == second["last"]
    assert second["bid"] < second["ask"]
    assert second["low"] <= second["vwap"] <= second["high"]
    assert second["volume"] == pytest.approx(sum(trade.volume for trade in truth), rel=0.01)


async def test_unsubscribe_ends_the_trades(fast_kraken: Kraken) -> None:
    async with fast_kraken.connect() as socket:
        await subscribe(socket, "trade", ["BTC/USD"])
        await data(socket, "trade")
        request = {"method": "unsubscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}, "req_id": 8}
        await socket.send_json(request)
        ended = await answer(socket)
        assert (ended["method"], ended["success"], ended["req_id"]) == ("unsubscribe", True, 8)
        await socket.send_json(request)
        assert (await answer(socket))["error"] == "Subscription Not Found"
        with pytest.raises(TimeoutError):
            await socket.receive_json(timeout=0.5)
    assert not fast_kraken.market.venue("kraken")._feeds


async def test_too_many_messages_are_refused(http: aiohttp.ClientSession) -> None:
    async with (
        SimulatedMarket({"kraken": 1}, clock=MarketClock.starting_at(NOON_US)) as market,
        Kraken(market, http).connect() as socket,
    ):
        for number in range(60):
            await socket.send_json({"method": "ping", "req_id": number})
        answers = [await answer(socket) for _ in range(60)]
    assert [a["req_id"] for a in answers] == list(range(60))
    refused = [a for a in answers if a.get("error") == "Exceeded msg rate"]
    assert 20 < len(refused) <= 40


async def test_a_client_that_does_not_read_is_cut_and_others_go_on(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "PENDING_MAX", 50)
    specs = [SymbolSpec(f"C{number}/USD", 500_000) for number in range(3)]
    async with SimulatedMarket({"kraken": specs}, clock=MarketClock.starting_at(NOON_US, speed=500)) as market:
        kraken = Kraken(market, http)
        async with kraken.connect() as slow, kraken.connect() as quick:
            await subscribe(slow, "trade", [spec.symbol for spec in specs])
            await subscribe(quick, "trade", ["C0/USD"])
            transport = slow._response.connection.transport
            transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVBUF, 8_192)
            transport.pause_reading()
            async with asyncio.timeout(20):
                while len(market.venue("kraken").connections) > 1:
                    await data(quick, "trade")
            await data(quick, "trade")
            transport.resume_reading()
