"""Markets that are halted, delisted or refused, and a venue that is closed: said, honoured, and back by themselves."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.records import Interval, Lifecycle, MarketState, State, TradeWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service import live, market_watch, markets
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.health import STALE_S, find_stale
from fullon_ohlcv_service.market_watch import MarketWatch
from fullon_ohlcv_service.reporter import StatusReporter, _update_of
from fullon_ohlcv_service.runtime import open_runtime
from fullon_ohlcv_service.status import Phase, StatusBoard
from fullon_simulator import Outlet, SimulatedMarket


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markets are examined each minute instead of each hour."""
    monkeypatch.setattr(market_watch, "EXAMINE_EVERY_S", 60.0)
    monkeypatch.setattr(market_watch, "NEWS_S", 10.0)
    monkeypatch.setattr(live, "REFUSED_AGAIN_S", 50.0)
    monkeypatch.setattr(markets, "PAUSE_MAX_US", 30_000_000)


def phase_is(daemon: OhlcvServiceDaemon, exchange: str, symbol: str, phase: Phase) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        runtime = daemon._runtime
        if runtime is None:
            return False
        await StatusReporter(runtime).refresh()
        line = runtime.board.get(exchange, symbol)
        return line is not None and line.phase is phase

    return holds


def store_of(daemon: OhlcvServiceDaemon) -> TimeseriesStore:
    assert daemon._runtime is not None
    return daemon._runtime.store


async def state_of(daemon: OhlcvServiceDaemon, exchange: str, symbol: str) -> MarketState:
    return (await store_of(daemon).read_states())[exchange, symbol]


async def minutes_of(daemon: OhlcvServiceDaemon, exchange: str, symbol: str, interval: Interval) -> dict[str, int]:
    """How many minutes of the interval are in each state."""
    store = store_of(daemon)
    series = await store.series(exchange, symbol, "candles1m")
    found: dict[str, int] = {}
    for minute in await store.classify(series, interval):
        found[minute.state] = found.get(minute.state, 0) + 1
    return found


async def test_a_market_that_its_venue_forgets_is_delisted_alone_and_comes_back_by_itself(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    async with running_daemon() as daemon:
        for symbol in ("BTC/USD", "ADA/USD"):
            await eventually(phase_is(daemon, "kraken", symbol, Phase.LIVE), f"{symbol} live")
        ended_us = floor_minute_us(clock.now_us())
        fault = seeded.faults.begin("delist", venue="kraken", symbol="ADA/USD")
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.DELISTED), "ADA/USD delisted")
        state = await state_of(daemon, "kraken", "ADA/USD")
        assert (state.state, state.reason) == (Lifecycle.DELISTED, "delisted: no longer listed by kraken")
        assert state.since_us >= ended_us
        assert daemon._runtime is not None
        line = daemon._runtime.board.get("kraken", "ADA/USD")
        assert line is not None
        assert _update_of(line).message == state.reason
        claims, trades = daemon._runtime.claims, await store_of(daemon).series("kraken", "ADA/USD", "trades")
        await eventually(lambda: claims.end_us(trades) is None, "ADA/USD no longer streamed")
        missed = (floor_minute_us(clock.now_us()) + MINUTE_US, floor_minute_us(clock.now_us()) + 2 * MINUTE_US)

        async def accounted_for() -> bool:
            return clock.now_us() > missed[1] and await minutes_of(daemon, "kraken", "ADA/USD", missed) == {
                State.UNAVAILABLE: 1
            }

        await eventually(accounted_for, "what is missing is unavailable")
        assert await phase_is(daemon, "kraken", "BTC/USD", Phase.LIVE)()
        seeded.faults.heal(fault)
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.LIVE), "ADA/USD live again")

        async def known_again() -> bool:
            return await minutes_of(daemon, "kraken", "ADA/USD", missed) == {State.VERIFIED_EMPTY: 1}

        await eventually(known_again, "what was unavailable is known")
        assert (await state_of(daemon, "kraken", "ADA/USD")).state is Lifecycle.ACTIVE


