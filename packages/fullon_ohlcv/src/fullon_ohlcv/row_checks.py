"""Can an exchange have meant this row? Pure; every refusal is a sentence that names the field and its value.

A price is a finite number above 0. A candle's open may lie outside [low, high]: BitMEX opens with the previous
close (12 % of its rows). The prices of an empty minute are not looked at: BitMEX sends nulls there.
"""

from collections.abc import Sequence
from math import isnan
from sys import float_info
from typing import Any, TypeGuard

from fullon_ohlcv.records import TradeColumns
from fullon_ohlcv.timeframe import DAY_US, Timeframe, from_us

EARLIEST_US = 1_230_940_800_000_000
"""2009-01-03, the first block: nothing was traded before, so an earlier time is another unit or another field."""

FUTURE_MAX_US = DAY_US
"""How far beyond our clock a timestamp may lie."""

ID_BYTES_MAX = 200
WORD_CHARACTERS_MAX = 32
COUNT_MAX = 2**31 - 1
FLOAT_MAX = float_info.max
SIDES = ("buy", "sell", "")
"""Empty where the exchange does not say, of an auction for instance."""
COMMON_WORDS = frozenset({"market", "limit", ""})
"""Order types that need no closer look."""
_NUMBERS = {int, float}


class CandleCheck:
    """The checks of one channel's candles at one moment."""

    __slots__ = ("_latest_us", "_origin_us", "_timeframe", "_width_us")

    def __init__(self, timeframe: Timeframe, now_us: int) -> None:
        self._timeframe = timeframe
        self._width_us = timeframe.width_us
        self._origin_us = timeframe.origin_us
        self._latest_us = now_us + FUTURE_MAX_US

    def fault(self, row: Any) -> str | None:
        """Return why the row is refused, None where it is good."""
        try:
            timestamp_us, open_, high, low, close, volume, trades = row
            if (
                type(timestamp_us) is int
                and EARLIEST_US <= timestamp_us < self._latest_us
                and (
                    (timestamp_us - self._origin_us) % self._width_us == 0
                    if self._width_us is not None
                    else self._timeframe.floor(timestamp_us) == timestamp_us
                )
                and 0 < low <= high <= FLOAT_MAX
                and 0 < open_ <= FLOAT_MAX
                and 0 < close <= FLOAT_MAX
                and 0 <= volume <= FLOAT_MAX
                and (trades is None or (type(trades) is int and 0 < trades <= COUNT_MAX))
            ):
                return None
        except (TypeError, ValueError, ArithmeticError):
            pass  # the explanation below finds out what it was
        return self._explain(row)

    def placed(self, row: Any) -> int | None:
        """Return the start of the bucket the row belongs to, None if nobody can say when it happened."""
        timestamp_us = _first(row)
        return None if _time_fault(timestamp_us, self._latest_us) else self._timeframe.floor(timestamp_us)

    def _explain(self, row: Any) -> str | None:
        if not _has_fields(row, 7):
            return (
                f"the row is {_shown(row)}; allowed are 7 fields: timestamp_us, open, high, low, close, volume, trades"
            )
        timestamp_us, open_, high, low, close, volume, trades = row
        fault = _time_fault(timestamp_us, self._latest_us)
        if fault is None and self._timeframe.floor(timestamp_us) != timestamp_us:
            fault = f"timestamp {from_us(timestamp_us).isoformat()} is not the open time of a {self._timeframe} candle"
        fault = fault or _number_fault("volume", volume, zero=True)
        if fault is None and trades is not None and not (type(trades) is int and 0 <= trades <= COUNT_MAX):
            fault = f"trades is {_shown(trades)}; allowed is a whole number from 0, or None"
        if fault is not None:
            return fault
        if trades == 0 and volume > 0:
            return f"trades is 0 and volume is {volume!r}: one of them is wrong"
        if is_empty_candle(row):
            return None
        for name, price in (("open", open_), ("high", high), ("low", low), ("close", close)):
            fault = fault or _number_fault(name, price, zero=False)
        if fault is None and high < low:
            fault = f"high {high!r} is below low {low!r}"
        return fault


def is_empty_candle(row: Any) -> bool:
    """Whether a good row says that nothing was traded."""
    trades = row[6]
    return bool(row[5] == 0) if trades is None else bool(trades == 0)


def is_void_trade(row: Any) -> bool:
    """Whether a row says that nothing was traded; whatever else stands in it means nothing."""
    return _has_fields(row, 6) and type(row[2]) in _NUMBERS and row[2] == 0


