"""Faults told over the control endpoint, the command line and the Python interface; what is wrong is one sentence."""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from fullon_simulator import KINDS, MarketClock, SimulatedMarket, SymbolSpec, make_fault
from fullon_simulator.cli import main

NOON_US = 1_767_268_800_000_000
COMMAND = [sys.executable, "-m", "fullon_simulator"]


@pytest.fixture
async def market() -> AsyncIterator[SimulatedMarket]:
    venues = {"kraken": [SymbolSpec("BTC/USD", 30_000)], "binance": [SymbolSpec("BTC/USDT", 30_000)]}
    async with SimulatedMarket(venues, clock=MarketClock.starting_at(NOON_US, speed=20)) as running:
        yield running


class Control:
    """A client of a venue's control endpoint."""

    def __init__(self, http: aiohttp.ClientSession, origin: str) -> None:
        self._http = http
        self._url = origin + "/_control"

    async def __call__(self, method: str, path: str = "", body: Any = None, *, status: int = 200) -> Any:
        sent = body if isinstance(body, str) or body is None else json.dumps(body)
        async with self._http.request(method, self._url + path, data=sent) as answer:
            told = json.loads(await answer.text())
            assert answer.status == status, told
            return told


@pytest.fixture
async def control(market: SimulatedMarket, http: aiohttp.ClientSession) -> Control:
    return Control(http, market.origin("kraken"))


async def test_a_fault_is_begun_listed_and_healed_by_its_number(market: SimulatedMarket, control: Control) -> None:
    begun = await control("POST", "/faults", {"kind": "stall", "for_s": 600, "symbol": "BTC/USD", "heartbeats": False})
    assert begun["number"] == 1
    assert begun["venues"] == ["kraken"]
    assert begun["arguments"] == {"symbol": "BTC/USD", "heartbeats": False}
    assert begun["ends_us"] - begun["begun_us"] == 600_000_000
    (episode,) = market.faults.active
    assert episode.number == 1
    assert (await control("GET", "/faults"))["active"] == [begun]
    healed = await control("DELETE", "/faults/1")
    assert healed["active"] == []
    assert [each["number"] for each in healed["past"]] == [1]
    assert await control("DELETE", "/faults/1")  # healed already: nothing to do


async def test_a_fault_may_be_for_another_venue_or_for_all(market: SimulatedMarket, control: Control) -> None:
    assert (await control("POST", "/faults", {"kind": "html", "venue": "binance"}))["venues"] == ["binance"]
    assert (await control("POST", "/faults", {"kind": "html", "venue": "all"}))["venues"] == ["kraken", "binance"]
    assert len((await control("DELETE", "/faults"))["past"]) == 2


async def test_faults_touch_the_control_endpoint_never(market: SimulatedMarket, control: Control) -> None:
    for kind in ("status", "html", "hang_answers", "reset_answers", "half_body", "close"):
        await control("POST", "/faults", {"kind": kind})
    overview = await control("GET")
    assert len(overview["active"]) == 6
    assert overview["venues"]["kraken"]["paths"] == {}, "nor is it counted"
    assert overview["venues"]["kraken"]["ended"].keys() == {"BTC/USD"}
    await control("DELETE", "/faults")
    assert (await control("GET"))["idle"]


async def test_counts_are_read_back(market: SimulatedMarket, control: Control, http: aiohttp.ClientSession) -> None:
    await control("POST", "/faults", {"kind": "status", "status": 418, "times": 1})
    url = market.origin("kraken") + "/0/public/OHLC?pair=XBTUSD"
    statuses = []
    for _ in range(2):
        async with http.get(url) as answer:
            statuses.append(answer.status)
    assert statuses == [418, 200]
    (record,) = (await control("GET", "/faults"))["active"]
    assert (record["struck"], record["done"]) == (1, {"BTC/USD": 1})


async def test_kinds_tell_what_they_do_and_what_they_take(control: Control) -> None:
    kinds = await control("GET", "/kinds")
    assert [each["kind"] for each in kinds] == list(KINDS)
    for each in kinds:
        assert each["sentence"].endswith(".")
        assert "\n" not in each["sentence"]
        for parameter in each["parameters"].values():
            assert parameter.keys() == {"means", "allowed", "default"}
        defaults = {name: parameter["default"] for name, parameter in each["parameters"].items()}
        assert make_fault(each["kind"], defaults).arguments() == {}


