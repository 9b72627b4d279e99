"""Recorded trades as a tape, so that a real afternoon can be traded again."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fullon_simulator.clock import DAY_US, SECOND_US
from fullon_simulator.columns import Block, TradeColumns, cut
from fullon_simulator.errors import RecordingUnreadable
from fullon_simulator.spec import SymbolSpec
from fullon_simulator.tape import Tape


class RecordedTrade(NamedTuple):
    """One trade of a recording; decimals as they were written."""

    timestamp_us: int
    price: Decimal
    volume: Decimal
    side: str
    order_type: str
    trade_id: int


class RecordedHistory:
    """A recording's trades, ordered by id; nothing before and nothing after them."""

    def __init__(self, spec: SymbolSpec, trades: Sequence[RecordedTrade], *, shift_us: int = 0) -> None:
        ordered = sorted(trades, key=lambda trade: trade.trade_id)
        self._rows = TradeColumns(
            np.array([trade.trade_id for trade in ordered], dtype=np.int64),
            np.array([trade.timestamp_us + shift_us for trade in ordered], dtype=np.int64),
            np.array([_units(trade.price, spec.price_digits) for trade in ordered], dtype=np.int64),
            np.array([_units(trade.volume, spec.volume_digits) for trade in ordered], dtype=np.int64),
            np.array([trade.side == "buy" for trade in ordered], dtype=np.bool_),
            np.array([trade.order_type == "market" for trade in ordered], dtype=np.bool_),
        )
        if not ordered or np.any(np.diff(self._rows.trade_id) <= 0) or np.any(np.diff(self._rows.time_us) < 0):
            raise ValueError(
                f"a recording of {spec.symbol} needs trades with distinct ids, in the order of their times"
            )
        self.first_day = int(self._rows.time_us[0]) // DAY_US
        starts = np.ones(len(ordered), dtype=np.bool_)
        for column in (self._rows.time_us, self._rows.price, self._rows.buy):
            starts[1:] &= column[1:] == column[:-1]
        starts[1:] = ~starts[1:]
        self._aggregate_first = np.concatenate((np.flatnonzero(starts), [len(ordered)]))

    def trades_before(self, day: int) -> int:
        """Return how many trades there are before `day`."""
        return int(np.searchsorted(self._rows.time_us, day * DAY_US))

    def aggregates_before(self, day: int) -> int:
        """Return how many aggregates there are before `day`."""
        return int(np.searchsorted(self._aggregate_first[:-1], self.trades_before(day)))

    def position_of_id(self, trade_id: int) -> int:
        """Return how many trades have a smaller id."""
        return int(np.searchsorted(self._rows.trade_id, trade_id))

    def block(self, day: int) -> Block:
        """Return the trades of `day`."""
        start, stop = self.trades_before(day), self.trades_before(day + 1)
        first, last = self.aggregates_before(day), self.aggregates_before(day + 1)
        starts = np.concatenate((self._aggregate_first[first:last], [stop])) - start
        return Block(start, first, cut(self._rows, start, stop), starts)


def replay(venue: str, symbol: str, trades: Iterable[RecordedTrade], *, shift_us: int = 0) -> Tape:
    """Return a tape of recorded trades, each `shift_us` later than it was."""
    recorded = list(trades)
    if not recorded:
        raise ValueError(f"a recording of {symbol} needs at least one trade")
    spec = SymbolSpec(
        symbol,
        listed_at_us=min(trade.timestamp_us for trade in recorded) + shift_us,
        price=float(recorded[0].price),
        price_decimals=max(_decimals(trade.price) for trade in recorded),
        volume_decimals=max(_decimals(trade.volume) for trade in recorded),
    )
    return Tape(0, venue, spec, history=RecordedHistory(spec, recorded, shift_us=shift_us))


def read_recording(path: Path) -> list[RecordedTrade]:
    """Read trades of one symbol from a file, plain or gzip, in one of three forms.

    An answer of Kraken's REST Trades; lines of a Binance `@trade` stream, each with or without the time of
    its receipt before it; or lines `[timestamp_us, "price", "volume", "buy"|"sell", "market"|"limit", id]`.

    Raises:
        RecordingUnreadable: the file cannot be read or has none of these forms.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        return list(_trades_of(text))
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, InvalidOperation) as error:
        raise RecordingUnreadable(path, str(error) or type(error).__name__) from error


def _trades_of(text: str) -> Iterator[RecordedTrade]:
    if text.lstrip().startswith("{") and '"result"' in text[:200]:
        result: dict[str, Any] = json.loads(text, parse_float=Decimal)["result"]
        (rows,) = (rows for name, rows in result.items() if name != "last")
        for price, volume, time_s, side, order_type, _, trade_id in rows:
            yield RecordedTrade(
                int(time_s * SECOND_US),
                Decimal(price),
                Decimal(volume),
                "buy" if side == "b" else "sell",
                "market" if order_type == "m" else "limit",
                trade_id,
            )
        return
    for line in text.splitlines():
        starts = [at for at in (line.find("{"), line.find("[")) if at >= 0]
        if not starts:
            continue
        message = json.loads(line[min(starts) :])
        if isinstance(message, list):
            timestamp_us, price, volume, side, order_type, trade_id = message
            yield RecordedTrade(int(timestamp_us), Decimal(price), Decimal(volume), side, order_type, int(trade_id))
        elif (event := message.get("data", message)).get("e") == "trade":
            side = "sell" if event["m"] else "buy"
            yield RecordedTrade(event["T"] * 1000, Decimal(event["p"]), Decimal(event["q"]), side, "limit", event["t"])


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _units(number: Decimal, decimals: int) -> int:
    units = number.scaleb(decimals)
    if units != int(units):
        raise ValueError(f"{number} has more than {decimals} decimals")
    return int(units)
