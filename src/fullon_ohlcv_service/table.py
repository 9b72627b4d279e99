"""The live table of a terminal."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fullon_ohlcv_service.columns import Cell, Column, make_table
from fullon_ohlcv_service.status import Phase, StatusBoard, SymbolStatus

REFRESH_S = 0.5
HEAD_LINES = 4
PROBLEMS_SHOWN = 3
COLUMNS = (
    Column("exchange"),
    Column("symbol"),
    Column("phase"),
    Column("covered", right=True),
    Column("rows/s", right=True, spare=4),
    Column("eta", right=True, spare=2),
    Column("last candle", right=True, spare=3),
    Column("lag", right=True, spare=1),
)
_STYLE = {
    Phase.WAITING: "dim",
    Phase.CATCHING_UP: "yellow",
    Phase.LIVE: "green",
    Phase.COMPLETE: "cyan",
    Phase.HALTED: "magenta",
    Phase.DELISTED: "magenta",
    Phase.CLOSED: "magenta",
    Phase.REFUSED: "red",
}
_ATTENTION = dict.fromkeys(Phase, 3) | {Phase.REFUSED: 0, Phase.WAITING: 1, Phase.CATCHING_UP: 2}


async def show_table(board: StatusBoard, console: Console) -> None:
    """Draw the board on the terminal until cancelled."""
    with Live(build_table(board, console), console=console, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(build_table(board, console), refresh=True)
        finally:
            live.update(build_table(board, console), refresh=True)


def build_table(board: StatusBoard, console: Console) -> Table:
    """Return the table of as many symbols as the terminal has room for, those that need attention first."""
    lines = board.lines()
    summary = _summary(board, lines)
    room = max(5, console.size.height - HEAD_LINES - len(summary))
    shown = lines if len(lines) <= room else sorted(lines, key=lambda line: _ATTENTION[line.phase])[:room]
    if len(shown) < len(lines):
        summary[0] += f"; {len(lines) - len(shown)} more not shown"
    now = datetime.fromtimestamp(board.clock.now_us() // 1_000_000, UTC)
    table = make_table(console, COLUMNS, [_cells(line, now) for line in shown])
    table.title = f"fullon_ohlcv_service · {now:%Y-%m-%d %H:%M:%S} UTC · Ctrl-C ends it"
    table.caption = "\n".join(summary)
    table.title_justify = table.caption_justify = "left"
    return table


def _summary(board: StatusBoard, lines: Sequence[SymbolStatus]) -> list[str]:
    """Return the lines below the table: how many are in which phase, and what is wrong."""
    counts = Counter(line.phase for line in lines)
    said = [", ".join(f"{counts[phase]} {phase.value}" for phase in Phase if counts[phase])]
    if not lines:
        said = ["no symbols in the database yet; waiting for some: `fullon-ohlcv symbols add`"]
    if coarse := sum(bool(line.coarse_us) for line in lines):
        said.append(f"older than 1m candles reach, coarser ones: {coarse} symbols")
    for name, why in sorted(board.venue_problems.items()):
        said.append(f"{name} cannot be reached, tried again for ever: {why}")
    sick = [line for line in lines if line.problem]
    said += [f"{line.wanted}: {line.problem}" for line in sick[:PROBLEMS_SHOWN]]
    if len(sick) > PROBLEMS_SHOWN:
        said.append(f"and {len(sick) - PROBLEMS_SHOWN} more: fullon-ohlcv status")
    return said


def _cells(line: SymbolStatus, now: datetime) -> list[Cell]:
    is_behind = line.phase is Phase.CATCHING_UP
    return [
        line.wanted.exchange,
        line.wanted.symbol,
        Text(line.phase.value, _STYLE[line.phase]),
        "" if line.covered_ratio is None else f"{_floor_percent(line.covered_ratio)} %",
        f"{line.rate_rows_s:,.0f}",
        "" if line.eta_s is None or not is_behind else format_duration(line.eta_s),
        _last_candle(line.last_candle_us, now),
        "" if line.lag_s is None else format_duration(line.lag_s),
    ]


def _floor_percent(ratio: float) -> str:
    """Never round up to 100: that figure is kept for nothing missing."""
    return f"{int(ratio * 10_000) / 100:.2f}"


def _last_candle(timestamp_us: int | None, now: datetime) -> str:
    if timestamp_us is None:
        return ""
    at = datetime.fromtimestamp(timestamp_us // 1_000_000, UTC)
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def format_duration(seconds: float) -> str:
    """Return `7s`, `3:05`, `2:04:10` or `5d 03h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 86_400:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 86_400}d {whole // 3600 % 24:02}h"
