"""`fullon-ohlcv status`: is all well, and if not, what is not."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fullon_ohlcv.timeframe import from_us
from fullon_ohlcv_service.commands.screen import AsJson, OfExchange, make_console, make_table, print_json, say_percent
from fullon_ohlcv_service.commands.session import Ledger, complete, open_ledger
from fullon_ohlcv_service.commands.status_of import Report, SymbolLine, by_venue, read_report, venue_line
from fullon_ohlcv_service.commands.times import say_span, say_time
from fullon_ohlcv_service.errors import CommandError
from fullon_ohlcv_service.status import Phase

STYLES = {
    Phase.LIVE: "green",
    Phase.COMPLETE: "cyan",
    Phase.CATCHING_UP: "yellow",
    Phase.WAITING: "yellow",
    Phase.REFUSED: "red",
}
HEAD_LINES = 12
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

    Exit code 0: all is well; 1: something needs a look, which is named first; 2: it cannot be told.

    Examples: fullon-ohlcv status --watch    fullon-ohlcv status --json | jq .well
    """
    raise typer.Exit(complete(_status(exchange, as_json, interval if watch else None, everything)))


async def _status(exchange: str | None, as_json: bool, every_s: float | None, everything: bool) -> int:
    console = make_console()
    if every_s is None:
        report = await _read(exchange)
        if as_json:
            print_json(report.as_json())
        else:
            console.print(draw(report, console, everything=everything or not console.is_terminal))
        return 0 if report.is_well else 1
    if not as_json and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(draw(await _read(exchange), console, everything=False), refresh=True)
                await asyncio.sleep(every_s)
    while True:
        report = await _read(exchange)
        if as_json:
            print_json(report.as_json())
        else:
            console.print(draw(report, console, everything=True))
        await asyncio.sleep(every_s)


async def _read(exchange: str | None) -> Report:
    async with open_ledger() as ledger:
        return await read_report(_only(ledger, exchange))


def _only(ledger: Ledger, exchange: str | None) -> Ledger:
    if exchange is None:
        return ledger
    chosen = {(one.exchange, one.symbol): one for one in ledger.choose(None, exchange)}
    if not chosen:
        raise CommandError(f"no symbol of {exchange!r} is collected")
    return Ledger(ledger.config, ledger.clock, ledger.store, chosen, ledger.known)


def draw(report: Report, console: Console, *, everything: bool) -> RenderableType:
    """Return the screen of a report: the verdict, what is wrong, the exchanges, the symbols."""
    parts: list[RenderableType] = [*_head(report)]
    if report.lines:
        parts += [_venues(report, console), _symbols(report, console, everything)]
    return Group(*parts)


def _head(report: Report) -> list[Text]:
    now = f"{from_us(report.now_us):%Y-%m-%d %H:%M:%S} UTC"
    sick = [line for line in report.lines if not line.is_well]
    verdict = Text("All is well", "bold green") if report.is_well else Text("Needs a look", "bold red")
    daemon = "daemon does not run"
    if report.writer is not None:
        pid = "" if report.daemon is None else f", pid {report.daemon['params'].get('pid', '?')}"
        daemon = f"daemon runs since {report.writer.since:%Y-%m-%d %H:%M}{pid}"
    lines = [Text.assemble(verdict, f" · {daemon} · {now}")]
    lines += [Text(f"  {trouble}", "red") for trouble in report.troubles]
    lines += [Text(f"  {line.exchange}:{line.symbol}: {line.problem}", "red") for line in sick[:5]]
    if len(sick) > 5:
        lines.append(Text(f"  and {len(sick) - 5} more symbols; all of them: fullon-ohlcv status --all", "red"))
    return lines


def _venues(report: Report, console: Console) -> RenderableType:
    right = ("symbols", "covered", "lag max", "rows/s", "eta")
    table = make_table(console, "exchange", "symbols", "phases", "covered", "lag max", "rows/s", "eta", right=right)
    for name, lines in by_venue(report.lines).items():
        venue = venue_line(name, lines)
        table.add_row(
            name,
            str(venue["symbols"]),
            ", ".join(f"{count} {phase}" for phase, count in venue["phases"].items()),
            say_percent(venue["covered"]),
            "" if venue["lag_max_s"] is None else say_span(venue["lag_max_s"]),
            "" if venue["rows_s"] is None else f"{venue['rows_s']:,.0f}",
            "" if venue["eta_s"] is None else say_span(venue["eta_s"]),
        )
    return table


def _symbols(report: Report, console: Console, everything: bool) -> RenderableType:
    lines = report.lines
    room = max(5, console.size.height - HEAD_LINES - len(by_venue(lines)) - len(report.troubles))
    if not everything and len(lines) > room:
        lines = sorted(lines, key=lambda line: (line.is_well, _ORDER.get(line.phase, 3)))[:room]
    right = ("covered", "lag", "rows/s", "eta")
    names = ("exchange", "symbol", "phase", "covered", "last candle", "lag", "rows/s", "eta")
    table = make_table(console, *names, right=right)
    if len(lines) < len(report.lines):
        table.caption = f"{len(report.lines) - len(lines)} more symbols that need no look; --all shows them"
        table.caption_justify = "left"
    for line in lines:
        table.add_row(*_cells(line))
    return table


def _cells(line: SymbolLine) -> list[str | Text]:
    return [
        line.exchange,
        line.symbol,
        Text(line.phase, STYLES.get(line.phase, "magenta") if line.is_well else "red"),  # type: ignore[call-overload]
        say_percent(line.covered),
        say_time(line.last_candle_us),
        "" if line.lag_s is None else say_span(line.lag_s),
        "" if line.rows_s is None else f"{line.rows_s:,.0f}",
        "" if line.eta_s is None else say_span(line.eta_s),
    ]