def test_the_readme_has_a_row_for_every_kind_and_its_own_parameters() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rows = {kind: told.split() for kind, told in re.findall(r"^\| `(\w+)`.*\| `?([\w ]*)`? ?\|$", readme, re.MULTILINE)}
    assert list(rows) == list(KINDS)
    shared = {"symbol", "channel", "share", "times", "where"}
    for name, kind in KINDS.items():
        own = kind.parameters().keys() - shared
        assert own <= set(rows[name]) <= kind.parameters().keys(), name
        assert (f"`{name}` * |" in readme) == ("where" in kind.parameters())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", "/faults", "{", 400, "the body must be a JSON object: "),
        ("POST", "/faults", "[]", 400, 'the body must be a JSON object, for instance {"kind": "drop"}'),
        ("POST", "/faults", {}, 400, 'a step is {"at_s": 0, "kind": "drop", …}'),
        ("POST", "/faults", {"kind": "stal"}, 400, "kind is 'stal'; allowed are drop, accept_and_close, "),
        ("POST", "/faults", {"kind": "stall", "share": 2}, 400, "share of stall is 2; allowed is a number from 0 to 1"),
        ("POST", "/faults", {"kind": "stall", "times": True}, 400, "times of stall is True; allowed is a whole number"),
        ("POST", "/faults", {"kind": "stall", "heartbeats": 1}, 400, "heartbeats of stall is 1; allowed is true or "),
        (
            "POST",
            "/faults",
            {"kind": "stall", "channel": "x"},
            400,
            "channel of stall is 'x'; allowed is one of ",
        ),
        ("POST", "/faults", {"kind": "stall", "volume": 1}, 400, "stall has no volume; it has symbol, share, times, "),
        ("POST", "/faults", {"kind": "hang", "share": 1}, 400, "hang has no share; it has no parameters"),
        ("POST", "/faults", {"kind": "stall", "symbol": "X"}, 400, "symbol is 'X'; kraken do not have it"),
        ("POST", "/faults", {"kind": "stall", "venue": "bitmex"}, 400, "venue is 'bitmex'; this market has kraken, "),
        ("POST", "/faults", {"kind": "stall", "for_s": -1}, 400, "for_s is -1; allowed is a number above 0"),
        ("POST", "/faults", {"kind": "stall", "at_s": 5}, 400, "a fault begins at once; what begins later is a step"),
        ("POST", "/faults", {"kind": "down"}, 400, "down needs for_s here: over its own port it could not be healed"),
        ("DELETE", "/faults/7", None, 400, "fault 7 was never begun; the last one is 0"),
        ("DELETE", "/faults/x", None, 400, "fault is 'x'; allowed is its number, or nothing for all"),
        ("POST", "/scenario", {"draw": 1}, 400, 'a scenario is drawn with {"draw": 7, '),
        ("POST", "/scenario", {"draw": 1, "length_s": -1}, 400, "length_s is -1 and every_s 20.0; allowed are "),
        ("POST", "/scenario", {"steps": []}, 400, 'a scenario is {"seed": 7, '),
        ("PUT", "/faults", None, 404, "PUT /_control/faults is not known; there are GET /_control, "),
        ("GET", "/fault", None, 404, "GET /_control/fault is not known; there are GET /_control, "),
    ],
)
async def test_what_is_wrong_is_told_in_one_sentence_and_changes_nothing(
    market: SimulatedMarket, control: Control, method: str, path: str, body: Any, status: int, sentence: str
) -> None:
    error = (await control(method, path, body, status=status))["error"]
    assert error.startswith(sentence)
    assert "\n" not in error
    assert market.faults.idle
    assert not market.faults.past


async def test_a_scenario_is_played_or_drawn(market: SimulatedMarket, control: Control) -> None:
    steps = [{"at_s": 0, "kind": "stall", "for_s": 1}, {"at_s": 1, "kind": "drop", "venue": "binance"}]
    played = await control("POST", "/scenario", {"seed": 3, "steps": steps})
    assert played == {"seed": 3, "steps": steps}
    while not market.faults.idle:
        await asyncio.sleep(0.02)
    assert {episode.kind for episode in market.faults.past} == {"stall", "drop"}
    drawn = await control("POST", "/scenario", {"draw": 5, "length_s": 100})
    assert drawn == market.faults.draw(5, length_s=100).record()
    await control("DELETE", "/faults")