class TradeCheck:
    """The checks of trades at one moment."""

    __slots__ = ("_latest_us",)

    def __init__(self, now_us: int) -> None:
        self._latest_us = now_us + FUTURE_MAX_US

    def fault(self, row: Any) -> str | None:
        """Return why the row is refused, None where it is good."""
        try:
            timestamp_us, price, volume, side, order_type, trade_id = row
            if (
                type(timestamp_us) is int
                and EARLIEST_US <= timestamp_us < self._latest_us
                and 0 < price <= FLOAT_MAX
                and 0 < volume <= FLOAT_MAX
                and side in SIDES
                and (order_type in COMMON_WORDS or _word_fault(order_type) is None)
                and (trade_id is None or _id_fault(trade_id) is None)
            ):
                return None
        except (TypeError, ValueError, ArithmeticError):
            pass  # the explanation below finds out what it was
        return self._explain(row)

    def plain(self, columns: Sequence[Any]) -> TypeGuard[TradeColumns]:
        """Whether these are the columns of good rows with ids, at a third of the price of looking at each.

        False also where a row may be good and takes a closer look.
        """
        try:
            times_us, prices, volumes, sides, order_types, ids = columns
            text = "".join(ids)
            return (
                set(map(type, times_us)) == {int}
                and min(times_us) >= EARLIEST_US
                and max(times_us) < self._latest_us
                and _are_positive(prices)
                and _are_positive(volumes)
                and set(sides).issubset(SIDES)
                and COMMON_WORDS.issuperset(order_types)
                and text.isascii()
                and "\0" not in text
                and all(ids)
                and max(map(len, ids)) <= ID_BYTES_MAX
            )
        except (TypeError, ValueError):
            return False

    def placed(self, row: Any) -> int | None:
        """Return when the trade happened, None if nobody can say."""
        timestamp_us = _first(row)
        return None if _time_fault(timestamp_us, self._latest_us) else timestamp_us

    def _explain(self, row: Any) -> str:
        if not _has_fields(row, 6):
            return f"the row is {_shown(row)}; allowed are 6 fields: timestamp_us, price, volume, side, order type, id"
        timestamp_us, price, volume, side, order_type, trade_id = row
        return (
            _time_fault(timestamp_us, self._latest_us)
            or _number_fault("price", price, zero=False)
            or _number_fault("volume", volume, zero=False)
            or (None if side in SIDES else f"side is {_shown(side)}; allowed are 'buy', 'sell' and ''")
            or _word_fault(order_type)
            or (None if trade_id is None else _id_fault(trade_id))
            or f"the row is {_shown(row)}"
        )


def _are_positive(values: Sequence[Any]) -> bool:
    """Whether all are numbers above 0 and finite; a NaN shows in the sum, though not always in the least or largest."""
    return (
        set(map(type, values)) <= _NUMBERS and min(values) > 0 and max(values) <= FLOAT_MAX and not isnan(sum(values))
    )


def _first(row: Any) -> Any:
    try:
        return row[0]
    except (TypeError, LookupError):
        return None


def _has_fields(row: Any, count: int) -> bool:
    return isinstance(row, (tuple, list)) and len(row) == count


def _time_fault(timestamp_us: Any, latest_us: int) -> str | None:
    if type(timestamp_us) is not int:
        return f"timestamp is {_shown(timestamp_us)}; allowed is a whole number of microseconds since 1970"
    if EARLIEST_US <= timestamp_us < latest_us:
        return None
    return (
        f"timestamp is {timestamp_us} µs; allowed is from {from_us(EARLIEST_US).date()} "
        f"to {from_us(latest_us).isoformat()}"
    )


def _number_fault(name: str, value: Any, *, zero: bool) -> str | None:
    try:
        number = float(value) if not isinstance(value, (str, bytes)) else None
    except (TypeError, ValueError, ArithmeticError):
        number = None
    if number is not None and (0 < number <= FLOAT_MAX or (zero and number == 0)):
        return None
    return f"{name} is {_shown(value)}; allowed is a finite number {'from' if zero else 'above'} 0"


def _word_fault(order_type: Any) -> str | None:
    if (
        isinstance(order_type, str)
        and len(order_type) <= WORD_CHARACTERS_MAX
        and order_type.isascii()
        and "\0" not in order_type
    ):
        return None
    return f"order type is {_shown(order_type)}; allowed is text such as 'market', 'limit' or ''"


def _id_fault(trade_id: Any) -> str | None:
    if isinstance(trade_id, str) and "\0" not in trade_id:
        if trade_id.isascii() and len(trade_id) <= ID_BYTES_MAX:
            return None
        try:
            if len(trade_id.encode()) <= ID_BYTES_MAX:
                return None
        except UnicodeEncodeError:
            pass  # a lone surrogate: not text that can be stored
    return f"trade id is {_shown(trade_id)}; allowed is text of at most {ID_BYTES_MAX} bytes, or None"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
