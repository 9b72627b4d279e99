"""Streams that stamp, count or close candles another way than REST are stopped before anything of them is stored."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import pytest
from fixed_clock import set_market_clock
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv_service import live, market_watch, recheck
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.reporter import StatusReporter
from fullon_ohlcv_service.status import Phase
from fullon_orm import init_db
from fullon_simulator import Connection, Frame, Outlet, SimulatedMarket, SymbolSpec

SPEED = 40.0
BUSY = {"binance": "BTC/USDT", "hyperliquid": "BTC/USDC:USDC"}


@pytest.fixture
async def candle_market(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    """Two venues with candles of their own, one with and one without a closed flag; a day to back-fill.

    Bitcoin trades at any time of any minute: a candle that is told too early never happens to be the whole one.
    """
    set_market_clock(monkeypatch, SPEED)
    venues = {
        "binance": [
            SymbolSpec("BTC/USDT", trades_per_day=200_000, price=60_000.0),
            SymbolSpec("ETH/USDT", kind="busy"),
        ],
        "hyperliquid": [SymbolSpec("BTC/USDC:USDC", trades_per_day=200_000), SymbolSpec("ETH/USDC:USDC", kind="busy")],
    }
    async with SimulatedMarket(venues, seed=5) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=1)
        yield market


async def phase_and_problem(daemon: OhlcvServiceDaemon, venue: str, symbol: str) -> tuple[Phase | None, str]:
    runtime = daemon._runtime
    if runtime is None:
        return None, ""
    await StatusReporter(runtime).refresh()
    line = runtime.board.get(venue, symbol)
    return (line.phase, line.problem) if line else (None, "")


async def is_stopped(daemon: OhlcvServiceDaemon, venue: str, symbol: str, words: str) -> bool:
    phase, problem = await phase_and_problem(daemon, venue, symbol)
    return phase is Phase.REFUSED and words in problem


async def is_live(daemon: OhlcvServiceDaemon, venue: str, symbol: str) -> bool:
    return (await phase_and_problem(daemon, venue, symbol))[0] is Phase.LIVE


def believed(daemon: OhlcvServiceDaemon, venue: str, symbol: str) -> Callable[[], Awaitable[bool]]:
    """Tell whether live candles are stored as they are told: what is promised grows. While they wait it does not."""
    first_us: int | None = None

    async def is_believed() -> bool:
        nonlocal first_us
        if daemon._runtime is None:
            return False
        promised_us = daemon._runtime.claims.end_us(await daemon._runtime.store.series(venue, symbol, "candles1m"))
        first_us = promised_us if first_us is None or promised_us is None else first_us
        return promised_us is not None and first_us is not None and promised_us >= first_us + 3 * MINUTE_US

    return is_believed


async def require_truth(
    daemon: OhlcvServiceDaemon, market: SimulatedMarket, clock: Clock, wanted: set[WantedSymbol]
) -> None:
    """History goes on over REST, and nothing wrong was ever stored."""
    assert daemon._runtime is not None
    store = daemon._runtime.store
    end_us = floor_minute_us(clock.now_us())
    ranges = {
        await store.series(one.exchange, one.symbol, "candles1m"): (end_us - 60 * MINUTE_US, end_us) for one in wanted
    }

    async def complete() -> bool:
        return not any((await store.gaps(ranges)).values())

    await eventually(complete, "every minute over REST")
    found = await audit(store, market, wanted, start_us=end_us - 60 * MINUTE_US, end_us=end_us)
    assert found.sound, (str(found), found.examples)
    assert not [row for series, interval in ranges.items() for row in await store.read_revisions(series, interval)]


@pytest.mark.parametrize(
    ("venue", "intervals", "words"),
    [("binance", 1, "stamped 1 min late"), ("hyperliquid", -1, "stamped 1 min early")],
)
async def test_a_stream_that_stamps_another_interval_is_stopped_and_history_goes_on(
    candle_market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, venue: str, intervals: int, words: str
) -> None:
    monkeypatch.setattr(market_watch, "EXAMINE_EVERY_S", 120.0)
    monkeypatch.setattr(live, "REFUSED_AGAIN_S", 100.0)
    clock = Clock.from_env()
    symbol = BUSY[venue]
    begun = candle_market.faults.begin("shift_times", venue=venue, symbol=symbol, intervals=intervals)
    wanted = {one for one in await load_wanted_symbols(OhlcvServiceConfig.from_env()) if one.exchange == venue}
    async with running_daemon() as daemon:
        await eventually(lambda: is_stopped(daemon, venue, symbol, words), f"{symbol} stopped")
        other = next(one.symbol for one in wanted if one.symbol != symbol)
        await eventually(lambda: is_live(daemon, venue, other), f"{other} live")
        await require_truth(daemon, candle_market, clock, wanted)
        candle_market.faults.heal(begun)
        await eventually(lambda: is_live(daemon, venue, symbol), f"{symbol} live in the end")


class Thousandfold(Outlet):
    """Counts the volumes of BTC in thousandths."""

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        message = json.loads(frame.text) if frame.text.startswith("{") else {}
        if message.get("channel") != "candle" or message["data"]["s"] != "BTC":
            return (frame,)
        message["data"]["v"] = str(float(message["data"]["v"]) * 1000)
        return (frame._replace(text=json.dumps(message)),)


async def test_a_volume_in_another_unit_stops_the_stream(candle_market: SimulatedMarket) -> None:
    candle_market.venue("hyperliquid").outlet = Thousandfold()
    clock = Clock.from_env()
    symbol = BUSY["hyperliquid"]
    wanted = {one for one in await load_wanted_symbols(OhlcvServiceConfig.from_env()) if one.exchange == "hyperliquid"}
    async with running_daemon() as daemon:
        await eventually(lambda: is_stopped(daemon, "hyperliquid", symbol, "1000 times those of REST"), "stopped")
        await require_truth(daemon, candle_market, clock, wanted)


class ClosedTooEarly(Outlet):
    """Calls the first update of each minute of BTCUSDT the closed candle, and says nothing more of that minute."""

    def __init__(self, *, told: bool = True) -> None:
        self.told = told
        self.minutes: set[int] = set()

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        message = json.loads(frame.text) if frame.text.startswith("{") else {}
        update = message.get("data", message)
        kline = update.get("k", {})
        if not self.told or kline.get("s") != "BTCUSDT" or not kline["n"]:
            return (frame,)
        if kline["t"] in self.minutes:
            return ()
        self.minutes.add(kline["t"])
        if update["E"] > kline["t"] + 40_000:
            return ()  # nearly over: it would be the closed candle after all
        kline["x"] = True
        return (frame._replace(text=json.dumps(message)),)


async def test_a_running_candle_that_is_told_as_closed_stops_the_stream(candle_market: SimulatedMarket) -> None:
    candle_market.venue("binance").outlet = ClosedTooEarly()
    clock = Clock.from_env()
    wanted = {one for one in await load_wanted_symbols(OhlcvServiceConfig.from_env()) if one.exchange == "binance"}
    async with running_daemon() as daemon:
        await eventually(lambda: is_stopped(daemon, "binance", "BTC/USDT", "in progress"), "BTC/USDT stopped")
        await require_truth(daemon, candle_market, clock, wanted)


async def test_a_stream_that_changes_its_ways_later_is_stopped_and_what_it_told_is_corrected(
    candle_market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "DOUBT_AFTER", 1)
    outlet = candle_market.venue("binance").outlet = ClosedTooEarly(told=False)
    clock = Clock.from_env()
    wanted = {one for one in await load_wanted_symbols(OhlcvServiceConfig.from_env()) if one.symbol == "BTC/USDT"}
    async with running_daemon() as daemon:
        await eventually(believed(daemon, "binance", "BTC/USDT"), "compared, and believed")
        outlet.told = True
        begun_us = floor_minute_us(clock.now_us())
        await eventually(lambda: is_stopped(daemon, "binance", "BTC/USDT", "in progress"), "BTC/USDT stopped")
        assert daemon._runtime is not None
        store = daemon._runtime.store
        end_us = floor_minute_us(clock.now_us())

        async def sound() -> bool:
            return (await audit(store, candle_market, wanted, start_us=begun_us, end_us=end_us)).sound

        await eventually(sound, "all of it corrected")
        series = await store.series("binance", "BTC/USDT", "candles1m")
        assert await store.read_revisions(series, (begun_us, end_us))


async def test_each_series_is_compared_with_one_request(
    candle_market: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OHLCV_ENABLE_HISTORICAL", "false")
    clock = Clock.from_env()
    async with running_daemon() as daemon:

        async def stored() -> bool:
            if daemon._runtime is None:
                return False
            series = await daemon._runtime.store.series("binance", "BTC/USDT", "candles1m")
            return len(await daemon._runtime.store.read_candles(series, (0, clock.now_us()))) >= 4

        await eventually(stored, "four live candles")
        assert candle_market.requests("binance").paths["/api/v3/klines"] == 2
