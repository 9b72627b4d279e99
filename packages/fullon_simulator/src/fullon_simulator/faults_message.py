"""A venue's messages taken apart, so that faults can change single rows and leave every other character as it was."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from fullon_simulator.clock import SECOND_US
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.wire import iso_us

Key = str | int
"""Where a field stands in a row: an object's key, or a list's index."""


UNREADABLE = (ArithmeticError, IndexError, KeyError, TypeError, ValueError)
"""What reading a message raises that another fault has spoiled."""


class Number(str):
    """A number as it is written; where it is put, anything stands without quotes, be it a number or not."""

    __slots__ = ()


def read(text: str) -> Any:
    """Parse JSON, numbers kept as they are written."""
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=Number)


def write(value: Any) -> str:
    """Return what `read` has parsed as text."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{write(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(write, value))}]"
    return json.dumps(value)


@dataclass(frozen=True)
class Shape:
    """Where a row has its prices, volume and times. The first time is the trade's, or says which candle it is."""

    prices: tuple[Key, ...]
    """One, or open, high, low and close."""
    volume: Key
    times: tuple[Key, ...]
    unit: Literal["s", "ms", "iso"]
    ends: bool = False
    """True where a candle is named by its end."""

    def time_us(self, row: Any) -> int:
        """Return the row's first time."""
        text = str(row[self.times[0]])
        if self.unit == "iso":
            return round(datetime.fromisoformat(text).timestamp() * SECOND_US)
        return int(Decimal(text) * (SECOND_US if self.unit == "s" else 1000))

    def reads(self, row: Any) -> bool:
        """Tell whether a row is as its venue made it, at least in its kinds of values."""
        try:
            self.time_us(row)
            return all(math.isfinite(float(row[key])) for key in (*self.prices, self.volume))
        except UNREADABLE:
            return False

    def move(self, row: Any, by_us: int) -> None:
        """Change all times of a row by so much, written as they were."""
        for key in self.times:
            text = str(row[key])
            if self.unit == "iso":
                moved = iso_us(round(datetime.fromisoformat(text).timestamp() * SECOND_US) + by_us)
                row[key] = f"{moved[:-1]}000000"[: len(text) - 1] + "Z"
            else:
                row[key] = type(row[key])(Decimal(text) + Decimal(by_us) / (SECOND_US if self.unit == "s" else 1000))

    def put(self, row: Any, key: Key, number: str) -> None:
        """Replace a number by another text: between quotes where the venue writes its numbers so."""
        row[key] = type(row[key])(number)


@dataclass
class Message:
    """A frame or an answer that carries rows of trades or candles; `text` tells it as it now is."""

    body: Any
    rows: list[Any]
    """The rows themselves, and for a frame of several the very list that stands in `body`."""
    shape: Shape
    channel: str
    """`trades` or `candles`."""
    symbol: Callable[[Any], str]
    """Tells the unified symbol of a row."""
    timeframe: Timeframe | None = None
    """How long its candles are."""
    single: bool = False
    """True where the frame is one row, and nothing without it."""

    def readable(self) -> list[Any]:
        """Return the rows that no other fault has spoiled."""
        return [row for row in self.rows if self.shape.reads(row)]

    def open_us(self, row: Any) -> int:
        """Return a candle's open time, or a trade's time."""
        time_us = self.shape.time_us(row)
        return self.timeframe.back(time_us, 1) if self.timeframe and self.shape.ends else time_us

    def text(self) -> str | None:
        """Return the message; None where the frame has lost all its rows."""
        return write(self.body) if self.rows or not self.single else None
