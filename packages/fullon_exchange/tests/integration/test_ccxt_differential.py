"""The ccxt way delivers what the native session delivers: the simulated market's truth, history and live."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fullon_exchange import Clock, Exchange, open_exchange
from fullon_exchange.history import reasons
from fullon_exchange.records import Candle, Candles, Disconnected, Event, Rejected, Subscribed, Trade, Trades, Watermark

simulator: Any = pytest.importorskip("fullon_simulator")

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
START_US = 1_767_225_600_000_000
SPEED = 60.0
LISTED_US = START_US - 30 * HOUR_US - 17_500_000

MARKETS = {
    "binance": [("BTC/USDT", 200_000), ("DOGE/USDT", 900), ("SOL/USDT", 20_000)],
    "hyperliquid": [("BTC/USDC:USDC", 200_000), ("DOGE/USDC:USDC", 900), ("PURR/USDC", 20_000)],
    "kraken": [("BTC/USD", 200_000), ("DOGE/USD", 900), ("SOL/USD", 20_000)],
}
VENUES = sorted(MARKETS)
WAYS = ("native", "ccxt")


def symbols_of(name: str) -> list[str]:
    return [symbol for symbol, _ in MARKETS[name]]


@pytest.fixture
async def market(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    name = request.param
    specs = [simulator.SymbolSpec(symbol, per_day) for symbol, per_day in MARKETS[name][:2]]
    symbol, per_day = MARKETS[name][2]
    specs.append(simulator.SymbolSpec(symbol, per_day, listed_at_us=LISTED_US))
    clock = simulator.MarketClock.starting_at(START_US, speed=SPEED)
    async with simulator.SimulatedMarket({name: specs}, seed=23, clock=clock, mixed_frames=True) as market:
        set_environment(monkeypatch, market)
        yield market


def set_environment(monkeypatch: pytest.MonkeyPatch, market: Any) -> None:
    for variable, value in market.environment().items():
        monkeypatch.setenv(variable, value)
    # Hyperliquid's messages a minute are shared out among so many sockets; the clock does not accelerate them.
    monkeypatch.setenv("FULLON_HYPERLIQUID_CONNECTIONS_MAX", "2")


def each_venue(*names: str) -> Any:
    return pytest.mark.parametrize(("market", "name"), [(name, name) for name in names or VENUES], indirect=["market"])


def values(rows: Iterable[Candle]) -> list[tuple[Any, ...]]:
    """Everything but the number of trades, which ccxt does not tell."""
    return [(row.timestamp_us, row.open, row.high, row.low, row.close, row.volume) for row in rows]


async def read(pages: AsyncIterator[Any]) -> tuple[list[Any], list[tuple[int, int]], list[tuple[Any, str]]]:
    """Return the records, the intervals and what is not served, with the reason's first word."""
    records: list[Any] = []
    intervals: list[tuple[int, int]] = []
    lost: list[tuple[Any, str]] = []
    async for page in pages:
        records += page.records
        intervals.append(page.interval)
        lost += [(interval, reason.split(":")[0]) for interval, reason in page.unavailable]
    return records, joined(intervals), lost


