"""The README's example runs, against the simulated market."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

simulator: Any = pytest.importorskip("fullon_simulator")

README = Path(__file__).parents[2] / "README.md"


async def test_the_example_prints_pages_trades_and_watermarks() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    clock = simulator.MarketClock.starting_at(1_767_225_600_000_000, speed=20)
    symbols = [simulator.SymbolSpec(symbol, 400_000) for symbol in ("BTC/USD", "DOGE/USD")]
    async with simulator.SimulatedMarket({"kraken": symbols}, clock=clock) as market:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            example,
            env=os.environ | market.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    printed = output.decode()
    assert "trades of (" in printed
    assert "Subscribed(connection='kraken-" in printed
    assert "Trade(symbol='BTC/USD'" in printed
    assert "Watermark(" in printed