async def test_down_is_over_when_its_time_is(market: SimulatedMarket, control: Control) -> None:
    await control("POST", "/faults", {"kind": "down", "for_s": 20})
    with pytest.raises(aiohttp.ClientError):  # cut, or refused
        [await control("GET") for _ in range(100)]
    with pytest.raises(aiohttp.ClientConnectorError):
        await control("GET")
    other = market.origin("binance")
    async with aiohttp.ClientSession() as http:
        assert [each["kind"] for each in (await Control(http, other)("GET", "/faults"))["active"]] == ["down"]
    while market.faults.active:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert (await control("GET"))["idle"]


async def test_python_refuses_what_makes_no_sense_too(market: SimulatedMarket) -> None:
    with pytest.raises(ValueError, match="for_s is 0; allowed is more than 0"):
        market.faults.begin("stall", for_s=0)
    with pytest.raises(ValueError, match="symbol is 'ETH/USD'; kraken and binance do not have it"):
        market.faults.begin("stall", symbol="ETH/USD")
    with pytest.raises(ValueError, match="fault 3 was never begun"):
        market.faults.heal(3)
    assert list(market.faults.begin("stall", symbol="BTC/USDT").faults) == ["binance"], "where the symbol is"


@pytest.fixture
def served() -> Iterator[str]:
    """The origin of a market in a process of its own."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--venue", "kraken:1", "--venue", "binance:1"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"FULLON_CLOCK": ""},
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["origins"]["kraken"]
        finally:
            process.kill()


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """The command line, in this process."""

    def run(*arguments: str, text: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(left.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


Run = Callable[..., Outcome]


def test_the_command_line_tells_a_running_market(served: str, run: Run, tmp_path: Path) -> None:
    begun = json.loads(run("fault", served, "late", "delay_s=3", "symbol=BTC/USD", "--for", "60").stdout)
    assert (begun["kind"], begun["arguments"]) == ("late", {"delay_s": 3, "symbol": "BTC/USD"})
    assert json.loads(run("fault", served, "drop", "--venue", "all").stdout)["venues"] == ["kraken", "binance"]
    assert [each["number"] for each in json.loads(run("faults", served).stdout)["active"]] == [1]
    assert json.loads(run("heal", served, "1").stdout)["active"] == []
    path = tmp_path / "scenario.json"
    path.write_text('{"seed": 1, "steps": [{"kind": "html"}]}')
    assert json.loads(run("scenario", served, str(path)).stdout)["steps"] == [{"at_s": 0, "kind": "html"}]
    drawn = run("scenario", served, "--draw", "4", "--length", "300").stdout
    assert json.loads(run("scenario", served, "-", text=drawn).stdout) == json.loads(drawn)
    refused = run("fault", served, "late", "delay_s=-1")
    assert refused == (
        1,
        "",
        f"fullon-simulator: {served}: delay_s of late is -1; allowed is a number from 0 to 86400\n",
    )


def test_the_command_line_lists_the_kinds(run: Run) -> None:
    answer = run("kinds")
    assert answer.code == 0
    assert [line for line in answer.stdout.splitlines() if not line.startswith(" ")] == list(KINDS)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["fault", "nowhere", "drop"], 2, "'nowhere' is not an origin, for instance http://127.0.0.1:9101"),
        (["fault", "http://127.0.0.1:1", "drop"], 1, "http://127.0.0.1:1: nothing answers there: "),
        (["fault", "http://127.0.0.1:1", "drop", "share"], 2, "'share' is not NAME=VALUE, for instance share=0.2"),
        (["scenario", "http://127.0.0.1:1"], 2, "a scenario is either FILE or --draw SEED"),
        (["scenario", "http://127.0.0.1:1", "/nowhere"], 2, "cannot read the scenario /nowhere: "),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    answer = run(*arguments)
    assert (answer.code, answer.stdout) == (code, "")
    assert sentence in answer.stderr
