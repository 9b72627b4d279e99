"""`fullon-ohlcv candles`: stored candles as a table, a chart in the terminal, or a picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from fullon_ohlcv.intervals import intersect
from fullon_ohlcv.reading import Buckets, Incomplete, Row, Window, read_buckets, read_sources
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
from fullon_ohlcv_service.commands.session import complete, open_ledger, settled_end_us
from fullon_ohlcv_service.commands.times import iso, parse_range, say_time
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.errors import CommandError

NUMBERS = ("open", "high", "low", "close", "volume")
COLUMNS = (Column("timestamp"), *(Column(name, right=True) for name in NUMBERS))
SHOWN = 60
ROWS_MAX = 200_000
CHART_HEIGHT = 24
NAMED = 3
"""How many intervals a note names."""
LABEL_WIDTH = 20
"""Of a time below a chart, in cells, with room around it."""
Tf = Annotated[str, typer.Option("--tf", metavar="1m", help="Timeframe: 1m, 5m, 1h, 1d, 1w, 1M …")]
WhatIfIncomplete = Annotated[
    Incomplete,
    typer.Option(
        "--incomplete", help="A candle of which a minute is not known: leave it out, keep and mark it, or refuse."
    ),
]


@dataclass(frozen=True)
class Answer:
    """The candles of a symbol, what was asked, and what of it is not there."""

    symbol: WantedSymbol
    timeframe: Timeframe
    interval: Interval
    buckets: Buckets
    not_complete: list[Interval]
    """Buckets since the first one that have ended and are not wholly known."""
    has_gaps: bool
    """Whether anything since the first candle should be known by now and is not."""

    @property
    def title(self) -> str:
        """What is shown."""
        return f"{self.symbol} {self.timeframe} · {say_time(self.interval[0])} to {say_time(self.interval[1])} UTC"


def candles(
    symbol: SymbolName,
    *,
    tf: Tf = "1m",
    start: From = None,
    end: To = None,
    chart: Annotated[bool, typer.Option("--chart", "-c", help="Draw them in the terminal.")] = False,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw them into this file.")] = None,
    incomplete: WhatIfIncomplete = "drop",
    as_json: AsJson = False,
) -> None:
    """Show stored candles, the newest 60 by default.

    A timestamp is the opening, in UTC. A candle of which a minute is unknown or unavailable, or that is still
    running, is left out and counted; `--incomplete keep` shows it and how many minutes it is made of. Any other
    missing row is a bucket in which nothing was traded. Exit code 1: shown, but there are gaps.

    \b
    Examples:
      fullon-ohlcv candles BTC/USD --tf 5m --chart
      fullon-ohlcv candles kraken:BTC/USD --from 1d --json
      fullon-ohlcv candles kraken:BTC/USD --tf 1h --incomplete keep
    """
    timeframe = Timeframe.parse(tf)
    if png is not None:
        check_place(png)
    answer = complete(_read(symbol, timeframe, (start, end), incomplete))
    console = make_console()
    rows, title = answer.buckets.rows, answer.title
    if png is not None:
        from fullon_ohlcv_service.commands.pictures import draw_candles  # noqa: PLC0415 - needs an extra

        draw_candles(_drawable(rows, title), title, png)
        console.print(f"{png}: {len(rows)} candles, {title}")
    elif as_json:
        print_json(_as_json(answer))
    elif chart:
        _chart(_drawable(rows, title), title, console)
    else:
        _table(answer, console, with_known=incomplete == "keep")
    if answer.not_complete and not as_json:
        note(_describe_incomplete(answer.not_complete, "kept" if incomplete == "keep" else "left out"))
    raise typer.Exit(1 if answer.has_gaps else 0)


def _describe_incomplete(intervals: list[Interval], what: str) -> str:
    """Return where candles are not complete, and what helps."""
    shown = ", ".join(f"{say_time(start_us)} to {say_time(end_us)}" for start_us, end_us in intervals[:NAMED])
    more = f" and {len(intervals) - NAMED} more intervals" if len(intervals) > NAMED else ""
    return f"{what}, not wholly known: {shown}{more}; {say_command('gaps')} lists what is missing"


def _as_json(answer: Answer) -> dict[str, Any]:
    buckets = answer.buckets
    keys = ("timestamp", *NUMBERS, "known_minutes", "complete")
    marked = zip(buckets.rows, buckets.known_minutes, buckets.complete, strict=True)
    return {
        "exchange": answer.symbol.exchange,
        "symbol": answer.symbol.symbol,
        "timeframe": str(answer.timeframe),
        "candles": [
            dict(zip(keys, (row[0].isoformat(), *row[1:], known, is_complete), strict=True))
            for row, known, is_complete in marked
        ],
        "incomplete": [{"from": iso(start_us), "to": iso(end_us)} for start_us, end_us in answer.not_complete],
    }


async def _read(
    name: str, timeframe: Timeframe, times: tuple[str | None, str | None], incomplete: Incomplete
) -> Answer:
    start, end = times
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

            async def read(start_us: int) -> Buckets:
                window = Window(timeframe, start_us, end_us)
                return await read_buckets(connection, sources, window, now_us, incomplete=incomplete)

            buckets = await read(start_us)
            if start is None and len(buckets.rows) < SHOWN and sources:
                # Quiet markets: the newest candles lie further back.
                start_us = max(min(source.first_us for source in sources), end_us - 40 * SHOWN * width_us)
                buckets = await read(start_us)
                if buckets.rows:
                    start_us = to_us(buckets.rows[-SHOWN:][0][0])
                    buckets = await read(start_us)
        if not sources:
            return Answer(one, timeframe, (start_us, end_us), buckets, [], has_gaps=False)
        first_us = min(source.first_us for source in sources)
        not_complete = within(buckets.incomplete, (timeframe.floor(first_us), timeframe.floor(min(end_us, now_us))))
        has_gaps = bool(within(buckets.gaps, (first_us, settled_end_us(now_us))))
        return Answer(one, timeframe, (start_us, end_us), buckets, not_complete, has_gaps)


def within(intervals: Sequence[Interval], span: Interval) -> list[Interval]:
    """Return what of the intervals lies in the span."""
    return intersect(intervals, [span])


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


def _table(answer: Answer, console: Console, *, with_known: bool) -> None:
    buckets = answer.buckets
    rows = buckets.rows
    if console.is_terminal:
        console.print(Text(answer.title, "bold"))
    columns = list(zip(*(row[1:] for row in rows), strict=True)) or [()] * len(NUMBERS)
    places = [_places(value for column in columns[:4] for value in column), _places(columns[4])]
    cells: list[list[Cell]] = []
    for row, known, is_complete in zip(rows, buckets.known_minutes, buckets.complete, strict=True):
        prices = [Text(_aligned(value, places[0], console)) for value in row[1:5]]
        prices[3].stylize("green" if row[4] >= row[1] else "red")
        marks = [Text(str(known), "" if is_complete else "yellow")] if with_known else []
        cells.append([f"{row[0]:%Y-%m-%d %H:%M}", *prices, _aligned(row[5], places[1], console), *marks])
    print_table(console, (*COLUMNS, Column("known_minutes", right=True)) if with_known else COLUMNS, cells)
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
