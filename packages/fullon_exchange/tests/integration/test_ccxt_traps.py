"""What ccxt lets happen to its callers does not happen to ours: each test arranges one of its traps.

The simulated market stands for the venues; Binance US, which speaks Binance's language, for one nobody has tested.
"""

import asyncio
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from fullon_exchange import Clock, open_exchange
from fullon_exchange.ccxt_adapter.dialects import Dialect, KrakenDialect
from fullon_exchange.errors import ExchangeUnavailable, MalformedMessage, NotSupported, TransientExchangeError
from fullon_exchange.history import reasons
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Rejected,
    Subscribed,
    Trade,
    Trades,
    Unsubscribed,
    Watermark,
)

simulator: Any = pytest.importorskip("fullon_simulator")

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
START_US = 1_767_225_600_000_000
SPEED = 60.0
LIMITS = {"silence_max_s": 1.5, "ack_timeout_s": 0.5, "messages_per_s": 50.0}

MARKETS = {
    "binance": {"BTC/USDT": 200_000, "DOGE/USDT": 900},
    "hyperliquid": {"BTC/USDC:USDC": 200_000},
    "kraken": {"BTC/USD": 200_000, "DOGE/USD": 20_000},
}


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    clock = simulator.MarketClock.starting_at(START_US, speed=SPEED)
    specs = {
        name: [simulator.SymbolSpec(symbol, per_day) for symbol, per_day in markets.items()]
        for name, markets in MARKETS.items()
    }
    async with simulator.SimulatedMarket(specs, seed=31, clock=clock) as market:
        for variable, value in market.environment().items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("FULLON_BINANCEUS_ORIGIN", market.origin("binance"))
        monkeypatch.setattr(KrakenDialect, "sockets", dataclasses.replace(KrakenDialect.sockets, **LIMITS))
        yield market


def outlet(**methods: Any) -> Any:
    """Return an outlet with these methods in place of its own."""
    return type("_Outlet", (simulator.Outlet,), methods)()


def answering(part: str, body: str, content_type: str = "text/html") -> Any:
    """Return an outlet that answers addresses with `part` in them with `body`, HTTP 200."""

    async def answer(self: Any, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if part in request.path and (request.method == "GET" or b"candleSnapshot" in await request.read()):
            return web.Response(text=body, content_type=content_type)
        return response

    return outlet(answer=answer)


async def all_pages(pages: AsyncIterator[Any]) -> list[Any]:
    return [page async for page in pages]


async def all_records(pages: AsyncIterator[Any]) -> list[Any]:
    return [row async for page in pages for row in page.records]


# --- history


@pytest.mark.parametrize(
    ("name", "symbol", "part"),
    [
        ("kraken", "BTC/USD", "OHLC"),
        ("binance", "BTC/USDT", "klines"),
        ("hyperliquid", "BTC/USDC:USDC", "info"),
    ],
)
@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "null", "", "{}", '[["175'])
async def test_a_page_that_is_no_answer_is_never_taken_for_no_candles(
    market: Any, monkeypatch: pytest.MonkeyPatch, name: str, symbol: str, part: str, body: str
) -> None:
    monkeypatch.setattr("fullon_exchange.ccxt_adapter.rest._ATTEMPTS_MAX", 2)
    async with open_exchange(name, via="ccxt") as exchange:
        await exchange.fetch_listings()
        market.venue(name).outlet = answering(part, body)
        with pytest.raises(ExchangeUnavailable, match="something else than JSON"):
            await all_pages(exchange.fetch_candles(symbol, "1m", START_US - HOUR_US, START_US))


