"""Scenarios: drawn alike from one seed, read back as written, played at their times; a market survives them all."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections import Counter

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullon_simulator import KINDS, MarketClock, Scenario, SimulatedMarket, Step, SymbolSpec, make_fault

NOON_US = 1_767_268_800_000_000
MINUTE_US = 60_000_000
SYMBOLS = {"kraken": ["BTC/USD", "ETH/USD"], "binance": ["BTC/USDT", "ETH/USDT"]}
DRAW = (
    "from fullon_simulator import Scenario; print(Scenario.draw(5, {'kraken': ['BTC/USD']}, length_s=900, every_s=5))"
)


@given(st.integers())
@settings(max_examples=30)
def test_one_seed_draws_one_scenario_and_it_is_read_back_as_written(seed: int) -> None:
    scenario = Scenario.draw(seed, SYMBOLS, length_s=2_000, every_s=10)
    assert scenario == Scenario.draw(seed, SYMBOLS, length_s=2_000, every_s=10)
    assert scenario != Scenario.draw(seed + 1, SYMBOLS, length_s=2_000, every_s=10)
    assert Scenario.parse(str(scenario)) == scenario
    times = [step.at_s for step in scenario.steps]
    assert times == sorted(times)
    assert all(step.for_s is not None and step.at_s + step.for_s <= 2_000.001 for step in scenario.steps)


def test_every_kind_is_drawn_before_any_comes_twice() -> None:
    steps = Scenario.draw(3, SYMBOLS, length_s=100_000, every_s=20).steps
    kinds = [step.fault.kind for step in steps]
    assert set(kinds[: len(KINDS)]) == set(KINDS)
    assert max(Counter(kinds).values()) - min(Counter(kinds).values()) <= 1
    assert {step.venue for step in steps} == {"kraken", "binance", None}
    symbols = {step.fault.arguments().get("symbol") for step in steps}
    assert symbols == {None, *SYMBOLS["kraken"], *SYMBOLS["binance"]}


def test_only_the_kinds_asked_for_are_drawn() -> None:
    steps = Scenario.draw(3, SYMBOLS, length_s=1_000, every_s=5, kinds=("stall", "drop"), for_s=(3.0, 4.0)).steps
    assert {step.fault.kind for step in steps} == {"stall", "drop"}
    with pytest.raises(ValueError, match="kinds are \\['stal'\\]; allowed are drop, "):
        Scenario.draw(3, SYMBOLS, length_s=100, kinds=("stal",))
    with pytest.raises(ValueError, match="length_s is 0"):
        Scenario.draw(3, SYMBOLS, length_s=0)
    with pytest.raises(ValueError, match="for_s is"):
        Scenario.draw(3, SYMBOLS, length_s=10, for_s=(5, 4))


def test_what_is_fixed_is_not_left_to_chance() -> None:
    fixed = {"omit": {"where": "stream", "share": 0.25}, "drop": {"code": 1001}}
    steps = Scenario.draw(3, SYMBOLS, length_s=2_000, every_s=10, kinds=("omit", "drop", "stall"), fixed=fixed).steps
    omitted = [step.fault.arguments() for step in steps if step.fault.kind == "omit"]
    assert {each["share"] for each in omitted} == {0.25}
    assert not any("where" in each for each in omitted), "the usual place"
    assert {step.fault.arguments()["code"] for step in steps if step.fault.kind == "drop"} == {1001}


def test_another_process_draws_the_same() -> None:
    answers = {
        subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, timeout=60, check=True).stdout
        for _ in range(2)
    }
    here = str(Scenario.draw(5, {"kraken": ["BTC/USD"]}, length_s=900, every_s=5))
    assert answers == {here + "\n"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "a scenario is JSON, and this is not"),
        ("[]", 'a scenario is {"seed": 7'),
        ('{"seed": "x", "steps": []}', 'a scenario is {"seed": 7'),
        ('{"seed": 7, "steps": [[]]}', 'step 0: a step is {"at_s": 0'),
        ('{"seed": 7, "steps": [{"kind": "drop"}, {"kind": "stal"}]}', "step 1: kind is 'stal'; allowed are drop, "),
        ('{"seed": 7, "steps": [{"kind": "drop", "at_s": -1}]}', "step 0: at_s is -1; allowed is a number from 0"),
        ('{"seed": 7, "steps": [{"kind": "drop", "for_s": 0}]}', "step 0: for_s is 0; allowed is a number above 0"),
        ('{"seed": 7, "steps": [{"kind": "drop", "venue": 3}]}', "step 0: venue is 3; allowed is a name or null"),
        ('{"seed": 7, "steps": [{"kind": "drop", "x": 3}]}', "step 0: drop has no x; it has code, share, again_s"),
        (
            '{"seed": 7, "steps": [{"kind": "stall", "share": "a"}]}',
            "step 0: share of stall is 'a'; allowed is ",
        ),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Scenario.parse(text)
    assert str(caught.value).startswith(sentence)


async def idle(market: SimulatedMarket) -> None:
    give_up = time.monotonic() + 20
    while not market.faults.idle:
        assert time.monotonic() < give_up, market.faults.active
        await asyncio.sleep(0.02)


def market_of(speed: float, *venues: str) -> SimulatedMarket:
    quotes = {"kraken": "/USD", "binance": "/USDT", "hyperliquid": "/USDC:USDC", "bitmex": "/USDT:USDT"}
    specs = {name: [SymbolSpec(f"{base}{quotes[name]}", 30_000) for base in ("BTC", "ETH")] for name in venues}
    clock = MarketClock.starting_at(NOON_US, speed=speed)
    return SimulatedMarket(specs, clock=clock, rate_limits=False)


async def test_steps_begin_and_end_at_their_times() -> None:
    async with market_of(20, "kraken", "binance") as market:
        steps = (
            Step(4.0, make_fault("stall", {"symbol": "BTC/USD"}), None, 6.0),
            Step(6.0, make_fault("html", {}), "binance", 20.0),
            Step(8.0, make_fault("drop", {}), None),
        )
        begun_us = market.clock.now_us()
        market.faults.play(Scenario(steps, 1))
        assert not market.faults.idle
        await idle(market)
        stall, html, drop = sorted(market.faults.past, key=lambda episode: episode.number)
        assert [list(each.faults) for each in (stall, html, drop)] == [["kraken"], ["binance"], ["kraken", "binance"]]
        for episode, at_s, for_s in ((stall, 4, 6), (html, 6, 20), (drop, 8, 0)):
            late_s = (episode.begun_us - begun_us) / 1e6 - at_s
            assert 0 <= late_s < 10
            assert episode.ends_us is not None
            assert 0 <= (episode.ends_us - episode.begun_us) / 1e6 - for_s < 10


async def test_healing_all_forgets_what_a_scenario_had_in_store() -> None:
    async with market_of(1, "kraken") as market:
        market.faults.play(Scenario((Step(1e6, make_fault("drop", {})), Step(0, make_fault("stall", {}))), 1))
        while not market.faults.active:
            await asyncio.sleep(0.02)
        market.faults.heal()
        assert market.faults.idle


async def test_a_scenario_for_another_market_is_refused_before_it_begins() -> None:
    async with market_of(1, "kraken") as market:
        with pytest.raises(ValueError, match="venue is 'binance'; this market has kraken"):
            market.faults.play(Scenario((Step(0, make_fault("drop", {}), "binance"),)))
        with pytest.raises(ValueError, match="symbol is 'XYZ/USD'; kraken do not have it"):
            market.faults.play(Scenario((Step(0, make_fault("stall", {"symbol": "XYZ/USD"})),)))
        assert market.faults.idle


async def test_a_market_survives_every_kind_at_once_and_is_true_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred faults in ten minutes of its clock, under clients that read, ask and come back."""
    names = ("kraken", "binance", "hyperliquid", "bitmex")
    subscriptions = {
        "kraken": {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD", "ETH/USD"]}},
        "binance": {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@kline_1m"], "id": 1},
        "hyperliquid": {"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}},
        "bitmex": {"op": "subscribe", "args": ["trade:XBTUSDT", "tradeBin1m:ETHUSDT"]},
    }
    paths = {"kraken": "/v2", "binance": "/ws", "hyperliquid": "/ws", "bitmex": "/realtime"}
    since_ms = (NOON_US - 20 * MINUTE_US) // 1000
    wanted = {"coin": "BTC", "interval": "1m", "startTime": since_ms, "endTime": 2 * 10**12}
    pages = {
        "kraken": {"method": "GET", "url": f"/0/public/Trades?pair=XBTUSD&since={since_ms // 1000}"},
        "binance": {"method": "GET", "url": f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={since_ms}"},
        "hyperliquid": {"method": "POST", "url": "/info", "json": {"type": "candleSnapshot", "req": wanted}},
        "bitmex": {"method": "GET", "url": "/api/v1/trade/bucketed?symbol=XBTUSDT&count=20&startTime=2026-01-01T11:40"},
    }
    caplog.set_level(logging.WARNING)
    timeout = aiohttp.ClientTimeout(total=1)
    read: Counter[str] = Counter()
    async with market_of(100, *names) as market, aiohttp.ClientSession(timeout=timeout) as http:
        over = asyncio.Event()

        async def listen(name: str) -> None:
            while not over.is_set():
                try:
                    async with http.ws_connect(market.origin(name) + paths[name]) as socket:
                        await socket.send_json(subscriptions[name])
                        while not over.is_set():
                            message = await socket.receive(timeout=0.5)
                            if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                                break
                            read[f"{name} frames"] += 1
                except (aiohttp.ClientError, TimeoutError, ConnectionError):
                    await asyncio.sleep(0.02)

        async def page(name: str) -> str:
            request = dict(pages[name])
            url = market.origin(name) + request.pop("url")  # type: ignore[operator]
            async with http.request(request.pop("method"), url, **request) as answer:  # type: ignore[arg-type]
                return await answer.text()

        async def ask(name: str) -> None:
            while not over.is_set():
                try:
                    await page(name)
                    read[f"{name} pages"] += 1
                except (aiohttp.ClientError, TimeoutError, ConnectionError, UnicodeDecodeError):
                    pass
                await asyncio.sleep(0.05)

        usual = {name: (await page(name))[:500] for name in names if name != "kraken"}
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(listen(name))
                tasks.create_task(ask(name))
            market.faults.play(market.faults.draw(11, length_s=600, every_s=6, for_s=(2, 60)))
            await idle(market)
            over.set()
        struck = Counter(episode.kind for episode in market.faults.past if episode.struck)
        assert len(market.faults.past) > 70
        assert len(struck) > len(KINDS) / 2
        assert all(read[f"{name} {what}"] for name in names for what in ("frames", "pages"))
        assert {name: (await page(name))[:500] for name in usual} == usual
        assert not market.faults.active
    assert [record.getMessage() for record in caplog.records if "Error handling" in record.getMessage()] == []


async def test_one_seed_strikes_the_same_rows() -> None:
    """Chances come from the seed: what is omitted of a page is the same every time it is asked first."""
    found = []
    for _ in range(2):
        async with market_of(0.01, "binance") as market, aiohttp.ClientSession() as http:
            market.faults.begin("omit", where="rest", share=0.5)
            url = market.origin("binance") + f"/api/v3/aggTrades?symbol=BTCUSDT&startTime={NOON_US // 1000 - 3_600_000}"
            async with http.get(url) as answer:
                found.append([row["a"] for row in json.loads(await answer.text())])
    assert found[0] == found[1]
    assert 150 < len(found[0]) < 350
