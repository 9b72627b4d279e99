"""A venue fails while a daemon collects from it: what REST still tells fills what the streams have not."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fault.collecting import Collecting, proxied
from fixed_clock import set_market_clock
from support import eventually, running_daemon

from fullon_exchange.clock import MINUTE_US, Clock
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_orm import init_db
from fullon_simulator import SimulatedMarket, SymbolSpec

pytestmark = pytest.mark.timeout(300)

MIDNIGHT_US = 1_768_521_600_000_000
"""2026-01-16: bitcoin trades in the minutes before and after."""


@pytest.fixture
def bitcoin() -> dict[str, Any]:
    """Eight trades a minute: half a minute without any is strange."""
    return {"trades_per_day": 12_000, "price": 60_000.0}


@pytest.fixture
async def collecting(seeded: SimulatedMarket, clock: Clock) -> AsyncIterator[Collecting]:
    async with proxied(seeded, clock) as case:
        yield case


def is_promised(daemon: OhlcvServiceDaemon, exchange: str) -> bool:
    """Tell whether live promises both markets of a venue."""
    runtime = daemon._runtime
    return runtime is not None and sum(len(runtime.claims.of(exchange, one)) for one in ("trades", "candles1m")) == 2


async def test_history_that_is_refused_broken_off_and_no_json_is_filled_all_the_same(collecting: Collecting) -> None:
    """Half of all answers are spoiled, from the very first request on and until everything is there."""
    faults = [
        collecting.market.faults.begin(kind, share=0.12, **parameters)
        for kind, parameters in (
            ("status", {"status": 429, "retry_after_s": 1}),
            ("status", {"status": 418, "retry_after_s": 1}),
            ("status", {"status": 503}),
            ("html", {}),
            ("half_body", {}),
            ("reset_answers", {}),
        )
    ]
    async with running_daemon():
        await collecting.is_repaired("refused, broken and senseless answers")
    assert all(fault.struck for fault in faults)


async def test_a_venue_that_accepts_and_closes_for_minutes_is_polled_instead_and_not_hammered(
    collecting: Collecting,
) -> None:
    market = collecting.market
    async with running_daemon() as daemon:
        await eventually(lambda: is_promised(daemon, "kraken") and is_promised(daemon, "binance"), "both venues live")
        fault = market.faults.begin("accept_and_close")
        market.faults.begin("drop")
        began_s = time.monotonic()
        await collecting.pass_minutes(1.2)
        await collecting.is_repaired("a minute without a stream, and still without one")
        lasted_s = time.monotonic() - began_s
        assert 2 <= fault.struck <= 2 * (5 + lasted_s / 2)
        market.faults.heal()
        await eventually(lambda: is_promised(daemon, "kraken") and is_promised(daemon, "binance"), "live again")
        await collecting.is_repaired("live again")


async def test_one_stalled_market_is_subscribed_anew_then_connected_anew_and_its_neighbours_go_on(
    collecting: Collecting, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running_daemon() as daemon:
        await eventually(lambda: is_promised(daemon, "kraken"), "kraken live")
        stall = collecting.market.faults.begin("stall", symbol="BTC/USD", venue="kraken")
        said = ""

        def has_climbed() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "step=resubscribe" in said and "step=reconnect" in said

        await eventually(has_climbed, lambda: f"both steps, only: {said}")
        assert said.index("step=resubscribe") < said.index("step=reconnect")
        assert "symbol=ADA/USD" not in "".join(line for line in said.splitlines() if "stale stream" in line)
        await collecting.is_repaired("a stalled market, while it is stalled")
        assert stall.struck
        collecting.market.faults.heal()
        await collecting.is_repaired("the stalled market trades on")


async def test_sockets_silent_from_the_first_message_on_cost_no_minute(collecting: Collecting) -> None:
    fault = collecting.market.faults.begin("hang")
    async with running_daemon() as daemon:
        await collecting.is_repaired("a day of history without any stream")
        await collecting.clock.sleep(120.0)
        await collecting.is_repaired("two more minutes without any stream")
        collecting.market.faults.heal(fault)
        await eventually(lambda: is_promised(daemon, "kraken") and is_promised(daemon, "binance"), "both venues live")
        await collecting.is_repaired("the streams speak")


async def test_trades_that_the_stream_leaves_out_are_found_over_rest(collecting: Collecting) -> None:
    async with running_daemon() as daemon:
        await eventually(lambda: is_promised(daemon, "kraken"), "kraken live")
        omit = collecting.market.faults.begin("omit", venue="kraken", symbol="BTC/USD", channel="trades", share=0.3)
        await eventually(lambda: omit.struck >= 10, "trades are left out")
        collecting.market.faults.heal(omit)
        await collecting.is_repaired(f"{omit.struck} omitted trades")


async def test_rows_that_say_nothing_cost_nothing(collecting: Collecting) -> None:
    """Over REST before anything is stored, and on the streams."""
    void = [
        collecting.market.faults.begin("void_rows", venue=name, where="both", share=0.2)
        for name in ("kraken", "binance")
    ]
    async with running_daemon() as daemon:
        await eventually(lambda: is_promised(daemon, "kraken"), "kraken live")
        await eventually(lambda: all(one.struck >= 10 for one in void), "rows that say nothing")
        collected = daemon._condition.collecting
        assert collected is not None
        trades = next(one for one in collected.live if one.channel == "trades")
        await eventually(lambda: trades.counts()["kraken"]["void"] > 0, "they are counted")
        await collecting.is_repaired("void rows")


async def test_history_that_misprints_for_minutes_what_live_had_right_does_not_stand(collecting: Collecting) -> None:
    """Found by the soak: what a re-check took over while the venue was wrong was never read again."""
    async with running_daemon() as daemon:
        await collecting.is_repaired("the start")
        await eventually(lambda: is_promised(daemon, "binance"), "binance live")
        wrong = collecting.market.faults.begin("wrong_candles", venue="binance", where="rest", share=0.6)
        await collecting.clock.sleep(240.0)
        await eventually(lambda: wrong.struck >= 10, "history misprints")
        collecting.market.faults.heal(wrong)
        await collecting.is_repaired(f"{wrong.struck} misprints")


async def test_a_cut_in_the_last_tenth_second_of_a_day_loses_nothing_of_either_day(
    fresh_databases: None, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_market_clock(monkeypatch, speed, MIDNIGHT_US - 3 * MINUTE_US)
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "60")
    venues = {
        "kraken": [SymbolSpec("BTC/USD", kind="busy", price=60_000.0)],
        "binance": [SymbolSpec("BTC/USDT", kind="busy", price=60_000.0)],
    }
    async with SimulatedMarket(venues, seed=6) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        await init_db()
        await seed_database(market, backtest_days=1)
        clock = Clock.from_env()
        async with proxied(market, clock) as collecting, running_daemon():
            await clock.sleep_until(MIDNIGHT_US - 100_000)
            drop = market.faults.begin("drop")
            await clock.sleep_until(MIDNIGHT_US + 2 * MINUTE_US)
            await collecting.is_repaired("a cut just before midnight")
            assert drop.struck
            rows = await collecting.store.read_candles(
                await collecting.store.series("binance", "BTC/USDT", "candles1m"),
                (MIDNIGHT_US - MINUTE_US, MIDNIGHT_US + MINUTE_US),
            )
            assert [row[0] for row in rows] == [MIDNIGHT_US - MINUTE_US, MIDNIGHT_US]
