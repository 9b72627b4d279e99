"""`fullon-ohlcv status`: is all well, and if not, what is not."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fullon_ohlcv.timeframe import from_us, to_us
from fullon_ohlcv_service.columns import Cell, Column, make_table, plain_table
from fullon_ohlcv_service.commands.environment import say_command
from fullon_ohlcv_service.commands.screen import AsJson, OfExchange, make_console, print_json, say_percent
from fullon_ohlcv_service.commands.session import Ledger, complete, open_ledger
from fullon_ohlcv_service.commands.status_of import Report, SymbolLine, by_venue, read_report, venue_line
from fullon_ohlcv_service.commands.times import say_span, say_time, say_when
from fullon_ohlcv_service.errors import CommandError
from fullon_ohlcv_service.status import Phase

STYLES = {
    Phase.LIVE: "green",
    Phase.COMPLETE: "cyan",
    Phase.CATCHING_UP: "yellow",
    Phase.WAITING: "yellow",
    Phase.REFUSED: "red",
}
ROOM_LINES = 8
"""Of a screen that neither exchanges nor symbols have: rules, names of columns, the prompt."""
PROBLEMS_SHOWN = 5
LITTLE_ROWS_S = 0.5
VENUE_COLUMNS = (
    Column("exchange"),
    Column("symbols", right=True),
    Column("phases"),
    Column("covered", right=True),
    Column("lag max", right=True, spare=1),
    Column("rows/s", right=True, spare=3),
    Column("eta", right=True, spare=2),
)
SYMBOL_COLUMNS = (
    Column("exchange"),
    Column("symbol"),
    Column("phase"),
    Column("covered", right=True),
    Column("last candle", spare=3),
    Column("lag", right=True, spare=1),
    Column("rows/s", right=True, spare=4),
    Column("eta", right=True, spare=2),
)
_ORDER = {Phase.REFUSED: 0, "stopped": 1, Phase.WAITING: 1, Phase.CATCHING_UP: 2}


def status(
    exchange: OfExchange = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="Pace of --watch.")] = 2.0,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Every symbol, even if the terminal is shorter.")
    ] = False,
) -> None:
    """Show whether all is well: the daemon, the exchanges, every symbol.

    All is well when a daemon runs and all data that are due are fresh, exactly as the daemon's /ready answers.
    Exit code 0: all is well; 1: something needs a look, which is named first; 2: it cannot be told.

    \b
    Examples:
      fullon-ohlcv status --watch
      fullon-ohlcv status --json | jq .well
    """
    raise typer.Exit(complete(_status(exchange, as_json, interval if watch else None, everything)))


async def _status(exchange: str | None, as_json: bool, every_s: float | None, everything: bool) -> int:
    console = make_console()
    if every_s is None:
        report = await _read(exchange)
        _print(report, console, as_json=as_json, everything=everything)
        return 0 if report.is_well else 1
    if not as_json and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(draw(await _read(exchange), console, everything=False), refresh=True)
                await asyncio.sleep(every_s)
    while True:
        _print(await _read(exchange), console, as_json=as_json, everything=True)
        await asyncio.sleep(every_s)


def _print(report: Report, console: Console, *, as_json: bool, everything: bool) -> None:
    if as_json:
        print_json(report.as_json())
    elif console.is_terminal:
        console.print(draw(report, console, everything=everything))
    else:
        print(*(line.plain for line in _head(report)), sep="\n")
        for columns, rows in ((VENUE_COLUMNS, _venues(report, console)), (SYMBOL_COLUMNS, _symbols(report, console))):
            if rows:
                print("", plain_table(columns, rows), sep="\n", flush=True)


async def _read(exchange: str | None) -> Report:
    async with open_ledger() as ledger:
        return await read_report(_only(ledger, exchange))


def _only(ledger: Ledger, exchange: str | None) -> Ledger:
    if exchange is None:
        return ledger
    chosen = {(one.exchange, one.symbol): one for one in ledger.choose(None, exchange)}
    if not chosen:
        raise CommandError(f"no symbol of {exchange!r} is collected")
    return replace(ledger, wanted=chosen)


def draw(report: Report, console: Console, *, everything: bool) -> RenderableType:
    """Return the screen of a report: the verdict, what is wrong, the exchanges, the symbols there is room for."""
    parts: list[RenderableType] = [*_head(report)]
    if not report.lines:
        return Group(*parts)
    venues = _venues(report, console)
    lines = report.lines
    room = max(5, console.size.height - ROOM_LINES - len(parts) - len(venues))
    if not everything and len(lines) > room:
        lines = sorted(lines, key=lambda line: (line.is_well, _ORDER.get(line.phase, 3)))[:room]
    table = make_table(console, SYMBOL_COLUMNS, _symbols(report, console, lines))
    if len(lines) < len(report.lines):
        table.caption = f"{len(report.lines) - len(lines)} more; --all shows them"
        table.caption_justify = "left"
    return Group(*parts, Text(""), make_table(console, VENUE_COLUMNS, venues), Text(""), table)


def _head(report: Report) -> list[Text]:
    now = f"{from_us(report.now_us):%Y-%m-%d %H:%M:%S} UTC"
    sick = [line for line in report.lines if not line.is_well]
    others = [line for line in report.lines if line.is_well and line.problem]
    verdict = Text("All is well", "bold green") if report.is_well else Text("Needs a look", "bold red")
    daemon = ""  # that none runs is the first of the troubles
    if report.writer is not None:
        pid = "" if report.daemon is None else f" (pid {report.daemon['params'].get('pid', '?')})"
        # The machine's time: an accelerated clock has no say in when a program was started.
        daemon = f" · daemon runs since {say_when(to_us(report.writer.since), to_us(datetime.now(UTC)))}{pid}"
    lines = [Text.assemble(verdict, f"{daemon} · {now}")]
    lines += [Text(f"  {trouble}", "red") for trouble in report.troubles]
    lines += [Text(f"  {line.exchange}:{line.symbol}: {line.problem}", "red") for line in sick[:PROBLEMS_SHOWN]]
    if len(sick) > PROBLEMS_SHOWN:
        more = f"  and {len(sick) - PROBLEMS_SHOWN} more symbols; all of them: {say_command('status --all')}"
        lines.append(Text(more, "red"))
    notes = [*report.notes, *(f"{line.exchange}:{line.symbol}: {line.problem}" for line in others[:PROBLEMS_SHOWN])]
    if len(others) > PROBLEMS_SHOWN:
        notes.append(f"and {len(others) - PROBLEMS_SHOWN} more symbols of which no data are due")
    lines += [Text(f"  {note}", "magenta") for note in notes]
    if behind := sum(line.phase == Phase.CATCHING_UP for line in report.lines):
        verb = "is" if behind == 1 else "are"
        lines.append(Text(f"  {behind} of {len(report.lines)} symbols {verb} catching up", "yellow"))
    return lines


def _venues(report: Report, console: Console) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for name, lines in by_venue(report.lines).items():
        venue = venue_line(name, lines)
        rows.append(
            [
                name,
                str(venue["symbols"]),
                ", ".join(f"{count} {phase}" for phase, count in venue["phases"].items()),
                say_percent(venue["covered"]),
                "" if venue["lag_max_s"] is None else say_span(venue["lag_max_s"]),
                _rate(venue["rows_s"], console),
                _eta(venue["eta_s"], console),
            ]
        )
    return rows


def _symbols(report: Report, console: Console, lines: Sequence[SymbolLine] | None = None) -> list[list[Cell]]:
    return [_cells(line, report, console) for line in (report.lines if lines is None else lines)]


def _cells(line: SymbolLine, report: Report, console: Console) -> list[Cell]:
    last = line.last_candle_us
    return [
        line.exchange,
        line.symbol,
        Text(line.phase, STYLES.get(line.phase, "magenta") if line.is_well else "red"),  # type: ignore[call-overload]
        say_percent(line.covered),
        say_when(last, report.now_us) if console.is_terminal else say_time(last),
        "" if line.lag_s is None else say_span(line.lag_s),
        _rate(line.rows_s, console),
        _eta(line.eta_s, console),
    ]


def _rate(rows_s: float | None, console: Console) -> str:
    """Return a pace; on a terminal, none is nothing to look at."""
    if rows_s is None or (console.is_terminal and rows_s < LITTLE_ROWS_S):
        return ""
    return f"{rows_s:,.0f}"


def _eta(eta_s: float | None, console: Console) -> str:
    return "" if eta_s is None or (console.is_terminal and not eta_s) else say_span(eta_s)
