"""`fullon-ohlcv verify --store`: have rows of the store been removed, or added, by something else."""

from typing import Any, NoReturn

import typer
from rich.text import Text

from fullon_ohlcv.records import Series, State
from fullon_ohlcv.tallies import DayDifference, day_of
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.commands.again import progress
from fullon_ohlcv_service.commands.screen import make_console, print_json
from fullon_ohlcv_service.commands.session import complete, open_ledger
from fullon_ohlcv_service.commands.times import parse_range
from fullon_ohlcv_service.store_check import in_order, pieces

SHOWN_MAX = 50
NOW = {
    State.UNKNOWN: "unknown now, to be filled again",
    State.UNAVAILABLE: "unavailable now: lost again, or what it is made of is not kept",
    State.COVERED: "made again of the trades stored",
}


def check_store(
    symbols: list[str] | None, exchange: str | None, times: tuple[str | None, str | None], *, as_json: bool
) -> NoReturn:
    """Compare, show what was found, and end with 1 where something was."""
    compared, found = complete(_check(symbols, exchange, times))
    if as_json:
        print_json({"days_compared": compared, "days": [_as_json(one) for one in found]})
    else:
        _show(compared, found)
    raise typer.Exit(1 if found else 0)


async def _check(
    symbols: list[str] | None, exchange: str | None, times: tuple[str | None, str | None]
) -> tuple[int, list[DayDifference]]:
    """Return how many days were compared, and those that did not add up."""
    async with open_ledger() as ledger:
        now_us = ledger.clock.now_us()
        asked = parse_range(*times, now_us, default=(0, now_us))
        if symbols:
            names = {(one.exchange, one.symbol) for one in ledger.choose(symbols, exchange)}
            chosen = [series for key, series in ledger.known.items() if key[:2] in names]
        else:
            chosen = [series for series in ledger.known.values() if exchange in (None, series.exchange)]
        tallied = {series: await ledger.store.tallied(series) for series in in_order(chosen)}
        work = [
            (series, piece)
            for series, span in tallied.items()
            for piece in pieces(series, span)
            if piece[0] < asked[1] and piece[1] > asked[0]
        ]
        found: list[DayDifference] = []
        days = 0
        with progress("comparing", sum(end_us - start_us for _, (start_us, end_us) in work)) as advance:
            for series, (start_us, end_us) in work:
                part = max(start_us, asked[0]), min(end_us, asked[1])
                found += await ledger.store.check_rows(series, part)
                days += -(-part[1] // DAY_US) - part[0] // DAY_US
                advance(end_us - start_us)
        return days, found


def _as_json(one: DayDifference) -> dict[str, Any]:
    series: Series = one.series
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "channel": series.channel,
        "day": str(day_of(one.interval[0])),
        "written": one.written,
        "stored": one.stored,
        "now": one.state.value,
    }


def _show(compared: int, found: list[DayDifference]) -> None:
    console = make_console()
    for one in found[:SHOWN_MAX]:
        name = f"{one.series.exchange}:{one.series.symbol} {one.series.channel} {day_of(one.interval[0])!s}: "
        counts = Text(f"{one.stored:,} of {one.written:,} rows", "bold red")
        console.print(Text.assemble(name, counts, f"; {NOW[one.state]}"))
    if len(found) > SHOWN_MAX:
        console.print(f"and {len(found) - SHOWN_MAX} more days: --json lists them")
    if not found:
        console.print(f"{compared:,} days compared: every row that was written is stored")
