"""`fullon-ohlcv verify`: does the store hold what the exchange serves."""

from typing import Annotated, Any

import typer
from rich.text import Text

from fullon_exchange import open_exchange
from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_ohlcv.records import Interval
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.commands.again import Difference, compare, progress
from fullon_ohlcv_service.commands.screen import AsJson, From, OfExchange, SymbolNames, To, make_console, print_json
from fullon_ohlcv_service.commands.session import Ledger, complete, open_ledger
from fullon_ohlcv_service.commands.store_report import check_store
from fullon_ohlcv_service.commands.times import iso, parse_range
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.runtime import read_market_ids

SHOWN_MAX = 50
KEPT_MAX = 10_000


def verify(
    symbols: SymbolNames = None,
    *,
    exchange: OfExchange = None,
    start: From = None,
    end: To = None,
    store: Annotated[
        bool, typer.Option("--store", help="Look for rows that something else removed; the exchange is not asked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read the exchange again and list what the store has otherwise; by default the last day.

    Nothing is changed; `repair --force` is what corrects. Gaps are not compared, `gaps` lists them.
    With --store the rows of every day, by default of all days, are compared with how many were written. A day that
    does not add up becomes unknown, and the daemon fills it again; one that is lost again is given up as unavailable.
    Exit code 0: alike; 1: not alike; 2: it cannot be told.

    \b
    Examples:
      fullon-ohlcv verify kraken:BTC/USD --from 7d
      fullon-ohlcv verify -x binance --json
      fullon-ohlcv verify --store
    """
    if store:
        check_store(symbols, exchange, (start, end), as_json=as_json)
    found = complete(_verify(symbols, exchange, (start, end)))
    if as_json:
        print_json({"symbols": found})
    else:
        _show(found)
    raise typer.Exit(1 if any(one["differences"] for one in found) else 0)


async def _verify(
    symbols: list[str] | None, exchange: str | None, times: tuple[str | None, str | None]
) -> list[dict[str, Any]]:
    async with open_ledger() as ledger:
        chosen = ledger.choose(symbols, exchange)
        now_us = ledger.clock.now_us()
        start_us, end_us = parse_range(*times, now_us, default=(now_us - DAY_US, now_us))
        interval = floor_minute_us(start_us), floor_minute_us(end_us)
        found = []
        with progress("verifying", len(chosen) * (interval[1] - interval[0])) as advance:
            for one in chosen:
                found.append(await _verify_one(ledger, one, interval))
                advance(interval[1] - interval[0])
        return found


async def _verify_one(ledger: Ledger, one: WantedSymbol, interval: Interval) -> dict[str, Any]:
    async with open_exchange(one.exchange) as exchange:
        exchange.pin(await read_market_ids(ledger.store, one.exchange))
        channel = "trades" if exchange.traits.candles_from_trades else "candles1m"
        series = await ledger.store.series(one.exchange, one.symbol, channel)
        minutes = rows = 0
        differences: list[Difference] = []
        async for piece, served, found in compare(exchange, ledger.store, series, interval):
            minutes += (piece[1] - piece[0]) // MINUTE_US
            rows += served
            differences += found[: KEPT_MAX - len(differences)]
    return {
        "exchange": one.exchange,
        "symbol": one.symbol,
        "channel": channel,
        "from": iso(interval[0]),
        "to": iso(interval[1]),
        "minutes_compared": minutes,
        "rows_served": rows,
        "differences": [
            {"timestamp": iso(each.timestamp_us), "key": each.key, "what": str(each)} for each in differences
        ],
    }


def _show(found: list[dict[str, Any]]) -> None:
    console = make_console()
    for one in found:
        what = f"{one['rows_served']:,} {one['channel']} in {one['minutes_compared']:,} covered minutes"
        differences = one["differences"]
        verdict = Text(f"{len(differences)} differences", "bold red") if differences else Text("alike", "green")
        if not one["minutes_compared"]:
            verdict = Text("nothing to compare", "yellow")
        console.print(Text.assemble(f"{one['exchange']}:{one['symbol']}: ", verdict, f" · {what}"))
        for each in differences[:SHOWN_MAX]:
            console.print(f"  {each['timestamp'][:19].replace('T', ' ')} {each['what']}")
        if len(differences) > SHOWN_MAX:
            console.print(f"  and {len(differences) - SHOWN_MAX} more: --json lists them")
