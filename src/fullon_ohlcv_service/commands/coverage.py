"""`fullon-ohlcv coverage`: a heat map of what is known, symbols by days."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from fullon_ohlcv.records import Interval
from fullon_ohlcv.timeframe import Timeframe, from_us
from fullon_ohlcv_service.commands.heat import Cell, HeatMap, read_heat
from fullon_ohlcv_service.commands.screen import (
    AsJson,
    From,
    OfExchange,
    SymbolNames,
    To,
    check_place,
    make_console,
    print_json,
    say_percent,
)
from fullon_ohlcv_service.commands.session import Ledger, complete, open_ledger
from fullon_ohlcv_service.commands.status_of import TAIL_MAX_US
from fullon_ohlcv_service.commands.times import iso, parse_range, say_time
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.errors import CommandError

STEPS = ("15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "2d", "1w", "2w", "4w", "13w")
PIPE_COLUMNS = 120
ROWS_MAX = 500
LABEL_COLUMNS = 12
LEGEND = (
    ("█", "green", "traded"),
    ("▒", "green", "partly empty"),
    ("░", "cyan", "verified empty"),
    ("x", "magenta", "unavailable"),
    ("!", "red", "partly unknown"),
    ("?", "red", "unknown"),
)


def coverage(
    symbols: SymbolNames = None,
    *,
    exchange: OfExchange = None,
    start: From = None,
    end: To = None,
    per: Annotated[
        str | None, typer.Option("--per", metavar="1d", help="Time of one column; by default what fits.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw it into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of every day of every symbol, as a heat map.

    Traded, verified empty, unavailable (the exchange does not serve it) or unknown (a gap). Without --to it ends three
    minutes ago: newer ones are on their way.
    Exit code 0: nothing is unknown; 1: something is; 2: it cannot be told.

    \b
    Examples:
      fullon-ohlcv coverage -x kraken
      fullon-ohlcv coverage BTC/USD --from 90d --png coverage.png
    """
    console = make_console()
    if png is not None:
        check_place(png)
    heat = complete(_read(symbols, exchange, (start, end), per, console))
    if png is not None:
        from fullon_ohlcv_service.commands.pictures import draw_heat  # noqa: PLC0415 - needs an extra

        draw_heat(heat, png)
    if as_json:
        print_json(_as_json(heat))
    elif png is not None:
        console.print(f"{png}: {len(heat.rows)} symbols, {_range(heat)}")
    else:
        _show(heat, console)
    raise typer.Exit(1 if any(cell.unknown for cells in heat.rows.values() for cell in cells if cell) else 0)


async def _read(
    symbols: list[str] | None,
    exchange: str | None,
    times: tuple[str | None, str | None],
    per: str | None,
    console: Console,
) -> HeatMap:
    async with open_ledger() as ledger:
        chosen = ledger.choose(symbols, exchange)
        if len(chosen) > ROWS_MAX:
            raise CommandError(f"{len(chosen)} symbols are too many for one map; name up to {ROWS_MAX}, or use -x")
        spans = {one: _span(ledger, one, times) for one in chosen}
        whole = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
        room = console.width - _names_width(chosen) - 12 if console.is_terminal else PIPE_COLUMNS
        step = Timeframe.parse(per) if per else _step_for(whole, max(10, room))
        if step.width_us is None:
            raise CommandError(f"--per is {per!r}; allowed are minutes, hours, days and weeks, such as 6h")
        return await read_heat(ledger, spans, whole, step)


def _span(ledger: Ledger, one: WantedSymbol, times: tuple[str | None, str | None]) -> Interval:
    wanted = ledger.interval(one)
    settled = wanted[0], max(wanted[0], wanted[1] - TAIL_MAX_US)
    if times == (None, None):
        return settled
    start_us, end_us = parse_range(*times, ledger.clock.now_us(), default=settled)
    return start_us, min(end_us, max(start_us, wanted[1]))


def _step_for(whole: Interval, room: int) -> Timeframe:
    steps = [Timeframe.parse(name) for name in STEPS]
    return next((one for one in steps if one.width_us and (whole[1] - whole[0]) / one.width_us <= room - 1), steps[-1])


def _names_width(symbols: list[WantedSymbol]) -> int:
    return max(len(str(one)) for one in symbols)


def cell_look(cell: Cell | None) -> tuple[str, str]:
    """Return the sign and the colour of a cell; the signs alone tell the states apart."""
    if cell is None:
        return " ", ""
    if cell.unknown:
        return ("?", "bold red") if cell.unknown == cell.minutes else ("!", "red")
    if cell.unavailable * 2 > cell.minutes:
        return "x", "magenta"
    if not cell.traded:
        return "░", "cyan"
    return ("█", "green") if cell.traded * 2 > cell.minutes else ("▒", "green")


def _show(heat: HeatMap, console: Console) -> None:
    width = _names_width(list(heat.rows))
    console.print(Text(f"{_range(heat)} · one column is {heat.step}", "bold"))
    console.print(Text(" " * (width + 2) + _axis(heat), "dim"))
    for one, cells in heat.rows.items():
        line = Text(f"{one!s:<{width}}  ")
        for cell in cells:
            line.append(*cell_look(cell))
        known = [cell for cell in cells if cell]
        minutes = sum(cell.minutes for cell in known)
        ratio = 1 - sum(cell.unknown for cell in known) / minutes if minutes else None
        line.append(f"  {say_percent(ratio):>8}", "" if ratio == 1 else "red")
        console.print(line, soft_wrap=True)
    signs = {cell_look(cell)[0] for cells in heat.rows.values() for cell in cells}
    legend = Text()
    for sign, style, meaning in LEGEND:
        if sign in signs:
            legend.append(sign, style)
            legend.append(f" {meaning}  ")
    console.print(legend)


def _axis(heat: HeatMap) -> str:
    """Write a date, or an hour of the day, over every few columns."""
    is_daily = (heat.step.width_us or 0) >= 86_400_000_000
    text = ""
    for index, start_us in enumerate(heat.starts_us):
        at = from_us(start_us)
        label = f"{at:%Y-%m-%d}" if is_daily else f"{at:%d %H:%M}"
        if index % LABEL_COLUMNS == 0 and index + len(label) <= max(len(heat.starts_us), len(label)):
            text = f"{text:<{index}}{label}"
    return text


def _range(heat: HeatMap) -> str:
    return f"{say_time(heat.interval[0])} to {say_time(heat.interval[1])} UTC"


def _as_json(heat: HeatMap) -> dict[str, object]:
    return {
        "from": iso(heat.interval[0]),
        "to": iso(heat.interval[1]),
        "per": str(heat.step),
        "symbols": [
            {
                "exchange": one.exchange,
                "symbol": one.symbol,
                "cells": [
                    {
                        "from": iso(start_us),
                        "traded": cell.traded,
                        "verified_empty": cell.empty,
                        "unavailable": cell.unavailable,
                        "unknown": cell.unknown,
                    }
                    for start_us, cell in zip(heat.starts_us, cells, strict=True)
                    if cell
                ],
            }
            for one, cells in heat.rows.items()
        ],
    }
