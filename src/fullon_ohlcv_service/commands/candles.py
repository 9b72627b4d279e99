"""`fullon-ohlcv candles`: stored candles as a table, a chart in the terminal, or a picture."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from fullon_ohlcv.reading import Row, Window, read_candles, read_sources
from fullon_ohlcv.records import Interval
from fullon_ohlcv.timeframe import Timeframe, to_us
from fullon_ohlcv_service.columns import Cell, Column, print_table
from fullon_ohlcv_service.commands.environment import say_command
from fullon_ohlcv_service.commands.screen import (
    AsJson,
    From,
    SymbolName,
    To,
    check_place,
    make_console,
    note,
    print_json,
)
from fullon_ohlcv_service.commands.session import complete, open_ledger
from fullon_ohlcv_service.commands.times import parse_range, say_time
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.errors import CommandError

NUMBERS = ("open", "high", "low", "close", "volume")
COLUMNS = (Column("timestamp"), *(Column(name, right=True) for name in NUMBERS))
SHOWN = 60
ROWS_MAX = 200_000
CHART_HEIGHT = 24
LABEL_WIDTH = 20
"""Of a time below a chart, in cells, with room around it."""
Tf = Annotated[str, typer.Option("--tf", metavar="1m", help="Timeframe: 1m, 5m, 1h, 1d, 1w, 1M …")]


def candles(
    symbol: SymbolName,
    *,
    tf: Tf = "1m",
    start: From = None,
    end: To = None,
    chart: Annotated[bool, typer.Option("--chart", "-c", help="Draw them in the terminal.")] = False,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw them into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show stored candles, the newest 60 by default.

    A timestamp is the opening, in UTC. A missing row is a bucket in which nothing was traded, or is a gap:
    `fullon-ohlcv coverage` tells them apart.

    \b
    Examples:
      fullon-ohlcv candles BTC/USD --tf 5m --chart
      fullon-ohlcv candles kraken:BTC/USD --from 1d --json
    """
    timeframe = Timeframe.parse(tf)
    if png is not None:
        check_place(png)
    one, interval, rows = complete(_read(symbol, timeframe, start, end))
    console = make_console()
    title = f"{one} {timeframe} · {say_time(interval[0])} to {say_time(interval[1])} UTC"
    if png is not None:
        from fullon_ohlcv_service.commands.pictures import draw_candles  # noqa: PLC0415 - needs an extra

        draw_candles(_drawable(rows, title), title, png)
        console.print(f"{png}: {len(rows)} candles, {title}")
    elif as_json:
        keys = ("timestamp", *NUMBERS)
        listed = [dict(zip(keys, (row[0].isoformat(), *row[1:]), strict=True)) for row in rows]
        print_json({"exchange": one.exchange, "symbol": one.symbol, "timeframe": str(timeframe), "candles": listed})
    elif chart:
        _chart(_drawable(rows, title), title, console)
    else:
        _table(rows, title, console)


async def _read(
    name: str, timeframe: Timeframe, start: str | None, end: str | None
) -> tuple[WantedSymbol, Interval, list[Row]]:
    async with open_ledger() as ledger:
        one = ledger.find(name)
        now_us = ledger.clock.now_us()
        width_us = timeframe.width_us or timeframe.count * 31 * 86_400_000_000
        start_us, end_us = parse_range(start, end, now_us, default=(0, now_us))
        if start is None:
            start_us = timeframe.floor(end_us - SHOWN * width_us) if end_us > SHOWN * width_us else 0
        if (end_us - start_us) // width_us > ROWS_MAX:
            raise CommandError(f"that may be more than {ROWS_MAX:,} candles; {say_command('export')} takes any number")
        async with ledger.store.connection("read candles") as connection:
            sources = await read_sources(connection, one.exchange, one.symbol, timeframe)
            rows = await read_candles(connection, sources, Window(timeframe, start_us, end_us))
        if start is None and len(rows) < SHOWN and sources:
            # Quiet markets: the newest candles lie further back.
            async with ledger.store.connection("read candles") as connection:
                start_us = max(min(source.first_us for source in sources), end_us - 40 * SHOWN * width_us)
                rows = (await read_candles(connection, sources, Window(timeframe, start_us, end_us)))[-SHOWN:]
            if rows:
                start_us = to_us(rows[0][0])
        return one, (start_us, end_us), rows


def _drawable(rows: list[Row], title: str) -> list[Row]:
    if not rows:
        raise CommandError(f"no candles to draw: {title}")
    return rows


def say_number(value: float) -> str:
    """Return a price or a volume as it was written, without an exponent."""
    return f"{Decimal(repr(value)).normalize():f}"


def _places(values: Iterable[float]) -> int:
    """Return how many decimals the longest of them has."""
    return max((len(say_number(value).partition(".")[2]) for value in values), default=0)


def _aligned(value: float, places: int, console: Console) -> str:
    """Return a number with its point below that of the others; in a pipe as it was written."""
    return f"{Decimal(repr(value)):.{places}f}" if console.is_terminal else say_number(value)


def _table(rows: list[Row], title: str, console: Console) -> None:
    if console.is_terminal:
        console.print(Text(title, "bold"))
    columns = list(zip(*(row[1:] for row in rows), strict=True)) or [()] * len(NUMBERS)
    places = [_places(value for column in columns[:4] for value in column), _places(columns[4])]
    cells: list[list[Cell]] = []
    for row in rows:
        prices = [Text(_aligned(value, places[0], console)) for value in row[1:5]]
        prices[3].stylize("green" if row[4] >= row[1] else "red")
        cells.append([f"{row[0]:%Y-%m-%d %H:%M}", *prices, _aligned(row[5], places[1], console)])
    print_table(console, COLUMNS, cells)
    if not rows:
        note("no candles there")


def _chart(rows: list[Row], title: str, console: Console) -> None:
    import plotext  # noqa: PLC0415 - only a chart needs it

    width = min(console.width, 200) if console.is_terminal else 120
    shown = rows[-max(10, width // 2 - 10) :]
    plot: Any = plotext
    plot.clear_figure()
    plot.theme("clear" if not console.is_terminal else "pro")
    plot.limit_size(False, False)
    plot.plotsize(width, CHART_HEIGHT)
    plot.date_form("Y-m-d H:M")
    times = [f"{row[0]:%Y-%m-%d %H:%M}" for row in shown]
    columns = zip(*(row[1:5] for row in shown), strict=True)
    prices = dict(zip(("Open", "High", "Low", "Close"), map(list, columns), strict=True))
    plot.candlestick(times, prices)
    plot.xticks(times[:: max(1, len(times) * LABEL_WIDTH // width)])
    plot.title(title)
    drawn = plot.build()
    print(drawn if console.is_terminal else plot.uncolorize(drawn))
    last = shown[-1]
    console.print(
        f"{len(shown)} of {len(rows)} candles · last {last[0]:%Y-%m-%d %H:%M} close {say_number(last[4])} "
        f"volume {say_number(last[5])}"
    )
