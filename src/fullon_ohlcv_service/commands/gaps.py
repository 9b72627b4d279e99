"""`fullon-ohlcv gaps`: what is missing, why, for how long it can still be had, and what is being done about it."""

from dataclasses import dataclass, replace
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fullon_exchange import open_exchange
from fullon_exchange.clock import MINUTE_US
from fullon_exchange.errors import ExchangeError
from fullon_ohlcv.records import CoverageRun, Interval, State
from fullon_ohlcv_service.columns import Column, print_table
from fullon_ohlcv_service.commands.environment import say_command
from fullon_ohlcv_service.commands.screen import AsJson, OfExchange, SymbolNames, make_console, note, print_json
from fullon_ohlcv_service.commands.session import complete, open_ledger
from fullon_ohlcv_service.commands.status_of import TAIL_MAX_US, Report, SymbolLine, read_report
from fullon_ohlcv_service.commands.times import iso, say_span, say_time, say_when
from fullon_ohlcv_service.gap_order import reach_us
from fullon_ohlcv_service.status import Phase

COLUMNS = (
    Column("exchange"),
    Column("symbol"),
    Column("from"),
    Column("to"),
    Column("long", right=True),
    Column("lost in", right=True),
    Column("cause"),
    Column("being done"),
)
ROWS_MAX = 100
HURRY_MIN = 60
"""With fewer minutes left than this, a gap is shown in red."""


@dataclass(frozen=True)
class Gap:
    """One stretch of minutes of which nothing is known."""

    exchange: str
    symbol: str
    interval: Interval
    cause: str
    minutes_left: int | None
    """Until the exchange begins to forget it, 0 where it has begun; None where it never forgets."""
    doing: str

    def as_json(self) -> dict[str, Any]:
        """Return it with stable keys."""
        return {
            "exchange": self.exchange,
            "symbol": self.symbol,
            "from": iso(self.interval[0]),
            "to": iso(self.interval[1]),
            "minutes": (self.interval[1] - self.interval[0]) // MINUTE_US,
            "cause": self.cause,
            "minutes_until_unrecoverable": self.minutes_left,
            "doing": self.doing,
        }


def gaps(
    symbols: SymbolNames = None,
    exchange: OfExchange = None,
    as_json: AsJson = False,
) -> None:
    """List what is missing, what is soonest lost first.

    For each gap its cause, how many minutes are left until the exchange stops serving it, and what is being done.
    Exit code 0: nothing is missing; 1: something is; 2: it cannot be told.

    \b
    Examples:
      fullon-ohlcv gaps
      fullon-ohlcv gaps kraken:BTC/USD --json
    """
    found, now_us = complete(_find(symbols, exchange))
    if as_json:
        print_json({"gaps": [gap.as_json() for gap in found]})
    else:
        _show(found, now_us)
    raise typer.Exit(1 if found else 0)


async def _find(symbols: list[str] | None, exchange: str | None) -> tuple[list[Gap], int]:
    async with open_ledger() as ledger:
        chosen = {(one.exchange, one.symbol): one for one in ledger.choose(symbols, exchange)}
        report = await read_report(replace(ledger, wanted=chosen))
        wanted = {await ledger.candles(*key): ledger.interval(one) for key, one in chosen.items()}
        maps = await ledger.store.coverage_maps(wanted)
    runs = {(series.exchange, series.symbol): each for series, each in maps.items()}
    found = [gap for line in report.lines for gap in _gaps_of(line, runs[line.exchange, line.symbol], report)]
    found.sort(key=lambda gap: (gap.minutes_left is None, gap.minutes_left or 0, gap.interval, gap.symbol))
    return found, report.now_us


def _gaps_of(line: SymbolLine, runs: list[CoverageRun], report: Report) -> list[Gap]:
    covered = [run.interval for run in runs if run.state is State.COVERED]
    gaps = []
    for run in runs:
        start_us, end_us = run.interval
        is_tail = run is runs[-1]
        if run.state is not State.UNKNOWN or (is_tail and covered and end_us - start_us <= TAIL_MAX_US):
            continue
        if not covered:
            cause = "nothing collected yet"
        elif end_us <= covered[0][0]:
            cause = "history not reached yet"
        elif start_us >= covered[-1][1]:
            cause = "newer than anything stored"
        else:
            cause = "interrupted, or taken back as suspect"
        left = _minutes_left(line.exchange, start_us, report.now_us)
        gaps.append(Gap(line.exchange, line.symbol, run.interval, cause, left, _doing(line, report)))
    return gaps


def _minutes_left(name: str, start_us: int, now_us: int) -> int | None:
    try:
        traits = open_exchange(name).traits
    except ExchangeError:
        return None
    if traits.candles_from_trades:
        return None if traits.trade_history else 0
    reaches_us = reach_us(now_us, traits.candle_window, MINUTE_US)
    return None if reaches_us is None else max(0, (start_us - reaches_us) // MINUTE_US)


def _doing(line: SymbolLine, report: Report) -> str:
    if report.writer is None:
        return "nothing: the daemon does not run"
    if line.problem and line.is_well:
        return f"nothing: {line.problem}"
    if line.exchange in report.silent:
        return "tried again and again: nothing arrives from the exchange"
    if line.phase == Phase.CATCHING_UP:
        return "being filled" if line.eta_s is None else f"being filled, done in about {say_span(line.eta_s)}"
    return "filled with the daemon's next look at the ledger"


def _show(found: list[Gap], now_us: int) -> None:
    console = make_console()
    if not console.is_terminal:
        print_table(console, COLUMNS, [_cells(gap) for gap in found])
    elif found:
        _draw(found, now_us, console)
    if not found:
        note("No gaps: every wanted minute is accounted for")


def _cells(gap: Gap) -> list[str]:
    start_us, end_us = gap.interval
    lost = "never" if gap.minutes_left is None else say_span(gap.minutes_left * 60)
    long = say_span((end_us - start_us) / 1e6)
    return [gap.exchange, gap.symbol, say_time(start_us), say_time(end_us), long, lost, gap.cause, gap.doing]


def _draw(found: list[Gap], now_us: int, console: Console) -> None:
    """Draw each gap in two lines: which, and below it why and what is being done."""
    missing_s = sum(gap.interval[1] - gap.interval[0] for gap in found) / 1e6
    count = f"{len(found)} gaps" if len(found) > 1 else "1 gap"
    console.print(Text(f"{count}, {say_span(missing_s)} in all; what is soonest lost comes first", "bold"))
    shown = found[:ROWS_MAX]
    width = max(len(f"{gap.exchange}:{gap.symbol}") for gap in shown)
    for gap in shown:
        start_us, end_us = gap.interval
        times = f"{say_when(start_us, now_us)} to {say_when(end_us, now_us)}"
        name, long = f"{gap.exchange}:{gap.symbol}", say_span((end_us - start_us) / 1e6)
        console.print(Text.assemble(f"{name:<{width}}  {times}, {long}; ", _loss(gap)))
        console.print(Padding(Text(f"{gap.cause}; {gap.doing}", "dim"), (0, 0, 0, 2)))
    if len(shown) < len(found):
        console.print(f"and {len(found) - len(shown)} more: {say_command('gaps --json')}")


def _loss(gap: Gap) -> Text:
    left = gap.minutes_left
    if left is None:
        return Text("can be had for ever")
    if left == 0:
        return Text("being lost now", "bold red")
    return Text(f"can be had for {say_span(left * 60)}", "bold red" if left < HURRY_MIN else "")
