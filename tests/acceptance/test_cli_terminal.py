"""The command line on a terminal: questions, a screen that is drawn again, colours only where they can be seen."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pexpect
import pytest
from cli_process import run_cli

from fullon_simulator import SimulatedMarket

PATIENCE_S = 50
ESCAPE = "\x1b["


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
        dimensions=(40, 100),
    )


def ended(terminal: "pexpect.spawn[str]") -> tuple[str, int | None]:
    """Everything it said since the last expectation, and its exit code."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.before or "", terminal.exitstatus


@pytest.mark.timeout(150)
async def test_init_asks_and_status_is_drawn_until_ctrl_c(market: SimulatedMarket, directory: Path) -> None:
    def set_up() -> tuple[str, int | None]:
        terminal = spawn("init")
        terminal.expect("Exchanges \\(binance, hyperliquid, kraken; empty: none yet\\)")
        terminal.sendline("binance")
        terminal.expect("Symbols of binance")
        terminal.sendline("*/USDT")
        terminal.expect("Days of history \\[30\\]")
        terminal.sendline("2")
        terminal.expect("Add 2 symbols of binance with 2 days of history; .* about .*\\[y/N\\]")
        terminal.sendline("y")
        return ended(terminal)

    said, code = await asyncio.to_thread(set_up)
    assert code == 0, said
    assert "Ready: `fullon-ohlcv run`" in said
    assert (directory / ".env").exists()

    def look() -> tuple[str, int | None]:
        terminal = spawn("status", "--watch", "--interval", "0.2")
        terminal.expect("Needs a look")
        terminal.expect("BTC/USDT")
        terminal.expect("Needs a look")  # drawn again
        terminal.sendintr()
        return ended(terminal)

    said, code = await asyncio.to_thread(look)
    assert code == 130
    assert "Traceback" not in said

    def map_of() -> tuple[str, int | None]:
        return ended(spawn("coverage"))

    drawn, piped = await asyncio.gather(asyncio.to_thread(map_of), run_cli("coverage"))
    assert ESCAPE in drawn[0]
    assert drawn[1] == piped.code == 1
    bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn[0])
    assert all(len(line) <= 100 for line in bare.splitlines()), bare
    assert ESCAPE not in piped.out
    assert "binance:BTC/USDT  ?????" in piped.out


@pytest.mark.timeout(120)
async def test_no_is_no(seeded: SimulatedMarket) -> None:
    def decline() -> tuple[str, int | None]:
        terminal = spawn("symbols", "remove", "binance:*")
        terminal.expect("Remove 2 symbols")
        terminal.sendline("n")
        return ended(terminal)

    said, code = await asyncio.to_thread(decline)
    assert code == 2
    assert "nothing removed" in said
