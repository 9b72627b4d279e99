"""ccxt's rows to records: pure, and nothing passes unchecked.

ccxt gives `None` for what it could not read and milliseconds for every time.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fullon_exchange.records import EARLIEST_US, Candle, Side, Trade
from fullon_exchange.timeframes import Timeframe

LATEST_US = 4_102_444_800_000_000
"""2100-01-01: a bound that keeps absurd numbers out of integer arithmetic."""
_MAX = 1e18


class Unreadable(ValueError):
    """A row that is no record; the sentence says what is wrong with it."""


class Quiet(ValueError):
    """A candle in which nothing was traded, without prices."""

    def __init__(self, timestamp_us: int) -> None:
        super().__init__(f"nothing was traded at {timestamp_us}")
        self.timestamp_us = timestamp_us


def candle_of(row: Sequence[Any], symbol: str, timeframe: Timeframe, *, closed: bool) -> Candle:
    """Return the candle in `[ts_ms, open, high, low, close, volume]`; ccxt tells no number of trades.

    Raises:
        Quiet: the volume is 0 and no price is given.
        Unreadable: a value is missing or out of range, or the time is no start of a candle.
    """
    if len(row) < 6:
        raise Unreadable(f"a candle of {len(row)} values")
    timestamp_us = _micros(row[0])
    if timeframe.floor_us(timestamp_us) != timestamp_us:
        raise Unreadable(f"{row[0]} is no start of a candle of {timeframe.name}")
    volume = _number(row[5])
    if volume < 0:
        raise Unreadable(f"volume {row[5]}")
    if volume == 0 and not any(row[1:5]):
        raise Quiet(timestamp_us)
    first, high, low, last = (_price(value) for value in row[1:5])
    return Candle(symbol, timeframe.name, timestamp_us, first, high, low, last, volume, None, closed)


def trade_of(row: Mapping[str, Any], symbol: str, timestamp_us: int | None = None) -> Trade:
    """Return the trade in a unified dictionary; `timestamp_us` where it is known more exactly than ccxt tells.

    The id is empty where the exchange gives none, and so is the side. A trade in which nothing was traded is void:
    volume and price are 0.

    Raises:
        Unreadable: a value is missing or out of range.
    """
    said = row.get("side")
    if said not in ("buy", "sell", "", None):
        raise Unreadable(f"side {said}")
    side: Side = "" if said is None else said
    volume = _number(row.get("amount"))
    if volume < 0:
        raise Unreadable(f"{volume} where something positive belongs")
    order_type = row.get("type")
    trade_id = row.get("id")
    return Trade(
        symbol,
        _micros(row.get("timestamp")) if timestamp_us is None else _in_range(timestamp_us),
        _price(row.get("price")) if volume else 0.0,
        volume,
        side,
        "" if trade_id is None else str(trade_id),
        order_type if order_type in ("market", "limit") else "",
    )


def in_order(trades: Sequence[Trade]) -> list[Trade]:
    """Return trades oldest first, those of one instant by id: ccxt sorts by milliseconds and by the text of the id.

    Trades without an id get one of their content, numbered where one instant has several equal ones.
    """
    ordered = sorted(trades, key=_order)
    if all(trade.trade_id for trade in ordered):
        return ordered
    seen: Counter[str] = Counter()
    named: list[Trade] = []
    for trade in ordered:
        if not trade.trade_id:
            content = f"{trade.timestamp_us}-{trade.price!r}-{trade.volume!r}-{trade.side}"
            seen[content] += 1
            trade = Trade(  # noqa: PLW2901 -- the same trade with a name
                trade.symbol,
                trade.timestamp_us,
                trade.price,
                trade.volume,
                trade.side,
                f"{content}-{seen[content]}",
                trade.order_type,
            )
        named.append(trade)
    return named


def _order(trade: Trade) -> tuple[int, int, str]:
    return trade.timestamp_us, len(trade.trade_id), trade.trade_id


def _micros(value: Any) -> int:
    return _in_range(int(_number(value)) * 1000)


def _in_range(timestamp_us: int) -> int:
    if not EARLIEST_US <= timestamp_us < LATEST_US:
        raise Unreadable(f"time {timestamp_us}")
    return timestamp_us


def _price(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise Unreadable(f"{value} where something positive belongs")
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Unreadable(f"{value!r} where a number belongs")
    try:
        number = float(value)
    except ValueError as error:
        raise Unreadable(f"{value!r} where a number belongs") from error
    if not math.isfinite(number) or abs(number) >= _MAX:
        raise Unreadable(f"{value!r} where a number belongs")
    return number
