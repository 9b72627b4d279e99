"""The command line on a terminal: questions, a screen that is drawn again, colours only where they can be seen."""

import asyncio
import os
import re
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pexpect
import polars as pl
import pytest
from cli_process import run_cli
from fixed_clock import set_market_clock

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv_service import demo
from fullon_simulator import SimulatedMarket, SymbolSpec

PATIENCE_S = 60
SPEED = 20.0
COLUMNS = 80
ESCAPE = "\x1b["
BASES = [
    "ADA",
    "ARB",
    "ATOM",
    "AVAX",
    "BNB",
    "BTC",
    "DOGE",
    "DOT",
    "ETH",
    "FIL",
    "LINK",
    "LTC",
    "NEAR",
    "OP",
    "SOL",
    "SUI",
    "TRX",
    "UNI",
    "XLM",
    "XRP",
]
NAME = "binance:BTC/USDT"


@pytest.fixture
async def wide_market(fresh_databases: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedMarket]:
    """Twenty markets against USDT and one more; a minute lasts three seconds."""
    set_market_clock(monkeypatch, SPEED)
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "1")
    monkeypatch.setenv("OHLCV_HTTP_BIND", "")
    specs = [SymbolSpec(f"{base}/USDT", kind="busy" if base == "BTC" else "quiet") for base in BASES]
    venues = {
        "binance": [*specs, SymbolSpec("BTC/USDC", kind="quiet")],
        "kraken": [SymbolSpec("BTC/USD", kind="quiet")],
    }
    async with SimulatedMarket(venues, seed=11) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spawn(*arguments: str) -> "pexpect.spawn[str]":
    return pexpect.spawn(
        sys.executable,
        ["-m", "fullon_ohlcv_service.cli", *arguments],
        env=os.environ | {"TERM": "xterm-256color", "NO_COLOR": ""},
        encoding="utf-8",
        timeout=PATIENCE_S,
        dimensions=(40, COLUMNS),
    )


def ended(terminal: "pexpect.spawn[str]") -> tuple[str, int | None]:
    """Everything it said since the last expectation, and its exit code."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.before or "", terminal.exitstatus


def look(*arguments: str) -> tuple[str, int | None]:
    """What a command draws on a terminal, without its colours; no line is longer than the terminal."""
    drawn, code = ended(spawn(*arguments))
    assert "Traceback" not in drawn
    bare = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert all(len(line) <= COLUMNS for line in bare.splitlines()), bare
    return bare, code


def look_until(code: int, *arguments: str) -> str:
    """What a command draws once it ends with this exit code."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        drawn, ended_with = look(*arguments)
        if ended_with == code:
            return drawn
        assert time.monotonic() < give_up_s, drawn


def iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()


def set_up() -> None:
    """Answer what `init` asks."""
    terminal = spawn("init")
    terminal.expect("Exchanges \\(binance, hyperliquid, kraken; empty: none yet\\)")
    terminal.sendline("binance, kraken")
    terminal.expect("Symbols of binance")
    terminal.sendline("*/USDT")
    terminal.expect("Symbols of kraken")
    terminal.sendline("BTC/USD")
    terminal.expect("Days of history \\[30\\]")
    terminal.sendline("1")
    terminal.expect(
        "Add 20 symbols of binance with 1 days of history; the\\s+first back-fill will take about .*\\[y/N\\]"
    )
    terminal.sendline("y")
    said, code = ended(terminal)
    assert code == 0, said
    assert "Ready: `fullon-ohlcv run`" in said


def watch() -> None:
    """See `status --watch` drawn again, and leave it with Ctrl-C."""
    terminal = spawn("status", "--watch", "--interval", "0.2")
    for _ in range(2):
        terminal.expect("kraken")
        terminal.expect("BTC/USD")
    terminal.sendintr()
    said, code = ended(terminal)
    assert code == 130, said
    assert "Traceback" not in said


