"""Make the pictures of the README: `.venv/bin/python docs/make_screenshots.py`, two minutes.

A real daemon collects from a simulated market into servers of its own; `fullon-ohlcv status` and `coverage` are run on
a terminal beside it, and what they draw becomes docs/status.svg and docs/coverage.svg.
"""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import tempfile
import termios
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from fullon_embedded import start_servers
from fullon_simulator import SimulatedMarket, SymbolSpec

DOCS = Path(__file__).resolve().parent
CLI = (sys.executable, "-m", "fullon_ohlcv_service.cli")
COLUMNS, ROWS = 104, 36
SPEED = 20
"""How many seconds of the market pass in one."""
DAY_US = 86_400_000_000
BACKTEST_DAYS = 5
LATE = "kraken:SOL/USD"
"""Added when all others are live, so that the pictures show a back-fill."""
PATIENCE_S = 240
PICTURES = {"status": ("status",), "coverage": ("coverage", "--per", "2h")}


def markets(now_us: int) -> dict[str, list[SymbolSpec]]:
    """Return busy, quiet and dead markets, one of them new."""
    return {
        "binance": [
            SymbolSpec("BTC/USDT", kind="busy", price=60_000.0),
            SymbolSpec("ADA/USDT", kind="quiet", price=0.5),
            SymbolSpec("NEW/USDT", kind="normal", price=2.0, listed_at_us=now_us - 2 * DAY_US),
        ],
        "hyperliquid": [SymbolSpec("ETH/USDC:USDC", kind="normal", price=2_500.0)],
        "kraken": [
            SymbolSpec("BTC/USD", kind="busy", price=60_000.0),
            SymbolSpec("ETH/USD", kind="normal", price=2_500.0),
            SymbolSpec("BAT/USD", trades_per_day=40, price=0.2),
            SymbolSpec("SOL/USD", trades_per_day=200_000, price=150.0),
        ],
    }


async def run(*arguments: str) -> str:
    """Run a command in a pipe and return what it says."""
    process = await asyncio.create_subprocess_exec(*CLI, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    if process.returncode not in (0, 1):
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}")
    return out.decode()


def on_a_terminal(*arguments: str) -> str:
    """Run a command on a terminal and return what it writes there, colours and all."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.execv(CLI[0], [*CLI, *arguments])  # noqa: S606 - this program's own interpreter
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    try:
        while piece := os.read(terminal, 65_536):
            written += piece
    except OSError:  # how a terminal says that its program has ended
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return written.decode().replace("\r\n", "\n")


def draw(name: str, command: str, written: str) -> None:
    """Write what stood on a terminal as a picture."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.assemble(("$ ", "dim"), (command, "bold")))
        console.print(Text.from_ansi(written.rstrip("\n")))
        svg = console.export_svg(title=command, theme=MONOKAI, unique_id=name)
    # Fonts of the machine that shows it serve; none is fetched from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (DOCS / f"{name}.svg").write_text(svg, encoding="utf-8")


async def look() -> dict[str, dict[str, Any]]:
    """Return what `status` says of each symbol, after a second."""
    await asyncio.sleep(1)
    lines = {f"{one['exchange']}:{one['symbol']}": one for one in json.loads(await run("status", "--json"))["symbols"]}
    print(", ".join(f"{name} {one['phase']} {one['covered']:.0%}" for name, one in lines.items()))
    return lines


async def main() -> None:
    """Start everything, wait for a good moment, draw, and stop everything."""
    now_s = time.time()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screenshots-")))
        os.chdir(directory)
        os.environ.update(HOME=str(directory), OHLCV_HTTP_BIND="", FULLON_CLOCK=f"{now_s}@{now_s}x{SPEED}")
        os.environ.update(stack.enter_context(start_servers(directory / "servers")).environment())
        market = await stack.enter_async_context(SimulatedMarket(markets(round(now_s * 1e6)), seed=7))
        os.environ.update(market.environment())
        symbols = [f"{venue}:{one}" for venue in market.origins() for one in market.symbols(venue)]
        symbols.remove(LATE)
        await run("init", "--yes", "--backtest", str(BACKTEST_DAYS), *symbols)
        daemon = await asyncio.create_subprocess_exec(*CLI, "run", stdout=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while any(one["phase"] != "live" for one in (await look()).values()):
                    pass
                await run("symbols", "add", LATE, "--backtest", str(BACKTEST_DAYS))
                while not 0.4 < (await look()).get(LATE, {"covered": 0.0})["covered"] < 1.0:
                    pass
            for name, arguments in PICTURES.items():
                written = await asyncio.to_thread(on_a_terminal, *arguments)
                draw(name, " ".join(("fullon-ohlcv", *arguments)), written)
        finally:
            daemon.send_signal(signal.SIGTERM)
            await daemon.wait()


if __name__ == "__main__":
    asyncio.run(main())