def joined(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    whole: list[tuple[int, int]] = []
    for start_us, end_us in intervals:
        if whole and whole[-1][1] == start_us:
            whole[-1] = (whole[-1][0], end_us)
        else:
            whole.append((start_us, end_us))
    return whole


@each_venue()
async def test_listings_and_time_are_the_same(market: Any, name: str) -> None:
    told = {}
    for way in WAYS:
        async with open_exchange(name, via=way) as exchange:
            listings = await exchange.fetch_listings()
            assert abs(await exchange.fetch_time() - market.clock.now_us()) < MINUTE_US
            told[way] = {(one.symbol, one.base, one.quote, one.active) for one in listings.values()}
    assert told["ccxt"] == told["native"]


@each_venue()
async def test_traits_say_the_same_but_for_what_ccxt_drops(market: Any, name: str) -> None:
    native, ccxt = (open_exchange(name, via=way).traits for way in WAYS)
    assert ccxt.tested
    for trait in ("candles_from_trades", "trade_history", "trade_ids_sequential", "candle_window"):
        assert getattr(ccxt, trait) == getattr(native, trait), trait
    assert not ccxt.candle_closed_flag
    assert set(native.timeframes) <= set(ccxt.timeframes) | {"1M"}


@each_venue()
async def test_history_of_candles_is_the_same(market: Any, name: str) -> None:
    busy, quiet, young = symbols_of(name)
    end_us = START_US - MINUTE_US - 1
    asked = [
        (busy, "1m", 3 * HOUR_US),
        (quiet, "1m", 20 * HOUR_US),
        (young, "1h", 3 * DAY_US),
        (young, "1m", 2 * DAY_US),
    ]
    answers: dict[str, list[Any]] = defaultdict(list)
    for way in WAYS:
        async with open_exchange(name, via=way) as exchange:
            for symbol, timeframe, back_us in asked:
                pages = exchange.fetch_candles(symbol, timeframe, end_us - back_us, end_us)
                answers[way].append(await read(pages))
    for ours, theirs in zip(answers["ccxt"], answers["native"], strict=True):
        # What is kept of the past shrinks while it is asked for.
        begin_us = max(ours[1][0][0], theirs[1][0][0])
        assert abs(ours[1][0][0] - theirs[1][0][0]) <= 10 * MINUTE_US
        assert [row for row in values(ours[0]) if row[0] >= begin_us] == [
            row for row in values(theirs[0]) if row[0] >= begin_us
        ]
        assert len(ours[0]) > 10
        assert ours[1][0][1] == theirs[1][0][1]
        assert len(ours[1]) == len(theirs[1]) == 1
        assert [lost[0] for lost, _ in ours[2]] == [lost[0] for lost, _ in theirs[2]]


@each_venue("binance", "kraken")
async def test_history_of_trades_is_the_same_to_the_microsecond(market: Any, name: str) -> None:
    busy, quiet, young = symbols_of(name)
    end_us = START_US - MINUTE_US - 1
    answers: dict[str, list[Any]] = defaultdict(list)
    for way in WAYS:
        async with open_exchange(name, via=way) as exchange:
            for symbol, start_us in (
                (busy, end_us - HOUR_US),
                (quiet, end_us - 12 * HOUR_US),
                (young, LISTED_US - DAY_US),
            ):
                until_us = LISTED_US + HOUR_US if symbol == young else end_us
                records, covered, lost = await read(exchange.fetch_trades(symbol, start_us, until_us))
                assert records
                answers[way].append((records, covered, lost))
    assert answers["ccxt"] == answers["native"]
    assert answers["ccxt"][-1][2][0][1] == reasons.LISTED_LATER


@each_venue("hyperliquid")
async def test_hyperliquid_has_no_trades_of_the_past_either_way(market: Any, name: str) -> None:
    answers = {}
    for way in WAYS:
        async with open_exchange(name, via=way) as exchange:
            answers[way] = await read(exchange.fetch_trades("BTC/USDC:USDC", START_US - HOUR_US, START_US - MINUTE_US))
    assert answers["ccxt"] == answers["native"] == (
        [], [(START_US - MINUTE_US,) * 2], [((START_US - HOUR_US, START_US - MINUTE_US), reasons.RETENTION)]
    )  # fmt: skip


class Followed:
    """What one way has told: rows by connection, and from when to when each connection vouches for them."""

    def __init__(self) -> None:
        self.since: dict[tuple[str, str, str], int] = {}
        self.proved: dict[str, int] = {}
        self.trades: dict[tuple[str, str], list[Trade]] = defaultdict(list)
        self.candles: dict[tuple[str, str], dict[int, Candle]] = defaultdict(dict)
        self.disconnects = 0
        self.enough = False

    def feed(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Subscribed):
                self.since[event.connection, event.channel, event.symbol] = event.timestamp_us
            elif isinstance(event, Watermark):
                assert event.timestamp_us > self.proved.get(event.connection, 0)
                self.proved[event.connection] = event.timestamp_us
            elif isinstance(event, Trades):
                proved_us = self.proved.get(event.connection, 0)
                for trade in event.records:
                    since_us = self.since.get((event.connection, "trades", trade.symbol), 0)
                    past = trade.timestamp_us < since_us  # a snapshot: nobody vouches for it
                    assert past or trade.timestamp_us >= proved_us, "a watermark has claimed what was not delivered yet"
                    self.trades[event.connection, trade.symbol].append(trade)
            elif isinstance(event, Candles):
                for candle in event.records:
                    self.candles[event.connection, candle.symbol][candle.timestamp_us] = candle
            elif isinstance(event, Disconnected):
                self.disconnects += 1
            else:
                assert not isinstance(event, Rejected), event

    def whole_minutes(self, channel: str, symbol: str) -> set[int]:
        """Return the minutes that some connection vouches for."""
        found: set[int] = set()
        for (connection, of, about), since_us in self.since.items():
            if of == channel and about == symbol:
                first_us = -(-since_us // MINUTE_US) * MINUTE_US
                # A candle may be told for a grace after its end, like the service's builder allows.
                grace_us = 3_000_000 if channel != "trades" else 0
                last_us = self.proved.get(connection, 0) - MINUTE_US - grace_us
                found.update(range(first_us, last_us + 1, MINUTE_US))
        return found

    def trades_of(self, symbol: str, minute_us: int) -> list[Trade]:
        found = {
            trade.trade_id: trade
            for (_, about), trades in self.trades.items()
            for trade in trades
            if about == symbol and minute_us <= trade.timestamp_us < minute_us + MINUTE_US
        }
        return sorted(found.values(), key=lambda trade: (trade.timestamp_us, len(trade.trade_id), trade.trade_id))

    def candle_of(self, symbol: str, minute_us: int) -> list[tuple[Any, ...]]:
        """Return the candle as it was told last, where anything was traded."""
        told = [rows[minute_us] for (_, about), rows in self.candles.items() if about == symbol and minute_us in rows]
        last = max(told, key=lambda candle: candle.volume, default=None)
        return values([last]) if last is not None and last.volume else []


async def follow(exchange: Exchange, followed: Followed, symbols: Sequence[str]) -> None:
    async with exchange.live() as session:
        await session.subscribe("trades", symbols)
        await session.subscribe("candles1m", symbols)
        async for events in session.events():
            followed.feed(events)
            if followed.enough:
                return


async def test_live_is_the_same_across_a_reconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """All venues at once: it is time that passes here, seven minutes of it."""
    simulated = simulator.MarketClock.starting_at(START_US, speed=SPEED)
    specs = {
        name: [simulator.SymbolSpec(symbol, min(per_day, 60_000)) for symbol, per_day in markets]
        for name, markets in MARKETS.items()
    }
    followed = {(name, way): Followed() for name in VENUES for way in WAYS}
    async with simulator.SimulatedMarket(specs, seed=23, clock=simulated, mixed_frames=True) as market:
        set_environment(monkeypatch, market)
        clock = Clock.from_env()
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks, AsyncExitStack() as opened:
            for (name, way), told in followed.items():
                exchange = await opened.enter_async_context(open_exchange(name, via=way, clock=clock))
                await exchange.fetch_listings()
                tasks.create_task(follow(exchange, told, symbols_of(name)))
            begun_us = clock.now_us()
            await clock.sleep_until(begun_us + 3 * MINUTE_US)
            for name in VENUES:
                cut = list(market.venue(name).connections)
                assert len(cut) >= 2
                for connection in cut:
                    connection.abort()
            await clock.sleep_until(begun_us + 7 * MINUTE_US)
            for told in followed.values():
                told.enough = True
        for name in VENUES:
            native, ccxt = followed[name, "native"], followed[name, "ccxt"]
            assert native.disconnects
            assert ccxt.disconnects
            for symbol in symbols_of(name):
                assert_same_trades(market, name, symbol, native, ccxt)
                assert_same_candles(market, name, symbol, native, ccxt)
            delivered = [trade for trades in ccxt.trades.values() for trade in trades]
            assert len(delivered) == len({(trade.symbol, trade.trade_id) for trade in delivered}), "once each"
            assert len(delivered) > 100


def assert_same_trades(market: Any, name: str, symbol: str, native: Followed, ccxt: Followed) -> None:
    minutes = native.whole_minutes("trades", symbol) & ccxt.whole_minutes("trades", symbol)
    assert minutes, f"no minute of trades of {name} {symbol} is vouched for by both ways"
    truth = market.truth(name, symbol)
    for minute_us in sorted(minutes):
        told = ccxt.trades_of(symbol, minute_us)
        assert told == native.trades_of(symbol, minute_us)
        published = (truth.aggregates if name == "binance" else truth.trades)(minute_us, minute_us + MINUTE_US)
        assert {trade.trade_id for trade in told} == {str(trade.trade_id) for trade in published}


def assert_same_candles(market: Any, name: str, symbol: str, native: Followed, ccxt: Followed) -> None:
    minutes = native.whole_minutes("candles1m", symbol) & ccxt.whole_minutes("candles1m", symbol)
    assert minutes, f"no minute of candles of {name} {symbol} is vouched for by both ways"
    for minute_us in sorted(minutes):
        told = ccxt.candle_of(symbol, minute_us)
        assert told == native.candle_of(symbol, minute_us)
        assert told == values(market.truth(name, symbol).candles(minute_us, minute_us + MINUTE_US))