@pytest.mark.parametrize(("breaks_off", "why"), [(False, "Cannot connect to host"), (True, "payload is not completed")])
async def test_what_does_not_answer_is_tried_again_and_said_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, breaks_off: bool, why: str
) -> None:
    """ccxt itself names no more than the address, and calls a body that breaks off a refusal."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n[")
        writer.close()

    monkeypatch.setattr("fullon_exchange.ccxt_adapter.rest._ATTEMPTS_MAX", 1)
    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("FULLON_BITGET_ORIGIN", f"http://127.0.0.1:{port}")
    async with server:
        if not breaks_off:
            server.close()
        async with open_exchange("bitget") as exchange:
            with pytest.raises(ExchangeUnavailable) as raised:
                await exchange.fetch_listings()
    said = str(raised.value)
    assert said.startswith(f"bitget: no answer to GET http://127.0.0.1:{port}/")
    assert why in said


async def test_rows_of_none_are_no_candles(market: Any) -> None:
    async with open_exchange("binance", via="ccxt") as exchange:
        await exchange.fetch_listings()
        market.venue("binance").outlet = answering("klines", json.dumps([[None] * 12] * 3), "application/json")
        with pytest.raises(MalformedMessage):
            await all_pages(exchange.fetch_candles("BTC/USDT", "1m", START_US - HOUR_US, START_US))


async def test_one_bad_row_is_named_and_its_neighbours_are_kept(market: Any) -> None:
    bad_ms = (START_US - 30 * MINUTE_US) // 1000

    async def answer(self: Any, request: web.Request, response: Any) -> web.StreamResponse:
        if "klines" not in request.path:
            return response
        rows = json.loads(response.text)
        for row in rows:
            if row[0] == bad_ms:
                row[4] = "-1"
        return web.json_response(rows)

    async with open_exchange("binance", via="ccxt") as exchange:
        market.venue("binance").outlet = outlet(answer=answer)
        pages = await all_pages(exchange.fetch_candles("BTC/USDT", "1m", START_US - HOUR_US, START_US - MINUTE_US))
    assert sum(len(page.records) for page in pages) == 58
    ((lost, reason),) = [one for page in pages for one in page.unavailable]
    assert lost == (bad_ms * 1000, bad_ms * 1000 + MINUTE_US)
    assert reason.startswith(reasons.UNREADABLE)


async def test_asked_to_wait_everybody_waits_and_it_goes_on(market: Any) -> None:
    left = itertools.chain([True, True], itertools.repeat(False))

    async def asked(self: Any, request: web.Request) -> Any:
        if "klines" in request.path and next(left):
            return web.Response(status=429, headers={"Retry-After": "20"}, text='{"code":-1003,"msg":"Too many"}')
        return request

    clock = Clock.from_env()
    async with open_exchange("binance", via="ccxt", clock=clock) as exchange:
        await exchange.fetch_listings()
        market.venue("binance").outlet = outlet(asked=asked)
        before_us = clock.now_us()
        pages = await all_pages(exchange.fetch_candles("BTC/USDT", "1m", START_US - HOUR_US, START_US - MINUTE_US))
        assert sum(len(page.records) for page in pages) == 59
        assert clock.now_us() - before_us >= 40_000_000


async def test_more_trades_in_a_second_than_a_page_holds_are_all_there(market: Any) -> None:
    """ccxt cuts Kraken's cursor to seconds; ours has nanoseconds, so small pages do not loop."""
    async with open_exchange("kraken", via="ccxt", page_rows=4) as exchange:
        start_us, end_us = START_US - 2 * MINUTE_US, START_US - MINUTE_US
        trades = await all_records(exchange.fetch_trades("BTC/USD", start_us, end_us))
    told = market.truth("kraken", "BTC/USD").trades(start_us, end_us)
    assert max(Counter(row.timestamp_us // 1_000_000 for row in told).values()) > 4
    assert [(row.timestamp_us, row.trade_id) for row in trades] == [
        (row.timestamp_us, str(row.trade_id)) for row in told
    ]


# --- an exchange that nobody has tested


async def test_an_untested_exchange_is_checked_once_and_then_served(market: Any) -> None:
    async with open_exchange("binanceus") as exchange:
        assert not exchange.traits.tested
        start_us, end_us = START_US - 40 * HOUR_US, START_US - MINUTE_US
        candles = await all_records(exchange.fetch_candles("DOGE/USDT", "1m", start_us, end_us))
        assert len(candles) == (end_us - start_us) // MINUTE_US
        asked = market.requests("binance").paths["/api/v3/klines"]
        assert await all_pages(exchange.fetch_candles("DOGE/USDT", "1m", end_us - HOUR_US, end_us))
        assert market.requests("binance").paths["/api/v3/klines"] == asked + 1, "checked once"
        trades = await all_records(exchange.fetch_trades("BTC/USDT", start_us, start_us + 600_000_000))
    told = market.truth("binance", "BTC/USDT").aggregates(start_us, start_us + 600_000_000)
    assert [row.trade_id for row in trades] == [str(row.trade_id) for row in told]


async def test_candles_stamped_with_their_end_are_refused_in_a_sentence(market: Any) -> None:
    async def answer(self: Any, request: web.Request, response: Any) -> web.StreamResponse:
        if "klines" not in request.path:
            return response
        running_ms = market.clock.now_us() // 60_000_000 * 60_000
        closed = [row for row in json.loads(response.text) if row[0] < running_ms]
        return web.json_response([[row[0] + 60_000, *row[1:]] for row in closed])

    async with open_exchange("binanceus") as exchange:
        market.venue("binance").outlet = outlet(answer=answer)
        for _ in range(2):
            with pytest.raises(NotSupported, match="binanceus BTC/USDT: its candles of 1m are stamped with their end"):
                await all_pages(exchange.fetch_candles("BTC/USDT", "1m", START_US - HOUR_US, START_US))


async def test_where_since_is_ignored_the_rest_is_said_not_to_be_served(market: Any) -> None:
    async def asked(self: Any, request: web.Request) -> Any:
        if "klines" in request.path:
            query = {name: value for name, value in request.query.items() if name not in ("startTime", "endTime")}
            return request.clone(rel_url=request.rel_url.with_query(query | {"limit": "100"}))
        return request

    async with open_exchange("binanceus") as exchange:
        market.venue("binance").outlet = outlet(asked=asked)
        start_us = START_US - 10 * HOUR_US
        pages = await all_pages(exchange.fetch_candles("BTC/USDT", "1m", start_us, START_US))
    assert 90 <= sum(len(page.records) for page in pages) <= 100
    ((lost, reason),) = [one for page in pages for one in page.unavailable]
    assert lost == (start_us, pages[0].interval[0])
    assert reason.startswith(reasons.RETENTION)


async def test_trades_that_cannot_be_paged_by_time_are_not_claimed(market: Any) -> None:
    async def asked(self: Any, request: web.Request) -> Any:
        if "aggTrades" in request.path:
            query = {name: value for name, value in request.query.items() if name not in ("startTime", "endTime")}
            return request.clone(rel_url=request.rel_url.with_query(query))
        return request

    async with open_exchange("binanceus") as exchange:
        market.venue("binance").outlet = outlet(asked=asked)
        pages = await all_pages(exchange.fetch_trades("BTC/USDT", START_US - HOUR_US, START_US - MINUTE_US))
    assert not any(page.records for page in pages)
    assert [interval for page in pages for interval, _ in page.unavailable] == [
        (START_US - HOUR_US, START_US - MINUTE_US)
    ]


# --- live


class Reader:
    """Reads a session's events until a condition holds."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.events: list[Event] = []
        self._stream = session.events()

    async def until(self, condition: Callable[[list[Event]], bool], within_s: float = 10.0) -> list[Event]:
        async with asyncio.timeout(within_s):
            while not condition(self.events):
                self.events += await anext(self._stream)
        return self.events

    async def until_count(self, kind: Any, count: int = 1) -> list[Any]:
        await self.until(lambda events: sum(isinstance(one, kind) for one in events) >= count)
        return [one for one in self.events if isinstance(one, kind)]


@asynccontextmanager
async def live(name: str) -> AsyncIterator[Reader]:
    async with open_exchange(name, via="ccxt") as exchange, exchange.live() as session:
        yield Reader(session)


def rows(events: Iterable[Event], kind: Any = (Trades, Candles)) -> list[Any]:
    return [row for event in events if isinstance(event, kind) for row in event.records]


def refusing(symbol: str) -> Any:
    """Return an outlet that turns Kraken's acknowledgement of `symbol` into a refusal."""

    def frames(self: Any, connection: Any, frame: Any) -> Iterable[Any]:
        if '"success":true' in frame.text and f'"symbol":"{symbol}"' in frame.text:
            number = json.loads(frame.text)["req_id"]
            told = {"method": "subscribe", "success": False, "symbol": symbol, "req_id": number}
            return (frame._replace(text=json.dumps(told | {"error": f"Currency pair not supported {symbol}"})),)
        return () if frame.symbol == symbol else (frame,)

    return outlet(frames=frames)


async def test_a_refusal_that_ccxt_hangs_on_is_told_and_the_others_subscribe(market: Any) -> None:
    market.venue("kraken").outlet = refusing("DOGE/USD")
    async with live("kraken") as reader:
        await reader.session.subscribe("trades", ["BTC/USD", "DOGE/USD", "NO/PE"])
        await reader.until(lambda events: sum(isinstance(one, Subscribed | Rejected) for one in events) >= 3)
        rejected = {event.symbol: event.reason for event in reader.events if isinstance(event, Rejected)}
        assert rejected["DOGE/USD"] == "Currency pair not supported DOGE/USD"
        assert "not listed" in rejected["NO/PE"]
        await reader.until(lambda events: bool(rows(events)))


async def test_a_missing_acknowledgement_makes_a_new_connection(market: Any) -> None:
    silent = outlet(frames=lambda self, connection, frame: () if "success" in frame.text else (frame,))
    market.venue("kraken").outlet = silent
    async with live("kraken") as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        (lost,) = await reader.until_count(Disconnected)
        assert "no acknowledgement of 1 subscriptions" in lost.reason
        market.venue("kraken").outlet = simulator.Outlet()
        await reader.until_count(Subscribed)


@pytest.mark.parametrize(
    ("name", "symbol"), [("kraken", "BTC/USD"), ("binance", "BTC/USDT"), ("hyperliquid", "BTC/USDC:USDC")]
)
async def test_garbage_between_the_frames_does_not_silence_the_socket(market: Any, name: str, symbol: str) -> None:
    rubbish = itertools.cycle(['{"channel":"trade","data":[{"symbol":', "[]", '{"e":"weather"}', "NaN", '{"a":1}', "ä"])

    def frames(self: Any, connection: Any, frame: Any) -> Iterable[Any]:
        return (simulator.Frame(next(rubbish)), frame, simulator.Frame(next(rubbish)))

    market.venue(name).outlet = outlet(frames=frames)
    async with live(name) as reader:
        await reader.session.subscribe("trades", [symbol])
        await reader.until(lambda events: len(rows(events)) >= 60)
        assert reader.session.counters["garbage"] > 0
        subscribed = [event for event in reader.events if isinstance(event, Subscribed)]
        assert len(subscribed) == 1, "one connection all the while"


async def test_a_frame_that_ccxt_fails_on_ends_the_connection_and_is_not_vouched_for(market: Any) -> None:
    spoiled = False

    def frames(self: Any, connection: Any, frame: Any) -> Iterable[Any]:
        nonlocal spoiled
        if frame.channel == "trade" and frame.symbol == "BTC/USD" and not spoiled:
            spoiled = True
            return (frame._replace(text=frame.text.replace('"symbol":"BTC/USD"', '"symbol":"WHAT/EVER"')),)
        return (frame,)

    async with live("kraken") as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until_count(Subscribed)
        market.venue("kraken").outlet = outlet(frames=frames)
        (lost,) = await reader.until_count(Disconnected)
        assert "ccxt could not read a frame: BadSymbol" in lost.reason
        await reader.until_count(Subscribed, 2)
        place = reader.events.index(lost)
        await reader.until(lambda events: bool(rows(events[place:])))


async def test_a_silent_socket_is_given_up(market: Any) -> None:
    async with live("kraken") as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until(lambda events: bool(rows(events)))
        market.venue("kraken").outlet = outlet(
            frames=lambda self, connection, frame: (), beats=lambda self, connection: False
        )
        (lost,) = await reader.until_count(Disconnected)
        assert "no frame for" in lost.reason
        market.venue("kraken").outlet = simulator.Outlet()
        await reader.until_count(Subscribed, 2)


async def test_nothing_is_vouched_for_without_a_pong(market: Any) -> None:
    market.venue("kraken").outlet = outlet(beats=lambda self, connection: False)
    async with live("kraken") as reader:
        await reader.session.subscribe("trades", ["BTC/USD"])
        await reader.until(lambda events: len(rows(events)) >= 100)
        assert not [event for event in reader.events if isinstance(event, Watermark)]


async def test_a_slow_reader_stops_the_socket_and_loses_nothing(market: Any) -> None:
    async with live("binance") as reader:
        reader.session._buffer.records_max = 5
        await reader.session.subscribe("trades", ["BTC/USDT"])
        await reader.until_count(Subscribed)
        async with asyncio.timeout(10):
            while not reader.session._buffer.full:
                await asyncio.sleep(0.01)
            for _ in range(20):
                buffered = reader.session.buffered
                await asyncio.sleep(0.01)
        assert reader.session.buffered == buffered < 200
        await reader.until(lambda events: len(rows(events)) >= 300)
        numbers = [int(row.trade_id) for row in rows(reader.events)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("name", ["kraken", "binance"])
async def test_unsubscribed_is_told_once_the_venue_says_so_and_can_be_taken_back(market: Any, name: str) -> None:
    first, second = list(MARKETS[name])
    async with live(name) as reader:
        await reader.session.subscribe("trades", [first, second])
        await reader.until_count(Subscribed, 2)
        await reader.session.unsubscribe("trades", [first])
        (gone,) = await reader.until_count(Unsubscribed)
        assert gone.symbol == first
        place = len(reader.events)
        await reader.session.subscribe("trades", [first])
        await reader.until_count(Subscribed, 3)
        await reader.until(lambda events: any(row.symbol == first for row in rows(events[place:])))
        assert not [event for event in reader.events if isinstance(event, Disconnected)]


async def test_an_untested_stream_counts_from_its_first_data_on(market: Any) -> None:
    def frames(self: Any, connection: Any, frame: Any) -> Iterable[Any]:
        return () if frame.symbol == "DOGE/USDT" else (frame,)

    market.venue("binance").outlet = outlet(frames=frames)
    async with live("binanceus") as reader:
        await reader.session.subscribe("candles1m", ["BTC/USDT", "DOGE/USDT"])
        await reader.until_count(Watermark, 5)
        assert {event.symbol for event in reader.events if isinstance(event, Subscribed)} == {"BTC/USDT"}
        await reader.session.unsubscribe("candles1m", ["BTC/USDT"])
        await reader.until_count(Unsubscribed)
        place = len(reader.events)
        await reader.session.subscribe("candles1m", ["BTC/USDT"])
        await reader.until_count(Subscribed, 2)
        assert rows(reader.events[place:])


async def test_streamed_trades_with_other_ids_than_those_of_rest_are_polled_instead(market: Any) -> None:
    """ccxt streams Binance's single trades and fetches aggregates: each would be stored twice."""
    async with live("binanceus") as reader:
        await reader.session.subscribe("trades", ["BTC/USDT"])
        (begun,) = await reader.until_count(Subscribed)
        await reader.until_count(Watermark, 2)
        until_us = max(event.timestamp_us for event in reader.events if isinstance(event, Watermark))
        told = market.truth("binance", "BTC/USDT").aggregates(begun.timestamp_us, until_us)
        trades = [row for row in rows(reader.events) if row.timestamp_us < until_us]
        assert [row.trade_id for row in trades] == [str(row.trade_id) for row in told]


async def test_streamed_trades_with_the_ids_of_rest_are_told_once_compared(market: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Dialect, "trade_params", {"name": "aggTrade"})
    async with live("binanceus") as reader:
        await reader.session.subscribe("trades", ["BTC/USDT"])
        (begun,) = await reader.until_count(Subscribed)
        await reader.until_count(Watermark, 5)
        assert market.requests("binance").sockets == 1
        until_us = max(event.timestamp_us for event in reader.events if isinstance(event, Watermark))
        told = market.truth("binance", "BTC/USDT").aggregates(begun.timestamp_us, until_us)
        trades = [row for row in rows(reader.events) if begun.timestamp_us <= row.timestamp_us < until_us]
        assert [row.trade_id for row in trades] == [str(row.trade_id) for row in told]


async def test_what_is_not_streamed_is_polled_and_is_the_truth(market: Any) -> None:
    async with open_exchange("binance", via="ccxt") as exchange:
        exchange._raw.has |= {"watchTrades": False, "watchOHLCV": None}  # type: ignore[attr-defined]
        async with exchange.live() as session:
            reader = Reader(session)
            await session.subscribe("trades", ["BTC/USDT"])
            await session.subscribe("candles1m", ["BTC/USDT", "DOGE/USDT"])
            await reader.until(lambda events: len(rows(events, Candles)) >= 4)
    assert not market.requests("binance").sockets
    since = {(event.channel, event.symbol): event for event in reader.events if isinstance(event, Subscribed)}
    proved = {event.connection: event.timestamp_us for event in reader.events if isinstance(event, Watermark)}
    begun = since["trades", "BTC/USDT"]
    until_us = proved[begun.connection]
    told = market.truth("binance", "BTC/USDT").aggregates(begun.timestamp_us, until_us)
    trades: list[Trade] = [row for row in rows(reader.events, Trades) if row.timestamp_us < until_us]
    assert [row.trade_id for row in trades] == [str(row.trade_id) for row in told]
    assert trades
    candles: list[Candle] = rows(reader.events, Candles)
    assert all(candle.closed for candle in candles)
    for symbol in ("BTC/USDT", "DOGE/USDT"):
        begun = since["candles1m", symbol]
        times = [candle.timestamp_us for candle in candles if candle.symbol == symbol]
        assert times == list(range(begun.timestamp_us, begun.timestamp_us + len(times) * MINUTE_US, MINUTE_US))
        assert proved[begun.connection] >= times[-1] + MINUTE_US + 3_000_000, "the minute can be closed"


async def test_polls_that_do_not_overlap_are_not_vouched_for(market: Any) -> None:
    async with open_exchange("binance", via="ccxt", page_rows=3) as exchange:
        exchange._raw.has |= {"watchTrades": False}  # type: ignore[attr-defined]
        async with exchange.live() as session:
            reader = Reader(session)
            await session.subscribe("trades", ["BTC/USDT"])
            lost = (await reader.until_count(Disconnected, 2))[-1]
            assert lost.reason == "more trades than one poll tells"
            assert not [event for event in reader.events if isinstance(event, Watermark)]


async def test_a_poll_that_fails_loses_nothing(market: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullon_exchange.ccxt_adapter.polling._AGAIN_S", 0.2)
    monkeypatch.setattr("fullon_exchange.ccxt_adapter.rest._ATTEMPTS_MAX", 1)
    async with open_exchange("binance", via="ccxt") as exchange:
        exchange._raw.has |= {"watchOHLCV": None}  # type: ignore[attr-defined]
        async with exchange.live() as session:
            reader = Reader(session)
            await session.subscribe("candles1m", ["BTC/USDT"])
            await reader.until(lambda events: bool(rows(events)))
            market.venue("binance").outlet = answering("klines", "<html>")
            asked = market.requests("binance").paths
            failing = asked["/api/v3/klines"] + 2
            async with asyncio.timeout(10):
                while asked["/api/v3/klines"] < failing:
                    await asyncio.sleep(0.01)
            market.venue("binance").outlet = simulator.Outlet()
            await reader.until(lambda events: len(rows(events)) >= 4, within_s=15.0)
    times = [row.timestamp_us for row in rows(reader.events)]
    assert times == list(range(times[0], times[0] + len(times) * MINUTE_US, MINUTE_US))
    assert not [event for event in reader.events if isinstance(event, Disconnected)]


async def test_a_venue_that_cannot_be_reached_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", "http://127.0.0.1:9")
    monkeypatch.setattr("fullon_exchange.ccxt_adapter.rest._ATTEMPTS_MAX", 1)
    async with open_exchange("kraken", via="ccxt") as exchange:
        with pytest.raises(TransientExchangeError):
            await exchange.fetch_listings()
