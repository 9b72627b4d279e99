"""No test depends on the date: what would is refused, before it runs or when it builds its market."""

import subprocess
import sys
from pathlib import Path

import pytest
from fixed_clock import BEGINS_US, unix_now_s

from fullon_simulator import MarketClock, SimulatedMarket

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "clock",
    [
        MarketClock(),
        MarketClock(speed=20.0, exchange_us=1_796_000_000_000_000, unix_us=1_796_000_000_000_000),
    ],
    ids=["real", "accelerated"],
)
def test_a_market_that_is_drawn_from_the_wall_clock_fails_its_test(clock: MarketClock) -> None:
    with pytest.raises(pytest.fail.Exception, match="drawn from the wall clock"):
        SimulatedMarket({"kraken": 1}, clock=clock)


def test_without_a_clock_a_market_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLON_CLOCK", "")
    with pytest.raises(pytest.fail.Exception, match="drawn from the wall clock"):
        SimulatedMarket({"kraken": 1})


def test_a_market_that_begins_at_a_fixed_moment_is_allowed() -> None:
    market = SimulatedMarket({"kraken": 1}, clock=MarketClock.starting_at(BEGINS_US, speed=20.0))
    assert 0 <= market.clock.now_us() - BEGINS_US < 60_000_000


@pytest.mark.parametrize(
    "line",
    [
        "import time\nprint(time.time())\n",
        "import time\nprint(time.time_ns())\n",
        "from time import time\nprint(time())\n",
        "from datetime import UTC, datetime\nprint(datetime.now(UTC))\n",
        "import datetime\nprint(datetime.datetime.now(datetime.UTC))\n",
        "from datetime import date\nprint(date.today())\n",
    ],
)
@pytest.mark.parametrize("place", ["tests/unit/test_new.py", "packages/fullon_ohlcv/tests/test_new.py"])
def test_a_test_that_reads_the_wall_clock_is_refused_by_the_linter(line: str, place: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", place, "-"]
    ended = subprocess.run(command, input=line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stdout
    assert "must not depend on the date" in ended.stdout


def test_the_wall_clock_may_anchor_another_clock() -> None:
    assert unix_now_s() > BEGINS_US / 1e6
