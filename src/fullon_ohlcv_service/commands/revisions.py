"""`fullon-ohlcv revisions`: what candles were before they were corrected."""

from typing import Any

import typer

from fullon_ohlcv.records import CandleRow, Revision
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.columns import Column, print_table
from fullon_ohlcv_service.commands.candles import say_number
from fullon_ohlcv_service.commands.screen import (
    AsJson,
    From,
    OfExchange,
    SymbolNames,
    To,
    make_console,
    note,
    print_json,
)
from fullon_ohlcv_service.commands.session import complete, open_ledger
from fullon_ohlcv_service.commands.times import iso, parse_range, say_time
from fullon_ohlcv_service.config.database_config import WantedSymbol

NAMES = ("open", "high", "low", "close", "volume", "trades")
COLUMNS = (
    Column("symbol"),
    Column("candle"),
    Column("revised at"),
    Column("why", spare=1),
    Column("change", folds=True),
)
SHOWN_MAX = 200
MONTH_US = 30 * DAY_US


def revisions(
    symbols: SymbolNames = None,
    *,
    exchange: OfExchange = None,
    start: From = None,
    end: To = None,
    as_json: AsJson = False,
) -> None:
    """List the candles that were corrected or withdrawn: what they were, what they are, when and why.

    By default candles of the last 30 days of every symbol. Exit code 0, or 2 where it cannot be told.

    \b
    Examples:
      fullon-ohlcv revisions
      fullon-ohlcv revisions kraken:BTC/USD --from 7d
    """
    found = complete(_read(symbols, exchange, (start, end)))
    if as_json:
        print_json({"revisions": [_as_json(*one) for one in found]})
        raise typer.Exit(0)
    console = make_console()
    rows = [
        [
            str(of),
            say_time(one.before[0]),
            f"{iso(one.revised_at_us) or '':.19}".replace("T", " "),
            one.why,
            _change(one),
        ]
        for of, one in (found[-SHOWN_MAX:] if console.is_terminal else found)
    ]
    if rows or not console.is_terminal:
        print_table(console, COLUMNS, rows)
    if not rows:
        note("none: no candle of that time was ever changed")
    if console.is_terminal and len(found) > SHOWN_MAX:
        console.print(f"the newest {SHOWN_MAX} of {len(found)}; --json lists them all")


async def _read(
    symbols: list[str] | None, exchange: str | None, times: tuple[str | None, str | None]
) -> list[tuple[WantedSymbol, Revision]]:
    async with open_ledger() as ledger:
        now_us = ledger.clock.now_us()
        interval = parse_range(*times, now_us, default=(now_us - MONTH_US, now_us))
        found = [
            (one, revision)
            for one in ledger.choose(symbols, exchange)
            for revision in await ledger.store.read_revisions(await ledger.candles(one.exchange, one.symbol), interval)
        ]
    return sorted(found, key=lambda each: each[1].revised_at_us)


def _change(one: Revision) -> str:
    if one.after is None:
        return "withdrawn: " + " ".join(say_value(value) for value in one.before[1:])
    pairs = zip(NAMES, one.before[1:], one.after[1:], strict=True)
    return ", ".join(f"{name} {say_value(old)} → {say_value(new)}" for name, old, new in pairs if old != new)


def say_value(value: float | None) -> str:
    """Return a value of a candle; `?` where it is not known."""
    return "?" if value is None else say_number(float(value))


def _as_json(of: WantedSymbol, one: Revision) -> dict[str, Any]:
    def values(row: CandleRow | None) -> dict[str, Any] | None:
        return None if row is None else dict(zip(NAMES, row[1:], strict=True))

    return {
        "exchange": of.exchange,
        "symbol": of.symbol,
        "candle": iso(one.before[0]),
        "revised_at": iso(one.revised_at_us),
        "why": one.why,
        "before": values(one.before),
        "after": values(one.after),
    }
