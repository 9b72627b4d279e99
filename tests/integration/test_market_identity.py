"""A symbol stays with the market it was first collected from, by its id, whatever lists say later."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from support import eventually, running_daemon

from fullon_exchange.clock import Clock, floor_minute_us
from fullon_ohlcv.records import Lifecycle, MarketState
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service import live, market_watch
from fullon_ohlcv_service.cli import main
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.reporter import StatusReporter
from fullon_ohlcv_service.status import Phase
from fullon_simulator import SimulatedMarket

IDS = {("kraken", "ADA/USD"): "ADAUSD", ("binance", "ADA/USDT"): "ADAUSDT"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markets are examined each minute instead of each hour."""
    monkeypatch.setattr(market_watch, "EXAMINE_EVERY_S", 60.0)
    monkeypatch.setattr(market_watch, "NEWS_S", 10.0)
    monkeypatch.setattr(live, "REFUSED_AGAIN_S", 50.0)


def phase_is(daemon: OhlcvServiceDaemon, exchange: str, symbol: str, phase: Phase) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        if (runtime := daemon._runtime) is None:
            return False
        await StatusReporter(runtime).refresh()
        line = runtime.board.get(exchange, symbol)
        return line is not None and line.phase is phase

    return holds


async def states_of(clock: Clock) -> dict[tuple[str, str], MarketState]:
    async with TimeseriesStore.open(now_us=clock.now_us) as store:
        return await store.read_states()


async def until_live(daemon: OhlcvServiceDaemon, *symbols: tuple[str, str]) -> None:
    for exchange, symbol in symbols:
        await eventually(phase_is(daemon, exchange, symbol, Phase.LIVE), f"{symbol} live")


async def test_a_name_that_means_another_market_is_refused_until_its_own_is_back(
    seeded: SimulatedMarket, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [("kraken", "ADA/USD"), ("binance", "ADA/USDT")]
    async with running_daemon() as daemon:
        await until_live(daemon, *keys)
        states = await states_of(clock)
        assert {key: states[key].market_id for key in keys} == IDS
        faults = [
            seeded.faults.begin("duplicate_name", venue=exchange, symbol=symbol, place="instead")
            for exchange, symbol in keys
        ]
        for exchange, symbol in keys:
            await eventually(phase_is(daemon, exchange, symbol, Phase.DELISTED), f"{symbol} refused")
            state = (await states_of(clock))[exchange, symbol]
            market_id = IDS[exchange, symbol]
            assert state.reason == (
                f"delisted: renamed: {symbol} now means the market {market_id}2; "
                f"collected is {market_id}, which is not listed any more"
            )
            assert state.market_id == market_id
        await until_live(daemon, ("kraken", "BTC/USD"), ("binance", "BTC/USDT"))

        capsys.readouterr()
        assert await asyncio.to_thread(main, ["symbols", "list", "-x", "kraken", "--json"]) == 0
        listed = {one["symbol"]: one for one in json.loads(capsys.readouterr().out)["symbols"]}
        assert listed["ADA/USD"]["market_id"] == "ADAUSD"
        assert "now means the market ADAUSD2" in listed["ADA/USD"]["problem"]
        assert await asyncio.to_thread(main, ["symbols", "add", "kraken:ada/usd"]) == 2
        assert "symbols add 'kraken:ADA/USD#ADAUSD2'` collects the other market" in capsys.readouterr().err
        assert await asyncio.to_thread(main, ["symbols", "add", "kraken:ADA/USD#ADAUSD2"]) == 0
        assert await asyncio.to_thread(main, ["symbols", "remove", "kraken:ADA/USD#ADAUSD2"]) == 0

        for fault in faults:
            seeded.faults.heal(fault)
        ended_us = floor_minute_us(clock.now_us())
        await until_live(daemon, *keys)
        assert daemon._runtime is not None
        store = daemon._runtime.store
        series = [await store.series(*key, "candles1m") for key in keys]

        async def nothing_is_missing() -> bool:
            found = await store.coverage_maps(dict.fromkeys(series, (ended_us - 300_000_000, ended_us)))
            return all(run.state.value == "covered" for runs in found.values() for run in runs)

        await eventually(nothing_is_missing, "what was unavailable is there")


async def test_a_renamed_market_ends_and_a_second_of_its_name_changes_nothing(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    """Also for a daemon that starts while the list has the second one first."""
    async with running_daemon() as daemon:
        await until_live(daemon, ("kraken", "ADA/USD"), ("binance", "ADA/USDT"))
    seeded.faults.begin("duplicate_name", venue="binance", symbol="ADA/USDT", place="before")
    seeded.faults.begin("renamed_market", venue="kraken", symbol="ADA/USD")
    async with running_daemon() as daemon:
        await until_live(daemon, ("kraken", "BTC/USD"), ("binance", "ADA/USDT"))
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.DELISTED), "ADA/USD ended")
    states = await states_of(clock)
    assert states["kraken", "ADA/USD"].reason == "delisted: renamed: the market ADAUSD is listed as RENAMED/USD now"
    assert (states["binance", "ADA/USDT"].state, states["binance", "ADA/USDT"].market_id) == ("active", "ADAUSDT")


async def test_a_market_recorded_without_an_id_is_pinned_by_the_first_list(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    since_us = clock.now_us() - 3_600_000_000
    async with TimeseriesStore.open(now_us=clock.now_us) as store:
        await store.set_state(MarketState("kraken", "ADA/USD", Lifecycle.ACTIVE, "", since_us))
        async with running_daemon():

            async def is_pinned() -> bool:
                return (await store.read_states())["kraken", "ADA/USD"].market_id == "ADAUSD"

            await eventually(is_pinned, "pinned")
        assert (await store.read_states())["kraken", "ADA/USD"].since_us == since_us
        await store.set_state(MarketState("kraken", "ADA/USD", Lifecycle.ACTIVE, "", since_us, "OTHER"))
        assert (await store.read_states())["kraken", "ADA/USD"].market_id == "ADAUSD"


async def test_a_malformed_row_of_a_collected_market_does_not_end_it(seeded: SimulatedMarket, clock: Clock) -> None:
    async with running_daemon() as daemon:
        await until_live(daemon, ("kraken", "ADA/USD"), ("kraken", "BTC/USD"))
        seeded.faults.begin("malformed_listing", venue="kraken", symbol="ADA/USD")
        assert daemon._runtime is not None
        examined_us = daemon._runtime.markets._examined_us

        async def examined_twice(after_us: int) -> bool:
            return examined_us["kraken"] > after_us + 60_000_000

        begun_us = clock.now_us()
        await eventually(lambda: examined_twice(begun_us), "examined meanwhile")
        await until_live(daemon, ("kraken", "ADA/USD"))
    async with running_daemon() as daemon:
        await eventually(phase_is(daemon, "kraken", "ADA/USD", Phase.HALTED), "ADA/USD not given up")
        seeded.faults.heal()
        await until_live(daemon, ("kraken", "ADA/USD"))
    states = await states_of(clock)
    assert states["kraken", "ADA/USD"].state is Lifecycle.ACTIVE
