"""BitMEX's pagers and session against the simulated one: they return exactly its truth. The real one is closed.

The simulator shares no code with this package: two readings of the same wire format check each other.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fullon_exchange import Clock, open_exchange
from fullon_exchange.bitmex.rest import Bitmex
from fullon_exchange.errors import VenueClosed
from fullon_exchange.history import reasons
from fullon_exchange.interface import LiveSession
from fullon_exchange.live.session import NativeSession
from fullon_exchange.native import NativeExchange
from fullon_exchange.records import Candle, Candles, Disconnected, Event, Page, Rejected, Subscribed, Trades, Watermark

simulator: Any = pytest.importorskip("fullon_simulator")

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
START_US = 1_767_225_600_000_000
SPEED = 60.0
FAST = pytest.mark.parametrize("market", [200.0], indirect=True, ids=["fast"])
LISTED_US = START_US - 30 * HOUR_US

SPECS = [
    ("BTC/USD:BTC", 200_000, None),
    ("ETH/USDT:USDT", 30_000, None),
    ("DOGE/USDT:USDT", 900, None),
    ("SOL/USDT:USDT", 20_000, LISTED_US),
]
SYMBOLS = [symbol for symbol, _, _ in SPECS]


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    clock = simulator.MarketClock.starting_at(START_US, speed=getattr(request, "param", SPEED))
    specs = [
        simulator.SymbolSpec(symbol, per_day, **({} if listed_us is None else {"listed_at_us": listed_us}))
        for symbol, per_day, listed_us in SPECS
    ]
    async with simulator.SimulatedMarket({"bitmex": specs}, seed=11, clock=clock, mixed_frames=True) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        yield market


def plain(candle: Any) -> tuple[Any, ...]:
    return (
        candle.timestamp_us, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades,
    )  # fmt: skip


def plain_trade(trade: Any) -> tuple[Any, ...]:
    return (trade.timestamp_us, trade.price, trade.volume, trade.side, str(trade.trade_id))


def told(market: Any, symbol: str, start_us: int, end_us: int, timeframe_s: int = 60) -> list[tuple[Any, ...]]:
    return [plain(candle) for candle in market.truth("bitmex", symbol).candles(start_us, end_us, timeframe_s)]


def told_trades(market: Any, symbol: str, start_us: int, end_us: int) -> list[tuple[Any, ...]]:
    return [plain_trade(trade) for trade in market.truth("bitmex", symbol).trades(start_us, end_us)]


def records(pages: Sequence[Page[Any]]) -> list[Any]:
    return [row for page in pages for row in page.records]


def unavailable(pages: Sequence[Page[Any]]) -> list[tuple[tuple[int, int], str]]:
    return [(interval, why.split(":")[0]) for page in pages for interval, why in page.unavailable]


# --- closed or not ----------------------------------------------------------------------------------------------


async def test_the_real_one_is_closed_and_says_so_whatever_is_asked() -> None:
    exchange = open_exchange("bitmex")
    assert exchange.traits.closed_reason == "has closed for good on 2026-09-23 at 04:00 UTC"
    async with exchange:
        for ask in (exchange.fetch_time, exchange.fetch_listings):
            with pytest.raises(VenueClosed, match="bitmex: has closed for good") as raised:
                await ask()
            assert not raised.value.retryable
        with pytest.raises(VenueClosed):
            await anext(exchange.fetch_candles("BTC/USD:BTC", "1m", START_US, START_US + HOUR_US))
        with pytest.raises(VenueClosed):
            await anext(exchange.fetch_trades("BTC/USD:BTC", START_US, START_US + HOUR_US))
        with pytest.raises(VenueClosed):
            exchange.live()


async def test_where_somebody_speaks_for_it_it_is_open(market: Any) -> None:
    async with open_exchange("bitmex") as exchange:
        assert exchange.traits.closed_reason is None
        listings = await exchange.fetch_listings()
        assert set(listings) == set(SYMBOLS)
        assert listings["BTC/USD:BTC"].wire["ws"] == "XBTUSD"
        assert abs(await exchange.fetch_time() - market.clock.now_us()) < 60_000_000


# --- history ----------------------------------------------------------------------------------------------------


async def test_buckets_become_candles_of_their_open_time_and_quiet_ones_are_flat(market: Any) -> None:
    symbol, start_us, end_us = "DOGE/USDT:USDT", START_US - 40 * HOUR_US, START_US - HOUR_US
    async with open_exchange("bitmex") as exchange:
        await exchange.fetch_listings()
        before = market.requests("bitmex").paths["/api/v1/trade/bucketed"]
        pages = [page async for page in exchange.fetch_candles(symbol, "1m", start_us, end_us)]
        asked = market.requests("bitmex").paths["/api/v1/trade/bucketed"] - before
        assert asked == 3, "2,340 candles, 1,000 to an answer"
    candles = records(pages)
    assert not unavailable(pages)
    assert [row.timestamp_us for row in candles] == list(range(start_us, end_us, MINUTE_US))
    assert [plain(row) for row in candles if row.trades] == told(market, symbol, start_us, end_us)
    assert any(not row.low <= row.open <= row.high for row in candles), "an open is the close before"
    assert any(not row.trades for row in candles)


async def test_history_of_trades_is_the_truth_page_by_page(market: Any) -> None:
    start_us, end_us = START_US - HOUR_US - 12_345_678, START_US - MINUTE_US - 1
    async with open_exchange("bitmex") as exchange:
        for symbol in ("BTC/USD:BTC", "DOGE/USDT:USDT"):
            trades: list[Any] = []
            position = start_us
            async for page in exchange.fetch_trades(symbol, start_us, end_us):
                assert page.interval[0] == position
                assert not page.unavailable
                trades += page.records
                position = page.interval[1]
            assert position == end_us
            assert [plain_trade(trade) for trade in trades] == told_trades(market, symbol, start_us, end_us)
            assert trades


async def test_before_the_listing_nothing_is_served_and_that_is_said(market: Any) -> None:
    symbol, start_us, end_us = "SOL/USDT:USDT", LISTED_US - DAY_US, LISTED_US + 2 * HOUR_US
    listed_us = market.truth("bitmex", symbol).listed_at_us
    first_us = market.truth("bitmex", symbol).trades(LISTED_US - DAY_US, START_US)[0].timestamp_us
    async with open_exchange("bitmex") as exchange:
        candles = [page async for page in exchange.fetch_candles(symbol, "1m", start_us, end_us)]
        trades = [page async for page in exchange.fetch_trades(symbol, start_us, end_us)]
    assert unavailable(candles) == [((start_us, listed_us), reasons.LISTED_LATER)]
    assert candles[-1].interval[1] == end_us
    minutes = (end_us - listed_us) // MINUTE_US
    assert len(records(candles)) == minutes - (first_us - listed_us) // MINUTE_US, "before the first trade no price"
    assert [plain(row) for row in records(candles) if row.trades] == told(market, symbol, start_us, end_us)
    assert unavailable(trades) == [((start_us, first_us - first_us % MINUTE_US), reasons.LISTED_LATER)]
    assert [plain_trade(row) for row in records(trades)] == told_trades(market, symbol, start_us, end_us)


# --- live -------------------------------------------------------------------------------------------------------


class Heard:
    """What a session delivered, connection by connection, and what each proved of a symbol."""

    def __init__(self) -> None:
        self.since: dict[tuple[str, str, str], int] = {}
        self.proved: dict[str, int] = {}
        self.trades: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self.candles: dict[tuple[str, str], list[Candle]] = defaultdict(list)
        self.ended: list[str] = []
        self.rejected: dict[tuple[str, str], str] = {}

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Subscribed):
                self.since[event.connection, event.channel, event.symbol] = event.timestamp_us
            elif isinstance(event, Watermark):
                self.proved[event.connection] = event.timestamp_us
            elif isinstance(event, Trades):
                for row in event.records:
                    self.trades[event.connection, row.symbol].append(row)
            elif isinstance(event, Candles):
                for candle in event.records:
                    self.candles[event.connection, candle.symbol].append(candle)
            elif isinstance(event, Disconnected):
                self.ended.append(event.reason)
            elif isinstance(event, Rejected):
                self.rejected[event.channel, event.symbol] = event.reason


async def listen(session: LiveSession, heard: Heard, until: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        async for events in session.events():
            heard.feed(events)
            if until():
                return


@FAST
async def test_live_trades_and_closed_candles_are_the_truth_across_reconnects(market: Any) -> None:
    clock, heard = Clock.from_env(), Heard()

    def proved(connection: str) -> bool:
        """Tell whether a connection carries everything and has proved a whole minute of it."""
        since = [us for (name, _, _), us in heard.since.items() if name == connection]
        proved_us = heard.proved.get(connection, 0)
        return len(since) == 2 * len(SYMBOLS) and proved_us > max(since) + 100_000_000

    venue = Bitmex()
    venue.sockets = replace(venue.sockets, messages_per_s=20.0)  # type: ignore[misc]
    async with NativeExchange(venue, clock=clock) as exchange, exchange.live() as session:
        await session.subscribe("trades", SYMBOLS)
        await session.subscribe("candles1m", SYMBOLS)
        await listen(session, heard, lambda: any(proved(name) for name in heard.proved))
        (first,) = heard.proved
        assert session.reconnect(first, "the test says so")
        await listen(session, heard, lambda: any(proved(name) for name in heard.proved if name != first))
        assert not session.counters["garbage"] + session.counters["row"] + session.counters["unknown"]
    assert heard.ended
    compared = minutes = old = 0
    for (connection, channel, symbol), since_us in heard.since.items():
        until_us = heard.proved.get(connection, 0)
        if channel == "trades":
            delivered = heard.trades[connection, symbol]
            vouched = [plain_trade(row) for row in delivered if since_us <= row.timestamp_us < until_us]
            assert vouched == told_trades(market, symbol, since_us, until_us)
            compared += len(vouched)
            old += sum(row.timestamp_us < since_us for row in delivered)
        else:
            first_us, last_us = -(-since_us // MINUTE_US) * MINUTE_US, until_us // MINUTE_US * MINUTE_US
            found = [row for row in heard.candles[connection, symbol] if first_us <= row.timestamp_us < last_us]
            assert all(candle.closed for candle in found)
            assert [row.timestamp_us for row in found] == list(range(first_us, last_us, MINUTE_US))
            assert [plain(row) for row in found if row.trades] == told(market, symbol, first_us, last_us)
            minutes += len(found)
    assert compared > 50
    assert minutes > 2
    assert old >= len(SYMBOLS), "the first message of a table is the last trade from before"


async def test_a_refused_topic_is_named_and_the_others_subscribe(market: Any) -> None:
    heard = Heard()
    async with NativeExchange(_WithAGhost()) as exchange, exchange.live() as session:
        await session.subscribe("trades", ["BTC/USD:BTC", "GHOST/USD:BTC", "ETH/USDT:USDT"])
        await listen(session, heard, lambda: len(heard.since) == 2 and bool(heard.rejected))
    assert {symbol for _, _, symbol in heard.since} == {"BTC/USD:BTC", "ETH/USDT:USDT"}
    assert heard.rejected == {("trades", "GHOST/USD:BTC"): "Unknown or expired symbol: GHOSTUSD"}
    assert not heard.ended


class _WithAGhost(Bitmex):
    """BitMEX with a market in its listings that has expired meanwhile."""

    async def fetch_listings(self, http: Any) -> Any:
        listings = await super().fetch_listings(http)
        wire = {"rest": "GHOSTUSD", "ws": "GHOSTUSD"}
        listings.offer(replace(listings["BTC/USD:BTC"], symbol="GHOST/USD:BTC", wire=wire))
        return listings


@FAST
async def test_garbage_between_the_frames_is_counted_and_costs_nothing(market: Any) -> None:
    rubbish = itertools.cycle(
        ['{"table":"trade","action":"insert","data":[', "[]", '{"table":"quote","data":[]}', "NaN", "{}"]
    )

    class Noisy(simulator.Outlet):  # type: ignore[misc,name-defined]
        def frames(self, connection: Any, frame: Any) -> Iterable[Any]:
            return (simulator.Frame(next(rubbish)), frame, simulator.Frame(next(rubbish)))

    market.venue("bitmex").outlet = Noisy()
    heard = Heard()
    async with open_exchange("bitmex", clock=Clock.from_env()) as exchange, exchange.live() as session:
        assert isinstance(session, NativeSession)
        await session.subscribe("trades", ["ETH/USDT:USDT"])
        await listen(session, heard, lambda: any(us > START_US + 2 * MINUTE_US for us in heard.proved.values()))
        assert session.counters["garbage"] > 0
        assert session.counters["unknown"] > 0
    (((connection, _, symbol), since_us),) = heard.since.items()
    until_us = heard.proved[connection]
    rows = [row for row in heard.trades[connection, symbol] if since_us <= row.timestamp_us < until_us]
    told_rows = market.truth("bitmex", symbol).trades(since_us, until_us)
    assert [plain_trade(row) for row in rows] == [plain_trade(trade) for trade in told_rows]
    assert not heard.ended
