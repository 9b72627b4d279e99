"""Reading the exchange again, for `verify` and `repair`: pieces of time, and what one piece of the exchange holds."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fullon_exchange.interface import Exchange, Urgency
from fullon_ohlcv.records import Interval, Series, State
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.commands.screen import make_console

PIECE_US = 6 * 3600 * 1_000_000
"""So much time is read from the exchange at once."""
FIELDS = ("timestamp", "open", "high", "low", "close", "volume", "trades")
TRADE_FIELDS = ("timestamp", "price", "volume", "side", "id")
Rows = dict[str, tuple[Any, ...]]
"""By what identifies them; a row begins with its time."""


@dataclass(frozen=True)
class Difference:
    """One row that exchange and store do not have alike; None where one of them has none."""

    key: str
    timestamp_us: int
    stored: Sequence[object] | None
    served: Sequence[object] | None

    def __str__(self) -> str:
        if self.stored is None:
            return f"missing: {_said(self.served)}"
        if self.served is None:
            return f"surplus: {_said(self.stored)}"
        names = FIELDS if len(self.stored) == len(FIELDS) else TRADE_FIELDS
        changed = [
            f"{name} {mine} stored, {theirs} served"
            for name, mine, theirs in zip(names, self.stored, self.served, strict=True)
            if mine != theirs
        ]
        return "differs: " + ", ".join(changed)


def _said(row: Sequence[object] | None) -> str:
    return " ".join(str(value) for value in (row or ())[1:])


def pieces(intervals: Sequence[Interval]) -> Iterator[Interval]:
    """Cut intervals into stretches of at most `PIECE_US`."""
    for start_us, end_us in intervals:
        for at_us in range(start_us, end_us, PIECE_US):
            yield at_us, min(end_us, at_us + PIECE_US)


@contextmanager
def progress(title: str, total_us: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is; what is yielded is told how much was done."""
    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=max(1, total_us))
        yield lambda done_us: bar.advance(task, done_us)


async def compare(
    exchange: Exchange, store: TimeseriesStore, series: Series, interval: Interval
) -> AsyncIterator[tuple[Interval, int, list[Difference]]]:
    """Yield the covered parts of an interval, how many rows the exchange serves there, and what differs."""
    runs = await store.coverage_intervals(series, interval)
    covered = [run.interval for run in runs if run.state is State.COVERED]
    for piece in pieces(covered):
        stored: Rows
        if series.channel == "trades":
            served, settled = await _served_trades(exchange, series.symbol, piece)
            stored = {str(row[5]): (*row[:4], row[5]) for row in await store.read_trades(series, piece)}
        else:
            served, settled = await _served_candles(exchange, series.symbol, piece)
            stored = {str(row[0]): row for row in await store.read_candles(series, piece)}
        found = []
        for key in sorted(stored.keys() | served.keys()):
            mine, theirs = stored.get(key), served.get(key)
            at_us = (mine or theirs or (0,))[0]
            is_settled = any(start_us <= at_us < end_us for start_us, end_us in settled)
            if is_settled and not _alike(mine, theirs):
                found.append(Difference(key, at_us, mine, theirs))
        yield piece, len(served), found


def _alike(mine: Sequence[object] | None, theirs: Sequence[object] | None) -> bool:
    """Tell whether two rows are the same; a number of trades that one of them does not know is no difference."""
    if mine is None or theirs is None:
        return mine is theirs
    return all(
        one == other for one, other in zip(mine[1:], theirs[1:], strict=True) if one is not None and other is not None
    )


async def _served_candles(exchange: Exchange, symbol: str, piece: Interval) -> tuple[Rows, list[Interval]]:
    served: Rows = {}
    settled = []
    async for page in exchange.fetch_candles(symbol, "1m", *piece, urgency=Urgency.RECHECK):
        settled.append(page.interval)
        for one in page.records:
            if one.volume or one.trades:
                row = (one.timestamp_us, one.open, one.high, one.low, one.close, one.volume, one.trades)
                served[str(one.timestamp_us)] = row
    return served, settled


async def _served_trades(exchange: Exchange, symbol: str, piece: Interval) -> tuple[Rows, list[Interval]]:
    served: Rows = {}
    settled = []
    async for page in exchange.fetch_trades(symbol, *piece, urgency=Urgency.RECHECK):
        settled.append(page.interval)
        for one in page.records:
            served[one.trade_id] = (one.timestamp_us, one.price, one.volume, one.side, one.trade_id)
    return served, settled
