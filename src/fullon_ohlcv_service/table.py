"""The live table of a terminal."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fullon_ohlcv_service.columns import Cell, Column, make_table
from fullon_ohlcv_service.health import Stale
from fullon_ohlcv_service.status import Phase, StatusBoard, SymbolStatus

REFRESH_S = 0.5
HEAD_LINES = 4
ROWS_MIN = 5
PROBLEMS_SHOWN = 5
NAMES_SHOWN = 2
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


async def show_table(
    board: StatusBoard,
    console: Console,
    failing: Callable[[], Mapping[str, str]] = dict,
    find_reasons: Callable[[], Sequence[Stale]] = list,
) -> None:
    """Draw the board on the terminal until cancelled.

    `failing` names parts of the daemon that fail, and says why; `find_reasons` says why the daemon is not ready.
    """

    def screen() -> Group:
        return build_screen(board, console, failing(), find_reasons())

    with Live(screen(), console=console, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(screen(), refresh=True)
        finally:
            live.update(screen(), refresh=True)


def build_screen(
    board: StatusBoard, console: Console, failing: Mapping[str, str], reasons: Sequence[Stale] = ()
) -> Group:
    """Return a table of as many symbols as the terminal has room for, those that need attention first, and below it
    how many are in which phase, and what is wrong.
    """
    lines = board.lines()
    said = [_counts(lines, reasons), *_problems(board, lines, failing, reasons)]
    room = max(ROWS_MIN, console.size.height - HEAD_LINES - sum(_height(one, console) for one in said))
    shown = lines if len(lines) <= room else sorted(lines, key=lambda line: _ATTENTION[line.phase])[:room]
    if len(shown) < len(lines):
        said[0] += f"; {len(lines) - len(shown)} more not shown"
    now = datetime.fromtimestamp(board.clock.now_us() // 1_000_000, UTC)
    title = Text(f"fullon_ohlcv_service · {now:%Y-%m-%d %H:%M:%S} UTC · Ctrl-C ends it", "italic")
    table = make_table(console, COLUMNS, [_cells(line, now) for line in shown])
    return Group(title, table, *(Text(one, "dim italic") for one in said))


def _height(sentence: str, console: Console) -> int:
    return len(Text(sentence).wrap(console, console.width))


def _counts(lines: Sequence[SymbolStatus], reasons: Sequence[Stale]) -> str:
    if not lines:
        return "no symbols in the database yet; waiting for some: `fullon-ohlcv symbols add`"
    counts = Counter(line.phase for line in lines)
    verdict = "all is well" if not reasons else f"{len(reasons)} not fresh"
    return f"{verdict}: {', '.join(f'{counts[phase]} {phase.value}' for phase in Phase if counts[phase])}"


def _problems(
    board: StatusBoard, lines: Sequence[SymbolStatus], failing: Mapping[str, str], reasons: Sequence[Stale]
) -> list[str]:
    """Return what is wrong, one sentence each, what concerns most first."""
    said = [f"not up to date: {board.unreadable}"] if board.unreadable else []
    said += [one.reason for one in reasons if not one.symbol]
    said += [f"{name}, tried again: {why}" for name, why in failing.items()]
    said += _troubles([line for line in lines if line.phase is Phase.REFUSED])
    for name, why in sorted(board.venue_problems.items()):
        said.append(f"{name} cannot be reached, tried again for ever: {why.removeprefix(f'{name}: ')}")
    said += _troubles([line for line in lines if line.phase is not Phase.REFUSED])
    said += _not_fresh(board, reasons)
    if len(said) > PROBLEMS_SHOWN:
        said[PROBLEMS_SHOWN:] = [f"and {len(said) - PROBLEMS_SHOWN} more: fullon-ohlcv status"]
    if coarse := sum(bool(line.coarse_us) for line in lines):
        said.append(f"older than 1m candles reach, coarser ones: {coarse} symbols")
    return said


def _troubles(lines: Sequence[SymbolStatus]) -> list[str]:
    """Return what is wrong with symbols; those with the same trouble share a sentence."""
    named: dict[str, list[str]] = {}
    for line in lines:
        if line.problem:
            named.setdefault(line.problem, []).append(str(line.wanted))
    return [f"{_names(names)}: {why}" for why, names in named.items()]


def _not_fresh(board: StatusBoard, reasons: Sequence[Stale]) -> list[str]:
    """Return why symbols are not fresh, but for those whose exchange is named already."""
    named: dict[str, list[str]] = {}
    for one in reasons:
        if one.symbol and one.exchange not in board.venue_problems:
            named.setdefault(one.reason, []).append(f"{one.exchange}:{one.symbol}")
    return [f"{_names(names)}: {why}" for why, names in named.items()]


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


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
