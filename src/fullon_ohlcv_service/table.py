"""The live table of a terminal."""

import asyncio
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fullon_ohlcv_service.status import Phase, StatusBoard, SymbolStatus

REFRESH_S = 0.5
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
    room = max(5, console.size.height - 6)
    shown = lines
    if len(lines) > room:
        shown = sorted(lines, key=lambda line: _ATTENTION[line.phase])[:room]
    counts = {phase: sum(line.phase is phase for line in lines) for phase in Phase}
    summary = ", ".join(f"{count} {phase.value}" for phase, count in counts.items() if count)
    if len(shown) < len(lines):
        summary += f"; {len(lines) - len(shown)} more not shown"
    if coarse := sum(bool(line.coarse_us) for line in lines):
        summary += f"\nolder than 1m candles reach, coarser ones: {coarse} symbols"
    for name, why in sorted(board.venue_problems.items()):
        summary += f"\n{name} cannot be reached, tried again for ever: {why}"
    now = datetime.fromtimestamp(board.clock.now_us() // 1_000_000, UTC)
    table = Table(
        title=f"fullon_ohlcv_service · {now:%Y-%m-%d %H:%M:%S} UTC",
        caption=summary or "no symbols in the database yet; waiting for some",
        title_justify="left",
        caption_justify="left",
    )
    for name, width in (("exchange", 8), ("symbol", 10), ("phase", 11)):
        table.add_column(name, no_wrap=True, min_width=width)
    for name, width in (("covered", 8), ("rows/s", 6), ("eta", 8), ("last candle", 16), ("lag", 8)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for line in shown:
        table.add_row(*_cells(line, now))
    return table


def _cells(line: SymbolStatus, now: datetime) -> list[Text | str]:
    style = _STYLE[line.phase]
    if line.problem:
        return [line.wanted.exchange, line.wanted.symbol, Text(line.problem, style, overflow="ellipsis")]
    return [
        line.wanted.exchange,
        line.wanted.symbol,
        Text(line.phase.value, style),
        "" if line.covered_ratio is None else f"{_floor_percent(line.covered_ratio)} %",
        f"{line.rate_rows_s:,.0f}",
        "" if line.eta_s is None or line.phase is not Phase.CATCHING_UP else format_duration(line.eta_s),
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