@pytest.mark.timeout(240)
async def test_an_operators_day_from_init_to_the_exported_file(wide_market: SimulatedMarket, directory: Path) -> None:
    await asyncio.to_thread(set_up)
    assert stat.S_IMODE((directory / ".env").stat().st_mode) == 0o600

    daemon = await asyncio.to_thread(spawn, "run")
    try:
        await asyncio.to_thread(daemon.expect, "21 live")
        said = await asyncio.to_thread(look_until, 0, "status", "--all")
        assert "All is well · daemon runs since" in said
        assert [base for base in BASES if f"{base}/USDT" not in said] == [], said
        await asyncio.to_thread(watch)
    finally:
        daemon.kill(signal.SIGKILL)
        await asyncio.to_thread(ended, daemon)

    # Nobody collects: the newest minutes are missing, as soon as there are some.
    gap = await asyncio.to_thread(look_until, 1, "gaps", NAME)
    assert re.search(rf"{NAME}  [\d: -]+ to [\d: -]+, .*; can be had for ever", gap)
    assert "newer than anything stored; nothing: the daemon does not run" in gap
    assert "Needs a look" in (await asyncio.to_thread(look, "status"))[0]

    said, code = await asyncio.to_thread(look, "repair", NAME, "--to", "2m")
    assert code == 0, said
    assert re.search(rf"{NAME}: read \d+ minutes, .*accounted\s+for,\s+nothing\s+is\s+unknown", said, re.DOTALL)

    end_us = floor_minute_us(Clock.from_env().now_us()) - 10 * MINUTE_US
    start_us = end_us - 6 * 60 * MINUTE_US
    span = [argument for name, us in (("--from", start_us), ("--to", end_us)) for argument in (name, iso(us))]
    (drawn, mapped), piped, (exported, whole) = await asyncio.gather(
        asyncio.to_thread(look, "coverage", NAME, *span),
        run_cli("coverage", NAME, *span),
        asyncio.to_thread(look, "export", NAME, "btc.parquet", *span),
    )
    assert mapped == piped.code == whole == 0, drawn + exported
    assert "█ traded" in drawn
    assert "unknown" not in drawn
    assert ESCAPE not in piped.out
    assert f"{NAME}  █" in piped.out
    assert "accounted for in btc.parquet.manifest.json" in " ".join(exported.split())
    truth = [
        (datetime.fromtimestamp(one.timestamp_us // 1_000_000, UTC), one.open, one.high, one.low, one.close, one.volume)
        for one in wide_market.truth("binance", "BTC/USDT").candles(start_us, end_us)
    ]
    assert pl.read_parquet(directory / "btc.parquet").drop("known_minutes", "complete").rows() == truth
    assert len(truth) > 100


@pytest.mark.timeout(150)
def test_the_demo_catches_up_goes_live_ends_on_ctrl_c_and_goes_on_where_it_was(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make demo` runs it, in an empty home; what a real server needs does not disturb it."""
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.delenv("FULLON_DATA_DIR", raising=False)
    monkeypatch.setenv("REDIS_PASSWORD", "of-another-server")
    monkeypatch.setenv("REDIS_DB", "")
    set_market_clock(monkeypatch, 1.0)
    terminal = spawn("--env-file", os.devnull, "demo")
    terminal.expect("catching up")
    terminal.expect(r"([5-9]|1\d) live")
    terminal.sendintr()
    said, code = ended(terminal)
    assert code == 0, said
    assert "Traceback" not in said
    assert re.search(r"Checked: .*equal\s+to\s+the\s+market's\s+truth|was left out", said, re.DOTALL)

    # Here, without history, and in no hurry: the comparison is never left out.
    servers = [f"{kind}_{name}" for kind in ("DB", "REDIS") for name in ("HOST", "PORT", "USER", "PASSWORD")]
    origins = [f"FULLON_{venue.upper()}_ORIGIN" for venue in demo.VENUES]
    for variable in (*servers, *origins, "CACHE_PASSWORD"):
        monkeypatch.setenv(variable, "")  # so that what is set from here on is taken back
    monkeypatch.setenv("FULLON_DATA_DIR", str(directory / demo.DEMO_DIRECTORY))
    monkeypatch.setenv("OHLCV_ENABLE_HISTORICAL", "false")
    monkeypatch.setenv("DURATION", "2")
    monkeypatch.setattr(demo, "AUDIT_MAX_S", 60.0)
    assert demo.main() == 0
    found = re.search(r"Checked: 13 symbols, 18,720 minutes .* ([\d,]+) candles, .*: equal", capsys.readouterr().out)
    assert found
    assert int(found[1].replace(",", "")) > 1_000, "what the first run has stored"


def test_what_is_waited_for_is_on_the_screen(servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has left the console to the table, and there is no table yet."""
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("DB_PORT", "9")
    terminal = spawn("run")
    terminal.expect(r"waiting: .*127\.0\.0\.1.*Ctrl-C ends it")
    terminal.sendintr()
    said, code = ended(terminal)
    assert code == 0, said
    assert "waiting" not in said


@pytest.mark.timeout(240)
async def test_no_is_no(seeded: SimulatedMarket) -> None:
    def decline() -> tuple[str, int | None]:
        terminal = spawn("symbols", "remove", "binance:*")
        terminal.expect("Remove 2 symbols")
        terminal.sendline("n")
        return ended(terminal)

    said, code = await asyncio.to_thread(decline)
    assert code == 2
    assert "nothing removed" in said
