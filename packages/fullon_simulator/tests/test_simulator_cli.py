"""The command line: one line when ready, until signalled, and sentences for what is wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fullon_simulator import SymbolSpec, Tape, default_symbols

NOON_S = 1_767_268_800
COMMAND = [sys.executable, "-m", "fullon_simulator"]


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, dict[str, str]]]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_signalled_and_exits_with_0(number: signal.Signals) -> None:
    with serving("--venue", "kraken:3", "--venue", "binance:2") as (process, ready):
        assert ready["environment"]["FULLON_KRAKEN_ORIGIN"] == ready["origins"]["kraken"]
        assert "XXBTZUSD" in get(ready["origins"]["kraken"] + "/0/public/AssetPairs")
        assert "ETHUSDT" in get(ready["origins"]["binance"] + "/api/v3/exchangeInfo")
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_its_history_is_that_of_the_tape_made_here() -> None:
    """Whoever knows seed, venue and symbol knows the truth, without asking the process."""
    with serving("--venue", "kraken:1", "--seed", "5", "--clock", f"{NOON_S}@0x0.001") as (_, ready):
        # 1970 is long ago: even a thousandth of real time puts the clock some weeks after noon.
        url = f"{ready['origins']['kraken']}/0/public/Trades?pair=XBTUSD&since={NOON_S - 3_600}"
        rows = json.loads(get(url))["result"]["XXBTZUSD"]
        assert ready["environment"]["FULLON_CLOCK"].endswith("x0.001")
    (spec,) = default_symbols("kraken", 1)
    truth = Tape(5, "kraken", spec).trades((NOON_S - 3_600) * 1_000_000, NOON_S * 1_000_000)
    assert [(float(row[0]), float(row[1]), str(row[6])) for row in rows][: len(truth)] == [
        (trade.price, trade.volume, trade.trade_id) for trade in truth
    ]


def test_the_clock_of_the_environment_is_used_and_handed_on() -> None:
    clock = f"{NOON_S}.000000@1700000000.000000x0.01"
    with serving("--venue", "binance:1", FULLON_CLOCK=clock) as (_, ready):
        assert ready["environment"]["FULLON_CLOCK"] == clock


def test_recent_listings_and_recordings_are_served(tmp_path: Path) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_text(json.dumps([NOON_S * 1_000_000, "7.5", "2", "buy", "limit", 1]))
    arguments = ("--venue", "kraken:3", "--recent-listing", "2030-01-01T00:00", "--replay", f"kraken:RARE/USD={path}")
    with serving(*arguments) as (_, ready):
        pairs = json.loads(get(ready["origins"]["kraken"] + "/0/public/AssetPairs"))["result"]
    assert pairs.keys() == {"XXBTZUSD", "XETHZUSD", "RAREUSD"}


def test_a_port_in_use_is_one_sentence_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = subprocess.run(
            [*COMMAND, "serve", "--venue", "kraken:1", "--port", f"kraken={port}"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert answer.returncode == 1
    assert re.fullmatch(rf"fullon-simulator: cannot serve kraken on port {port} .*\n", answer.stderr)
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no venue is given"),
        (["--venue", "kraken"], "'kraken' is not NAME:N"),
        (["--venue", "mtgox:3"], "allowed are kraken, binance"),
        (["--venue", "kraken:1", "--clock", "soon"], "the clock is 'soon'"),
        (["--venue", "kraken:1", "--port", "kraken"], "'kraken' is not NAME=PORT"),
        (["--venue", "kraken:1", "--recent-listing", "soon"], "'soon' is neither"),
        (["--replay", "kraken"], "'kraken' is not NAME:SYMBOL=FILE"),
    ],
)
def test_wrong_usage_says_what_is_allowed(arguments: list[str], sentence: str) -> None:
    answer = subprocess.run([*COMMAND, "serve", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_readme_example_runs() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout


def test_a_tape_needs_no_server() -> None:
    assert Tape(1, "kraken", SymbolSpec("BTC/USD")).candles(NOON_S * 1_000_000, (NOON_S + 3_600) * 1_000_000)