async def test_a_halted_market_is_not_streamed_hardly_asked_for_and_comes_back_by_itself(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    async with running_daemon() as daemon:
        for symbol in ("BTC/USDT", "ADA/USDT"):
            await eventually(phase_is(daemon, "binance", symbol, Phase.LIVE), f"{symbol} live")
        fault = seeded.faults.begin("halt", venue="binance", symbol="ADA/USDT")
        await eventually(phase_is(daemon, "binance", "ADA/USDT", Phase.HALTED), "ADA/USDT halted")
        assert (await state_of(daemon, "binance", "ADA/USDT")).reason == "halted: binance does not trade it now"
        assert daemon._runtime is not None
        claims = daemon._runtime.claims
        series = await store_of(daemon).series("binance", "ADA/USDT", "candles1m")
        await eventually(lambda: claims.end_us(series) is None, "ADA/USDT no longer streamed")
        asked = seeded.requests("binance").paths["/api/v3/klines"]
        await clock.sleep(180)
        # Re-checks of the other market ask too: once a minute at most, and now and then for an older sample.
        assert seeded.requests("binance").paths["/api/v3/klines"] - asked <= 12
        assert await phase_is(daemon, "binance", "BTC/USDT", Phase.LIVE)()
        seeded.faults.heal(fault)
        await eventually(phase_is(daemon, "binance", "ADA/USDT", Phase.LIVE), "ADA/USDT live again")


async def test_after_a_maintenance_every_market_is_collected_again_within_two_minutes(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the pace of a real daemon: lists of markets are read once an hour while nothing is halted."""
    monkeypatch.setattr(market_watch, "EXAMINE_EVERY_S", 3600.0)
    monkeypatch.setattr(market_watch, "NEWS_S", 60.0)
    monkeypatch.setattr(markets, "PAUSE_MAX_US", 24 * 60 * MINUTE_US)
    symbols = [("kraken", "BTC/USD"), ("binance", "BTC/USDT")]
    async with running_daemon() as daemon:
        for name, symbol in symbols:
            await eventually(phase_is(daemon, name, symbol, Phase.LIVE), f"{symbol} live")
        faults = [seeded.faults.begin("maintenance", venue=name) for name, _ in symbols]
        assert daemon._runtime is not None
        for name, symbol in symbols:
            daemon._runtime.markets.doubt(name)
            await eventually(phase_is(daemon, name, symbol, Phase.HALTED), f"{symbol} halted")
        await clock.sleep(150)
        for fault, (name, _) in zip(faults, symbols, strict=True):
            seeded.faults.heal(fault)
            seeded.faults.begin("maintenance", venue=name, phase="limited")
        healed_us = clock.now_us()
        for name, symbol in symbols:

            async def traded_again(name: str = name, symbol: str = symbol) -> bool:
                return (await state_of(daemon, name, symbol)).state is Lifecycle.ACTIVE

            await eventually(traded_again, f"{symbol} traded again")
            noticed_us = (await state_of(daemon, name, symbol)).since_us
            assert noticed_us - healed_us < 120_000_000
        for name, symbol in symbols:
            await eventually(phase_is(daemon, name, symbol, Phase.LIVE), f"{symbol} live again")


async def test_a_market_that_is_traded_again_and_not_collected_yet_is_not_ready() -> None:
    now_us = 1_767_225_600_000_000
    board = StatusBoard(Clock())
    one = WantedSymbol("kraken", "BTC/USD", 1)
    board.want({one})
    line = board.get("kraken", "BTC/USD")
    assert line is not None
    line.covered_until_us = now_us - 10 * MINUTE_US
    board.set_state(MarketState("kraken", "BTC/USD", Lifecycle.HALTED, "halted: …", now_us))
    assert find_stale(board, now_us, STALE_S) == []
    board.set_state(MarketState("kraken", "BTC/USD", Lifecycle.ACTIVE, "", now_us))
    assert [one.reason for one in find_stale(board, now_us, STALE_S)] == ["600 s behind, 300 s is the limit"]


async def test_a_market_that_stays_listed_as_delisted_keeps_its_past_and_the_rest_is_unavailable(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, "binance", "BTC/USDT", Phase.LIVE), "BTC/USDT live")
        begun_us = floor_minute_us(clock.now_us())
        seeded.faults.begin("delist", venue="binance", symbol="BTC/USDT")
        await eventually(phase_is(daemon, "binance", "BTC/USDT", Phase.DELISTED), "BTC/USDT delisted")
        state = await state_of(daemon, "binance", "BTC/USDT")
        assert state.reason == "delisted: binance lists it as one that is not traded any more"
        end_us = floor_minute_us(state.since_us) + 3 * MINUTE_US

        async def accounted_for() -> bool:
            minutes = await minutes_of(daemon, "binance", "BTC/USDT", (end_us - MINUTE_US, end_us))
            return clock.now_us() > end_us and minutes == {State.UNAVAILABLE: 1}

        await eventually(accounted_for, "what is missing since is unavailable")
        past = (begun_us - 120 * MINUTE_US, begun_us)
        store = store_of(daemon)
        series = await store.series("binance", "BTC/USDT", "candles1m")
        truth = [tuple(candle) for candle in seeded.truth("binance", "BTC/USDT").candles(*past)]
        assert await store.read_candles(series, past) == truth


async def test_a_delisted_market_is_not_called_unknown_by_the_next_daemon(seeded: SimulatedMarket) -> None:
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.LIVE), "ADA/USD live")
    seeded.faults.begin("delist", venue="kraken", symbol="ADA/USD")
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.DELISTED), "ADA/USD delisted")
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.DELISTED), "ADA/USD delisted still")
        await eventually(phase_is(daemon, "kraken", "BTC/USD", Phase.LIVE), "BTC/USD live")


class ShortList(Outlet):
    """Leaves ADA/USD out of the third list of markets, and of no other."""

    def __init__(self) -> None:
        self.lists = 0

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if request.path.endswith("AssetPairs") and isinstance(response, web.Response):
            self.lists += 1
            if self.lists == 3:
                shorter = (response.text or "").replace("ADA/USD", "XXX/USD")
                return web.Response(text=shorter, content_type="application/json")
        return response


async def test_killed_while_a_market_comes_back_the_next_daemon_takes_back_what_was_called_unavailable(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    """The state that says so is written last."""
    one = WantedSymbol("kraken", "ADA/USD", 1)
    reason = "delisted: no longer listed by kraken"
    start_us = floor_minute_us(clock.now_us()) - 60 * MINUTE_US
    lost = (start_us, start_us + 15 * MINUTE_US)
    async with open_runtime() as runtime:
        trades = await runtime.store.series(one.exchange, one.symbol, "trades")
        await runtime.store.write_trades([TradeWrite(trades, (), unavailable=[(lost, reason)])])
        await runtime.store.set_state(MarketState(one.exchange, one.symbol, Lifecycle.DELISTED, reason, lost[1]))
    holder = await connect(Target.from_env())
    try:
        async with open_runtime() as runtime, holder.transaction():
            await holder.execute("LOCK TABLE coverage IN ACCESS EXCLUSIVE MODE")
            watch = MarketWatch(runtime, live=[], history=[])
            await watch.want({one})
            watching = asyncio.create_task(watch.run())

            async def waits_for_the_ledger() -> bool:
                waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'coverage'::regclass"
                return bool(await holder.fetchval(f"SELECT EXISTS ({waiting})"))

            await eventually(waits_for_the_ledger, "what is to be taken back waits")
            watching.cancel()
            await asyncio.wait([watching])
    finally:
        await holder.close()
    async with open_runtime() as runtime, asyncio.TaskGroup() as group:
        watch = MarketWatch(runtime, live=[], history=[])
        await watch.want({one})
        watching = group.create_task(watch.run())

        async def is_a_gap() -> bool:
            return (await runtime.store.gaps({trades: lost}))[trades] == [lost]

        await eventually(is_a_gap, "unknown again")
        watching.cancel()


async def test_a_market_that_is_missing_from_one_list_only_is_not_given_up(seeded: SimulatedMarket) -> None:
    outlet = seeded.venue("kraken").outlet = ShortList()
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.LIVE), "ADA/USD live")
        since_us = (await state_of(daemon, "kraken", "ADA/USD")).since_us
        await eventually(lambda: outlet.lists >= 5, "five lists of markets")
        state = await state_of(daemon, "kraken", "ADA/USD")
        assert (state.state, state.since_us) == (Lifecycle.ACTIVE, since_us)
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.LIVE), "ADA/USD live again")


@pytest.mark.parametrize(
    ("venue", "bad", "good"), [("kraken", "ADA/USD", "BTC/USD"), ("binance", "ADA/USDT", "BTC/USDT")]
)
async def test_a_refused_subscription_hurts_no_other_and_is_tried_again_later(
    seeded: SimulatedMarket, venue: str, bad: str, good: str
) -> None:
    fault = seeded.faults.begin("refuse_subscriptions", venue=venue, symbol=bad)
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, venue, bad, Phase.REFUSED), f"{bad} refused")
        await eventually(phase_is(daemon, venue, good, Phase.LIVE), f"{good} live")
        assert (await state_of(daemon, venue, bad)).state is Lifecycle.ACTIVE
        await asyncio.sleep(4)
        assert 1 <= fault.struck <= 5
        seeded.faults.heal(fault)
        await eventually(phase_is(daemon, venue, bad, Phase.LIVE), f"{bad} live in the end")


async def test_a_closed_venue_is_said_once_asked_nothing_and_what_is_missing_of_it_is_unavailable(
    seeded: SimulatedMarket, clock: Clock, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimulatedMarket({"bitmex": 2}, seed=5) as closed:
        monkeypatch.delenv("FULLON_BITMEX_ORIGIN", raising=False)
        await seed_database(closed, backtest_days=1)
        async with running_daemon() as daemon:
            await eventually(phase_is(daemon, "binance", "BTC/USDT", Phase.LIVE), "BTC/USDT live")
            for symbol in ("", *closed.symbols("bitmex")):
                assert (await state_of(daemon, "bitmex", symbol)).state is Lifecycle.CLOSED
            symbol = closed.symbols("bitmex")[0]
            assert await phase_is(daemon, "bitmex", symbol, Phase.CLOSED)()
            end_us = floor_minute_us(clock.now_us())

            async def accounted_for() -> bool:
                minutes = await minutes_of(daemon, "bitmex", symbol, (end_us - 1000 * MINUTE_US, end_us))
                return minutes == {State.UNAVAILABLE: 1000}

            await eventually(accounted_for, "every minute unavailable")
        said = [line for line in capfd.readouterr().err.splitlines() if "closed for good" in line]
        assert len(said) == 1
        assert "exchange not collected" in said[0]
        # Where somebody speaks for it again, it is collected again, and what was unavailable is a gap.
        for name, value in closed.environment().items():
            monkeypatch.setenv(name, value)
        async with running_daemon() as daemon:
            await eventually(phase_is(daemon, "bitmex", symbol, Phase.LIVE), f"{symbol} live")
            interval = (end_us - 100 * MINUTE_US, end_us)
            assert State.UNAVAILABLE not in await minutes_of(daemon, "bitmex", symbol, interval)
