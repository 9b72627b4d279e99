"""Trades and candles as numpy columns of integers, and the one way of folding them.

Prices and volumes are integers in units of the symbol's last decimal, so sums are exact; quote volumes are
products of both. Times are microseconds since the epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from fullon_simulator.clock import MINUTE_US

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class TradeColumns(NamedTuple):
    """Trades in the order of their ids."""

    trade_id: Ints
    time_us: Ints
    price: Ints
    volume: Ints
    buy: Flags
    """True where the taker bought."""
    market: Flags
    """True where the taker's order was a market order, False for a limit order."""


class AggregateColumns(NamedTuple):
    """Trades of one taker at one price and time, taken together."""

    aggregate_id: Ints
    first_id: Ints
    last_id: Ints
    time_us: Ints
    price: Ints
    volume: Ints
    buy: Flags


class CandleColumns(NamedTuple):
    """Candles oldest first, without empty ones; `time_us` is the open time."""

    time_us: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote: Ints
    buy_volume: Ints
    buy_quote: Ints
    trades: Ints
    first_id: Ints
    last_id: Ints

    @classmethod
    def of_trades(cls, rows: TradeColumns) -> "CandleColumns":
        """Return every trade as a candle of its own."""
        quote = rows.price * rows.volume
        return cls(
            rows.time_us, rows.price, rows.price, rows.price, rows.price, rows.volume, quote,
            rows.volume * rows.buy, quote * rows.buy, np.ones_like(rows.volume), rows.trade_id, rows.trade_id,
        )  # fmt: skip

    def fold(self, open_us: Ints) -> "CandleColumns":
        """Return one candle per run of equal `open_us`, which gives each row's new open time."""
        if not len(open_us):
            return self
        first = np.flatnonzero(np.concatenate(([True], open_us[1:] != open_us[:-1])))
        last = np.concatenate((first[1:], [len(open_us)])) - 1
        return CandleColumns(
            time_us=open_us[first],
            open=self.open[first],
            high=np.maximum.reduceat(self.high, first),
            low=np.minimum.reduceat(self.low, first),
            close=self.close[last],
            volume=np.add.reduceat(self.volume, first),
            quote=np.add.reduceat(self.quote, first),
            buy_volume=np.add.reduceat(self.buy_volume, first),
            buy_quote=np.add.reduceat(self.buy_quote, first),
            trades=np.add.reduceat(self.trades, first),
            first_id=self.first_id[first],
            last_id=self.last_id[last],
        )


Columns = TypeVar("Columns", TradeColumns, AggregateColumns, CandleColumns)


def cut(columns: Columns, start: int, stop: int) -> Columns:
    """Return the rows `[start, stop)` as views."""
    return type(columns)._make(column[start:stop] for column in columns)


def join(parts: list[Columns], nothing: Columns) -> Columns:
    """Return the parts one after the other, a single one without copying, `nothing` for none."""
    if len(parts) < 2:
        return parts[0] if parts else nothing
    return type(nothing)._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def tuples(columns: Columns) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as tuples of Python's own numbers, in the order of the fields."""
    return zip(*(column.tolist() for column in columns), strict=True)


_NO_INTS = np.empty(0, dtype=np.int64)
_NO_FLAGS = np.empty(0, dtype=np.bool_)
NO_TRADES = TradeColumns(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_FLAGS, _NO_FLAGS)
NO_AGGREGATES = AggregateColumns(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_FLAGS)
NO_CANDLES = CandleColumns(*([_NO_INTS] * 12))


@dataclass(frozen=True)
class Block:
    """All trades of one symbol in one UTC day."""

    position: int
    """How many trades the market had before this day."""
    aggregate_position: int
    """How many aggregates the market had before this day."""
    trades: TradeColumns
    aggregate_first: Ints
    """Where in `trades` each aggregate begins, and, one more, the number of trades."""

    @cached_property
    def minutes(self) -> CandleColumns:
        """The day's non-empty minutes."""
        rows = self.trades
        return CandleColumns.of_trades(rows).fold(rows.time_us - rows.time_us % MINUTE_US)

    def aggregates(self, start: int, stop: int) -> AggregateColumns:
        """Return the day's aggregates `[start, stop)`."""
        if start >= stop:
            return NO_AGGREGATES
        first, rows = self.aggregate_first[start:stop], self.trades
        last = self.aggregate_first[start + 1 : stop + 1] - 1
        covered = rows.volume[: last[-1] + 1]
        return AggregateColumns(
            np.arange(start, stop) + self.aggregate_position + 1,
            rows.trade_id[first],
            rows.trade_id[last],
            rows.time_us[first],
            rows.price[first],
            np.add.reduceat(covered, first),
            rows.buy[first],
        )


class History(Protocol):
    """Where a tape's trades come from: a generator or a recording."""

    first_day: int
    """The UTC day (days since the epoch) of the first trade."""

    def trades_before(self, day: int) -> int:
        """Return how many trades there are before `day`."""

    def aggregates_before(self, day: int) -> int:
        """Return how many aggregates there are before `day`."""

    def position_of_id(self, trade_id: int) -> int:
        """Return how many trades have a smaller id."""

    def block(self, day: int) -> Block:
        """Return the trades of `day`."""
