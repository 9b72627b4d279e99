"""`fullon-ohlcv repair`: fill the gaps of one symbol now, or read a stretch of it again."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.interface import Exchange, Urgency
from fullon_ohlcv.records import Interval, Series, State
from fullon_ohlcv_service.commands.again import pieces, progress
from fullon_ohlcv_service.commands.screen import AsJson, From, SymbolName, To, make_console, print_json
from fullon_ohlcv_service.commands.session import Ledger, complete, open_ledger
from fullon_ohlcv_service.commands.status_of import TAIL_MAX_US
from fullon_ohlcv_service.commands.times import parse_range, say_time
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.errors import CommandError
from fullon_ohlcv_service.history import HistoricCollector
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector

WHY = "repaired by hand"


@dataclass(frozen=True)
class Repaired:
    """What a repair did, in minutes of candles."""

    one: WantedSymbol
    interval: Interval
    asked_minutes: int
    changed: int
    unknown_before: int
    unknown_after: int
    unavailable: int


def repair(
    symbol: SymbolName,
    *,
    start: From = None,
    end: To = None,
    force: Annotated[
        bool, typer.Option("--force", help="Read what is stored again, too, and correct what differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill the gaps of a symbol now, whether the daemon runs or not; by default all that is wanted of it.

    Without --to the newest three minutes are filled too, but not judged: they are on their way.

    With --force everything in the time is read again; what a candle was before stays among its `revisions`.
    Exit code 0: nothing is unknown any more; 1: something is; 2: not possible.

    \b
    Examples:
      fullon-ohlcv repair kraken:BTC/USD
      fullon-ohlcv repair BTC/USDT --from 2d --to 1d --force
    """
    done = complete(_repair(symbol, start, end, force=force))
    if as_json:
        print_json(_as_json(done))
    else:
        make_console().print(_sentence(done))
    raise typer.Exit(1 if done.unknown_after else 0)


def _sentence(done: Repaired) -> str:
    if not (done.asked_minutes or done.unknown_after):
        return f"{done.one}: nothing is missing; --force reads it again all the same"
    parts = [f"read {_count(done.asked_minutes, 'minute')}", f"{_count(done.changed, 'row')} changed"]
    if done.unknown_before:
        accounted = max(0, done.unknown_before - done.unknown_after)
        parts.append(f"{_count(accounted, 'minute')} accounted for")
    parts.append(f"{done.unknown_after:,} unknown still" if done.unknown_after else "nothing is unknown")
    if done.unavailable:
        parts.append(f"{done.unavailable:,} unavailable")
    return f"{done.one}: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _as_json(done: Repaired) -> dict[str, Any]:
    return {
        "exchange": done.one.exchange,
        "symbol": done.one.symbol,
        "minutes_read": done.asked_minutes,
        "rows_changed": done.changed,
        "unknown_before": done.unknown_before,
        "unknown_after": done.unknown_after,
        "unavailable": done.unavailable,
    }


async def _repair(name: str, start: str | None, end: str | None, *, force: bool) -> Repaired:
    async with open_ledger() as ledger, open_runtime(ledger.config) as runtime:
        one = ledger.find(name)
        wanted = ledger.interval(one)
        if start is None and wanted[0] == wanted[1]:
            raise CommandError(f"{one} is not collected any more; say --from")
        interval = parse_range(start, end, ledger.clock.now_us(), default=wanted)
        interval = (interval[0] - interval[0] % MINUTE_US, min(interval[1] - interval[1] % MINUTE_US, wanted[1]))
        if interval[0] >= interval[1]:
            raise CommandError(f"nothing to repair from {say_time(interval[0])} on: it has not happened yet")
        exchange = await runtime.exchanges.get(one.exchange)
        collector = _collector_for(runtime, exchange)
        series = await runtime.store.series(one.exchange, one.symbol, collector.channel)
        # The newest minutes are on their way, and what is asked for them is asked in passing.
        judged_us = min(interval[1], wanted[1] - TAIL_MAX_US) if end is None else interval[1]
        judged = interval[0], max(interval[0], judged_us)
        before, _ = await _minutes(ledger, one, judged)
        asked = [interval] if force else (await runtime.store.gaps({series: interval}))[series]
        read_us, changed = await _read_again(collector, exchange, series, asked)
        after, unavailable = await _minutes(ledger, one, judged)
    return Repaired(one, interval, read_us // MINUTE_US, changed, before, after, unavailable)


def _collector_for(runtime: Runtime, exchange: Exchange) -> HistoricCollector:
    if exchange.traits.candles_from_trades:
        return HistoricTradeCollector(runtime=runtime)
    return HistoricOHLCVCollector(runtime=runtime)


async def _read_again(
    collector: HistoricCollector, exchange: Exchange, series: Series, asked: list[Interval]
) -> tuple[int, int]:
    """Read and store the intervals piece by piece; return the microseconds read and the rows changed."""
    changed = read_us = 0
    with progress(f"{series.exchange}:{series.symbol}", sum(end - start for start, end in asked)) as advance:
        for piece in pieces(asked):
            changed += await collector.fill_again(exchange, series, piece, Urgency.REPAIR, WHY, confirms=True)
            read_us += piece[1] - piece[0]
            advance(piece[1] - piece[0])
    return read_us, changed


async def _minutes(ledger: Ledger, one: WantedSymbol, interval: Interval) -> tuple[int, int]:
    """Return how many minutes of candles are unknown and unavailable."""
    series = await ledger.candles(one.exchange, one.symbol)
    minutes = {State.UNKNOWN: 0, State.UNAVAILABLE: 0, State.COVERED: 0}
    for run in await ledger.store.coverage_intervals(series, interval):
        minutes[run.state] += (run.interval[1] - run.interval[0]) // MINUTE_US
    return minutes[State.UNKNOWN], minutes[State.UNAVAILABLE]
