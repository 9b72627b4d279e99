"""Tables fit the terminal, and a pipe gets every column."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from fullon_ohlcv_service.columns import Column, make_table, plain_table

COLUMNS = (
    Column("symbol"),
    Column("phase"),
    Column("lag", right=True, spare=1),
    Column("rate", right=True, spare=2),
)
ROWS = [
    ["hyperliquid:DOGE/USDC:USDC", Text("catching up", "yellow"), "8 h 4 min", "1,204"],
    ["kraken:BTC/USD", "live", "31 s", "7"],
]


def drawn(width: int, rows: list[list[str | Text]]) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(make_table(console, COLUMNS, rows))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("width", "shown"),
    [(120, "symbol phase lag rate"), (57, "symbol phase lag rate"), (56, "symbol phase lag"), (45, "symbol phase")],
)
def test_what_is_least_needed_is_left_out_of_a_narrow_terminal(width: int, shown: str) -> None:
    lines = drawn(width, ROWS)
    assert lines[0].split() == shown.split()
    assert all(len(line) <= width for line in lines)
    assert "hyperliquid:DOGE/USDC:USDC" in lines[2], "nothing is cut off"


def test_a_spare_column_without_anything_in_it_is_left_out() -> None:
    assert drawn(120, [[*row[:3], ""] for row in ROWS])[0].split() == ["symbol", "phase", "lag"]


def test_a_pipe_has_every_column_at_the_same_place() -> None:
    assert plain_table(COLUMNS, [[*row[:3], ""] for row in ROWS]).splitlines() == [
        "symbol                      phase              lag  rate",
        "hyperliquid:DOGE/USDC:USDC  catching up  8 h 4 min",
        "kraken:BTC/USD              live              31 s",
    ]
