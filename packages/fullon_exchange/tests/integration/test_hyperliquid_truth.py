"""Hyperliquid's pager and session against the simulated one: they return exactly its truth, and say what it lacks.

The simulator shares no code with this package: two readings of the same wire format check each other.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fullon_exchange import Clock, Listing, open_exchange
from fullon_exchange.backoff import Backoff
from fullon_exchange.budget import BudgetSpec, RateBudget
from fullon_exchange.errors import ExchangeUnavailable, NotSupported, RequestRefused
from fullon_exchange.exchange_clock import know_time
from fullon_exchange.history import reasons
from fullon_exchange.http import HttpClient
from fullon_exchange.hyperliquid.rest import Hyperliquid
from fullon_exchange.interface import LiveSession
from fullon_exchange.live.session import NativeSession
from fullon_exchange.live.time import ServerTime
from fullon_exchange.native import NativeExchange
from fullon_exchange.queue.rest import RestHandler
from fullon_exchange.records import (
    Candle,
    Candles,
    Disconnected,
    Event,
    Page,
    Rejected,
    Subscribed,
    Trades,
    Unsubscribed,
    Watermark,
)

simulator: Any = pytest.importorskip("fullon_simulator")

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
START_US = 1_767_225_600_000_000
SPEED = 60.0
FAST = pytest.mark.parametrize("market", [200.0], indirect=True, ids=["fast"])
WINDOW_US = 5000 * MINUTE_US
LISTED_US = START_US - 30 * HOUR_US - 17_500_000

SPECS = [
    ("BTC/USDC:USDC", 200_000, None),
    ("DOGE/USDC:USDC", 900, None),
    ("PURR/USDC", 20_000, None),
    ("SOL/USDC:USDC", 20_000, LISTED_US),
]
SYMBOLS = [symbol for symbol, _, _ in SPECS]


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    clock = simulator.MarketClock.starting_at(START_US, speed=getattr(request, "param", SPEED))
    specs = [
        simulator.SymbolSpec(symbol, per_day, **({} if listed_us is None else {"listed_at_us": listed_us}))
        for symbol, per_day, listed_us in SPECS
    ]
    async with simulator.SimulatedMarket({"hyperliquid": specs}, seed=11, clock=clock) as market:
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
    return [plain(candle) for candle in market.truth("hyperliquid", symbol).candles(start_us, end_us, timeframe_s)]


def rows(pages: Sequence[Page[Candle]]) -> list[Candle]:
    return [row for page in pages for row in page.records]


def unavailable(pages: Sequence[Page[Any]]) -> list[tuple[tuple[int, int], str]]:
    return [(interval, why.split(":")[0]) for page in pages for interval, why in page.unavailable]


async def fetch(symbol: str, start_us: int, end_us: int, timeframe: str = "1m") -> list[Page[Candle]]:
    async with open_exchange("hyperliquid") as exchange:
        await exchange.fetch_listings()
        return [page async for page in exchange.fetch_candles(symbol, timeframe, start_us, end_us)]


# --- history ----------------------------------------------------------------------------------------------------


async def test_a_full_window_of_candles_costs_one_request_and_what_lies_before_is_retention(market: Any) -> None:
    counters = market.requests("hyperliquid")
    async with open_exchange("hyperliquid") as exchange:
        await exchange.fetch_listings()
        await know_time(exchange)
        before = counters.paths.total()
        start_us = START_US - 30 * DAY_US
        pages = [page async for page in exchange.fetch_candles("DOGE/USDC:USDC", "1m", start_us, START_US)]
        assert counters.paths.total() - before == 1
    ((lost, why),) = unavailable(pages)
    assert why == reasons.RETENTION
    assert lost[0] == start_us
    assert pages[-1].interval[1] == START_US - MINUTE_US
    assert WINDOW_US - 30 * MINUTE_US < START_US - lost[1] < WINDOW_US
    candles = rows(pages)
    assert [row.timestamp_us for row in candles] == list(range(lost[1], pages[-1].interval[1], MINUTE_US))
    assert [plain(row) for row in candles if row.trades] == told(
        market, "DOGE/USDC:USDC", lost[1], START_US - MINUTE_US
    )
    quiet = [row for row in candles if not row.trades]
    assert quiet
    assert all(row.volume == 0 and row.open == row.high == row.low == row.close for row in quiet)


@pytest.mark.parametrize("days", [[30, 20], [5, 2], [3, 2]])
async def test_any_part_of_the_past_is_covered_or_retention(market: Any, days: list[int]) -> None:
    start_us, end_us = (START_US - ago * DAY_US for ago in days)
    pages = await fetch("BTC/USDC:USDC", start_us, end_us)
    kept_us = min(max(start_us, START_US - WINDOW_US), end_us)
    assert pages[-1].interval[1] == end_us
    named = unavailable(pages)
    assert [why for _, why in named] == ([reasons.RETENTION] if kept_us > start_us else [])
    for (lost_us, until_us), _ in named:
        assert lost_us == start_us
        assert until_us == end_us if kept_us == end_us else 0 <= until_us - kept_us < 30 * MINUTE_US
        start_us = until_us
    assert [plain(row) for row in rows(pages) if row.trades] == told(market, "BTC/USDC:USDC", start_us, end_us)


async def test_a_small_gap_asks_for_its_minutes_alone(market: Any) -> None:
    end_us = START_US - DAY_US
    async with open_exchange("hyperliquid") as exchange:
        assert hasattr(exchange, "budget_use")
        await exchange.fetch_listings()
        await know_time(exchange)
        before = exchange.budget_use().spent
        pages = [page async for page in exchange.fetch_candles("BTC/USDC:USDC", "1m", end_us - 10 * MINUTE_US, end_us)]
        assert exchange.budget_use().spent - before == 21
    assert [plain(row) for row in rows(pages)] == told(market, "BTC/USDC:USDC", end_us - 10 * MINUTE_US, end_us)


async def test_a_market_listed_within_the_window_says_so(market: Any) -> None:
    start_us = START_US - 10 * DAY_US
    pages = await fetch("SOL/USDC:USDC", start_us, START_US - HOUR_US)
    listed_us = LISTED_US - LISTED_US % MINUTE_US
    assert unavailable(pages) == [((start_us, listed_us), reasons.LISTED_LATER)]
    assert [plain(row) for row in rows(pages) if row.trades] == told(
        market, "SOL/USDC:USDC", listed_us, START_US - HOUR_US
    )


@pytest.mark.parametrize(("timeframe", "seconds"), [("1h", 3600), ("1d", 86400)])
async def test_coarser_candles_reach_further_back(market: Any, timeframe: str, seconds: int) -> None:
    start_us, end_us = START_US - 60 * DAY_US, START_US - DAY_US
    pages = await fetch("PURR/USDC", start_us, end_us, timeframe)
    assert not unavailable(pages)
    assert [plain(row) for row in rows(pages)] == told(market, "PURR/USDC", start_us, end_us, seconds)


async def test_trades_of_the_past_are_unavailable_and_that_is_said(market: Any) -> None:
    async with open_exchange("hyperliquid") as exchange:
        assert not exchange.traits.trade_history
        start_us = START_US - HOUR_US
        pages = [page async for page in exchange.fetch_trades("BTC/USDC:USDC", start_us, START_US + DAY_US)]
        (((lost, why),),) = [page.unavailable for page in pages]
        assert lost[0] == start_us
        assert START_US - MINUTE_US < lost[1] < START_US + HOUR_US, "not into the future"
        assert why.startswith(reasons.RETENTION)
        assert not rows(pages)
        assert not [
            page async for page in exchange.fetch_trades("BTC/USDC:USDC", START_US + DAY_US, START_US + 2 * DAY_US)
        ]


async def test_markets_are_listed_and_the_venues_clock_is_told(market: Any) -> None:
    async with open_exchange("hyperliquid") as exchange:
        listings = await exchange.fetch_listings()
        assert set(listings) == set(SYMBOLS)
        assert listings["BTC/USDC:USDC"].wire["ws"] == "BTC"
        assert abs(await exchange.fetch_time() - market.clock.now_us()) < 60_000_000


async def test_what_hyperliquid_refuses_is_an_error_of_the_right_kind(market: Any) -> None:
    async with HttpClient(
        "hyperliquid",
        market.origin("hyperliquid"),
        RateBudget(BudgetSpec(per_s=1000.0, burst=1000.0)),
        Hyperliquid.http,
        attempts_max=2,
        backoff=lambda: Backoff(0.001, 0.001),
    ) as http:
        with pytest.raises(RequestRefused, match="HTTP 422 to /info: Failed to deserialize") as refused:
            await http.post("/info", {"type": "weather"}, bytes)
        assert refused.value.code == "422"
        asked = {"coin": "NOSUCHCOIN", "interval": "1m", "startTime": 0, "endTime": 1}
        with pytest.raises(ExchangeUnavailable, match="HTTP 500 to /info: null") as away:
            await http.post("/info", {"type": "candleSnapshot", "req": asked}, bytes)
        assert away.value.retryable


async def test_the_documented_face_says_what_hyperliquid_lacks(market: Any) -> None:
    async with open_exchange("hyperliquid") as exchange:
        rest = RestHandler(exchange)
        assert not rest.needs_trades_for_ohlcv()
        with pytest.raises(NotSupported, match="trades of the past are not served"):
            await rest.get_public_trades("BTC/USDC:USDC")
        assert len(await rest.get_ohlcv("BTC/USDC:USDC", limit=3)) == 3


async def test_sockets_are_opened_no_faster_than_the_venue_allows() -> None:
    """A server that closes at once; 50 ms between two attempts although the backoff is shorter."""
    opened: list[float] = []
    enough = asyncio.Event()

    async def close_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(asyncio.get_running_loop().time())
        if len(opened) == 5:
            enough.set()
        writer.close()

    venue = Hyperliquid()
    venue.sockets = replace(venue.sockets, connects=BudgetSpec(per_s=20.0, burst=1.0))

    async def fetch_time() -> int:
        return Clock().now_us()

    async def fetch_listing(symbol: str) -> Listing:
        return Listing(symbol, "", "", True, {"ws": symbol})

    async with await asyncio.start_server(close_at_once, "127.0.0.1", 0) as server, asyncio.timeout(10):
        session = NativeSession(
            venue,
            url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws",
            clock=Clock(),
            server_time=ServerTime(),
            fetch_time=fetch_time,
            fetch_listing=fetch_listing,
            backoff=lambda: Backoff(0.001, 0.001),
        )
        async with session:
            await session.subscribe("trades", ["BTC/USDC:USDC"])
            await enough.wait()
    assert opened[-1] - opened[0] >= 4 * 0.05 - 0.01


# --- live -------------------------------------------------------------------------------------------------------


class Heard:
    """What a session delivered, connection by connection, and what each proved of a symbol."""

    def __init__(self) -> None:
        self.since: dict[tuple[str, str, str], int] = {}
        self.proved: dict[str, int] = {}
        self.trades: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self.candles: dict[tuple[str, str], dict[int, Candle]] = defaultdict(dict)
        self.ended: list[str] = []
        self.rejected: dict[tuple[str, str], str] = {}
        self.left: list[str] = []

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Subscribed):
                self.since[event.connection, event.channel, event.symbol] = event.timestamp_us
            elif isinstance(event, Watermark):
                self.proved[event.connection] = event.timestamp_us
            elif isinstance(event, Trades):
                for row in event.records:
                    since_us = self.since.get((event.connection, "trades", row.symbol), 2**63)
                    late = since_us <= row.timestamp_us < self.proved.get(event.connection, 0)
                    assert not late, "a watermark has claimed what was not delivered yet"
                    self.trades[event.connection, row.symbol].append(row)
            elif isinstance(event, Candles):
                for candle in event.records:
                    self.candles[event.connection, candle.symbol][candle.timestamp_us] = candle
            elif isinstance(event, Disconnected):
                self.ended.append(event.reason)
            elif isinstance(event, Rejected):
                self.rejected[event.channel, event.symbol] = event.reason
            elif isinstance(event, Unsubscribed):
                self.left.append(event.symbol)


async def listen(session: LiveSession, heard: Heard, until: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        async for events in session.events():
            heard.feed(events)
            if until():
                return


@FAST
async def test_live_trades_and_candles_are_the_truth_across_reconnects(market: Any) -> None:
    clock, heard = Clock.from_env(), Heard()
    venue = Hyperliquid()
    venue.sockets = replace(venue.sockets, messages_per_s=20.0)

    def proved(connection: str) -> bool:
        """Tell whether a connection carries everything and has proved a whole minute of it."""
        since = [us for (name, _, _), us in heard.since.items() if name == connection]
        proved_us = heard.proved.get(connection, 0)
        return len(since) == 2 * len(SYMBOLS) and proved_us > max(since) + 100_000_000

    async with NativeExchange(venue, clock=clock) as exchange, exchange.live() as session:
        await session.subscribe("trades", SYMBOLS)
        await session.subscribe("candles1m", SYMBOLS)
        await listen(session, heard, lambda: any(proved(name) for name in heard.proved))
        (first,) = heard.proved
        assert session.reconnect(first, "the test says so")
        await listen(session, heard, lambda: any(proved(name) for name in heard.proved if name != first))
        assert not session.counters["garbage"] + session.counters["row"] + session.counters["unknown"]
    assert heard.ended
    compared = repeats = minutes = 0
    seen: set[str] = set()
    for (connection, channel, symbol), since_us in heard.since.items():
        until_us = heard.proved.get(connection, 0)
        if channel == "trades":
            delivered = heard.trades[connection, symbol]
            vouched = [plain_trade(row) for row in delivered if since_us <= row.timestamp_us < until_us]
            assert vouched == [
                plain_trade(trade) for trade in market.truth("hyperliquid", symbol).trades(since_us, until_us)
            ]
            compared += len(vouched)
            ids = {symbol + row.trade_id for row in delivered}
            repeats += len(ids & seen)
            seen |= ids
        else:
            first_us, last_us = -(-since_us // MINUTE_US) * MINUTE_US, until_us // MINUTE_US * MINUTE_US
            found = heard.candles[connection, symbol]
            truth = market.truth("hyperliquid", symbol).candles(first_us, last_us)
            assert [plain(found[minute]) for minute in sorted(found) if first_us <= minute < last_us] == [
                plain(candle) for candle in truth
            ]
            assert not any(candle.closed for candle in found.values())
            minutes += len(truth)
    assert compared > 50
    assert minutes > 2
    assert repeats, "what a reconnect repeats is passed on; it is the same trade by its id"


@FAST
async def test_a_snapshot_of_old_trades_holds_no_watermark_back_and_ends_no_connection(market: Any) -> None:
    """A trade every ten minutes: the snapshot of the last ones is hours old."""
    clock, heard = Clock.from_env(), Heard()
    async with open_exchange("hyperliquid", clock=clock) as exchange, exchange.live() as session:
        await session.subscribe("trades", ["DOGE/USDC:USDC"])
        await listen(session, heard, lambda: any(us > START_US + 3 * MINUTE_US for us in heard.proved.values()))
        assert max(heard.proved.values()) > clock.now_us() - 2 * MINUTE_US
    ((connection, _, symbol),) = heard.since
    oldest_us = min(row.timestamp_us for row in heard.trades[connection, symbol])
    assert oldest_us < START_US
    assert not heard.ended


async def test_what_is_not_streamed_or_not_listed_is_rejected_and_the_others_subscribe(market: Any) -> None:
    heard = Heard()
    async with open_exchange("hyperliquid") as exchange, exchange.live() as session:
        await session.subscribe("ticker", ["BTC/USDC:USDC"])
        await session.subscribe("candles6h", ["BTC/USDC:USDC"])
        await session.subscribe("trades", ["NO/USDC:USDC", "PURR/USDC"])
        await listen(session, heard, lambda: len(heard.rejected) == 3 and bool(heard.proved))
    assert heard.rejected["ticker", "BTC/USDC:USDC"] == "hyperliquid does not stream ticker"
    assert heard.rejected["candles6h", "BTC/USDC:USDC"] == "hyperliquid does not stream candles6h"
    assert "not listed" in heard.rejected["trades", "NO/USDC:USDC"]
    assert {symbol for _, _, symbol in heard.since} == {"PURR/USDC"}


async def test_streams_beyond_what_one_address_may_have_are_rejected(market: Any) -> None:
    heard, venue = Heard(), Hyperliquid()
    venue.sockets = replace(venue.sockets, sockets_max=2, streams_max=1)
    async with NativeExchange(venue) as exchange, exchange.live() as session:
        await session.subscribe("trades", SYMBOLS[:3])
        await listen(session, heard, lambda: len(heard.proved) == 2 and bool(heard.rejected))
    assert len({connection for connection, _, _ in heard.since}) == 2
    assert list(heard.rejected.values()) == ["hyperliquid carries no more than 2 streams"]


async def test_unsubscribing_ends_one_stream_and_leaves_the_others(market: Any) -> None:
    heard = Heard()
    async with open_exchange("hyperliquid") as exchange, exchange.live() as session:
        await session.subscribe("trades", ["BTC/USDC:USDC", "PURR/USDC"])
        await listen(session, heard, lambda: len(heard.since) == 2)
        await session.unsubscribe("trades", ["BTC/USDC:USDC"])
        await listen(session, heard, lambda: heard.left == ["BTC/USDC:USDC"])
        before = sum(map(len, heard.trades.values()))
        await listen(session, heard, lambda: sum(map(len, heard.trades.values())) > before)
        late = {symbol for (_, symbol), found in heard.trades.items() if found} - {"BTC/USDC:USDC"}
    assert late == {"PURR/USDC"}
    assert not heard.ended


@FAST
async def test_a_client_that_pings_is_not_cut_however_quiet_its_market(market: Any) -> None:
    market.venue("hyperliquid").silence_max_s = 0.5
    clock, heard = Clock.from_env(), Heard()
    async with open_exchange("hyperliquid", clock=clock) as exchange, exchange.live() as session:
        await session.subscribe("candles1m", ["DOGE/USDC:USDC"])
        await listen(session, heard, lambda: any(us > START_US + 3 * MINUTE_US for us in heard.proved.values()))
    assert not heard.ended


class _WithAGhost(Hyperliquid):
    """Hyperliquid with a coin in its listings that its streams do not know."""

    async def fetch_listings(self, http: Any) -> Any:
        ghost = Listing("GHOST/USDC:USDC", "GHOST", "USDC", True, {"rest": "GHOST", "ws": "GHOST"})
        listings = await super().fetch_listings(http)
        listings.offer(ghost)
        return listings


async def test_a_coin_that_is_refused_is_named_and_the_others_subscribe(market: Any) -> None:
    heard = Heard()
    async with NativeExchange(_WithAGhost()) as exchange, exchange.live() as session:
        await session.subscribe("trades", ["BTC/USDC:USDC", "GHOST/USDC:USDC", "PURR/USDC"])
        await listen(session, heard, lambda: len(heard.since) == 2 and bool(heard.rejected))
    assert heard.rejected == {("trades", "GHOST/USDC:USDC"): 'Invalid subscription {"type":"trades","coin":"GHOST"}'}
    assert not heard.ended


@FAST
async def test_a_coin_that_the_venue_hangs_up_on_costs_the_others_two_connections_and_then_waits(market: Any) -> None:
    market.venue("hyperliquid").unknown_coin_cuts = True
    heard, venue = Heard(), _WithAGhost()
    venue.sockets = replace(venue.sockets, messages_per_s=20.0)
    symbols = ["BTC/USDC:USDC", "DOGE/USDC:USDC", "GHOST/USDC:USDC", "PURR/USDC"]

    def carried_for_minutes() -> bool:
        return any(
            heard.proved.get(connection, 0) > since_us + 4 * MINUTE_US
            for (connection, _, symbol), since_us in heard.since.items()
            if symbol == "PURR/USDC"
        )

    async with NativeExchange(venue, clock=Clock.from_env()) as exchange, exchange.live() as session:
        await session.subscribe("trades", symbols)
        await listen(session, heard, carried_for_minutes)
    assert len(heard.ended) == 2
    assert {symbol for _, _, symbol in heard.since} == set(symbols) - {"GHOST/USDC:USDC"}
    assert not heard.rejected


@FAST
async def test_garbage_between_the_frames_is_counted_and_costs_nothing(market: Any) -> None:
    rubbish = itertools.cycle(
        ['{"channel":"trades","data":[{"coin":', "[]", '{"channel":"l2Book","data":{}}', "NaN", "{}"]
    )

    class Noisy(simulator.Outlet):  # type: ignore[misc,name-defined]
        def frames(self, connection: Any, frame: Any) -> Iterable[Any]:
            return (simulator.Frame(next(rubbish)), frame, simulator.Frame(next(rubbish)))

    market.venue("hyperliquid").outlet = Noisy()
    heard = Heard()
    async with open_exchange("hyperliquid", clock=Clock.from_env()) as exchange, exchange.live() as session:
        assert isinstance(session, NativeSession)
        await session.subscribe("trades", ["PURR/USDC"])
        await listen(session, heard, lambda: any(us > START_US + 2 * MINUTE_US for us in heard.proved.values()))
        assert session.counters["garbage"] > 0
        assert session.counters["unknown"] > 0
    (((connection, _, symbol), since_us),) = heard.since.items()
    until_us = heard.proved[connection]
    rows = [row for row in heard.trades[connection, symbol] if since_us <= row.timestamp_us < until_us]
    told_rows = market.truth("hyperliquid", symbol).trades(since_us, until_us)
    assert [plain_trade(row) for row in rows] == [plain_trade(trade) for trade in told_rows]
    assert not heard.ended
