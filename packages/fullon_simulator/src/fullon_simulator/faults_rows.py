"""Faults of single trades and candles: left out, out of range, moved in time, misprinted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from fullon_simulator.clock import DAY_US, SECOND_US
from fullon_simulator.faults import Anywhere, OnRows
from fullon_simulator.faults_message import Message, Number, Shape
from fullon_simulator.faults_parameters import choice, number, whole
from fullon_simulator.sockets import Connection, Frame

_SOME = number(0.2, "how likely each row is struck", low=0.0, high=1.0, drawn=(0.05, 1.0))


@dataclass(kw_only=True)
class Omit(Anywhere):
    """Leaves trades or candles out."""

    kind = "omit"
    share: float = _SOME

    def edit(self, message: Message) -> None:
        """Take rows out."""
        message.rows[:] = [row for row in message.rows if not self.strikes(message.symbol(row))]


@dataclass(kw_only=True)
class BadValues(Anywhere):
    """Sends rows with values that cannot be, in place of the true ones."""

    kind = "bad_values"
    share: float = _SOME
    form: str | None = choice(
        None,
        "which; else any",
        of=(
            *(None, "nan", "infinity", "null", "word", "negative_price", "zero_volume", "negative_volume"),
            *("time_1970", "time_next_year", "wrong_unit", "missing"),
        ),
        drawn=(
            *(None, "nan", "infinity", "null", "word", "negative_price", "negative_volume"),
            *("time_1970", "time_next_year", "wrong_unit", "missing"),
        ),
    )

    def edit(self, message: Message) -> None:
        """Spoil rows in place."""
        for row in message.readable():
            if self.strikes(message.symbol(row)):
                form = self.form or self.scene.random.choice(_DRAWN)
                _FORMS[form](row, message.shape)


def _bad_price(text: str | None) -> Callable[[Any, Shape], None]:
    def spoil(row: Any, shape: Shape) -> None:
        key = shape.prices[-1]
        if text is None:
            row[key] = None
        elif text == "Infinity" and isinstance(row[key], Number):
            row[key] = Number("1e999")  # JSON has no infinity, but numbers that are too big
        else:
            shape.put(row, key, text)

    return spoil


def _word(row: Any, shape: Shape) -> None:
    row[shape.prices[-1]] = "cheap"


def _negative_price(row: Any, shape: Shape) -> None:
    for key in shape.prices:
        shape.put(row, key, f"-{row[key]}")


def _negative_volume(row: Any, shape: Shape) -> None:
    shape.put(row, shape.volume, f"-{row[shape.volume]}")


def _zero_volume(row: Any, shape: Shape) -> None:
    shape.put(row, shape.volume, "0")


def _wrong_unit(row: Any, shape: Shape) -> None:
    for key in shape.times:
        if shape.unit == "iso":
            row[key] = Number(str(shape.time_us(row) // 1000))
        else:
            factor = Decimal(1000) if shape.unit == "s" else Decimal("0.001")
            shape.put(row, key, f"{int(Decimal(str(row[key])) * factor)}")


def _missing(row: Any, shape: Shape) -> None:
    del row[shape.prices[-1]]


_FORMS: dict[str, Callable[[Any, Shape], None]] = {
    "nan": _bad_price("NaN"),
    "infinity": _bad_price("Infinity"),
    "null": _bad_price(None),
    "word": _word,
    "negative_price": _negative_price,
    "zero_volume": _zero_volume,
    "negative_volume": _negative_volume,
    "time_1970": lambda row, shape: shape.move(row, -shape.time_us(row)),
    "time_next_year": lambda row, shape: shape.move(row, 365 * DAY_US),
    "wrong_unit": _wrong_unit,
    "missing": _missing,
}
_DRAWN = sorted(_FORMS.keys() - {"zero_volume"})
"""A trade of volume 0 is nothing that cannot be: it says that nothing was traded."""


@dataclass(kw_only=True)
class VoidRows(Anywhere):
    """Sends rows that say nothing besides the others: trades of price and volume 0; empty candles without prices."""

    kind = "void_rows"
    where: str | None = choice(
        "both", "on the streams (trades), over REST, or both", of=("stream", "rest", "both"), drawn=("both", "rest")
    )
    share: float = _SOME

    def edit(self, message: Message) -> None:
        """Put a void trade behind its neighbour, with the same id; take the prices of an empty candle."""
        shape = message.shape
        for row in message.readable():
            if message.channel == "trades" and self.strikes(message.symbol(row)):
                message.rows.insert(message.rows.index(row) + 1, self._void(row, shape))
            elif message.channel == "candles" and float(row[shape.volume]) == 0 and self.strikes(message.symbol(row)):
                for key in shape.prices:
                    row[key] = None

    def frames(self, connection: Connection, frame: Frame) -> Iterable[Frame]:
        """Send a frame of void trades behind a frame of trades."""
        message = self.scene.dialect.message(frame) if self.reaches("stream") and self.concerns(frame) else None
        if message is None or message.channel != "trades" or not message.readable():
            return (frame,)
        if not self.strikes(message.symbol(message.readable()[0])):
            return (frame,)
        for row in message.readable():
            row.update(self._void(row, message.shape))
        return frame, frame._replace(text=message.text() or "")

    @staticmethod
    def _void(row: Any, shape: Shape) -> Any:
        void = row.copy()
        for key in (*shape.prices, shape.volume):
            shape.put(void, key, "0")
        return void


@dataclass(kw_only=True)
class ShiftTimes(Anywhere):
    """Stamps candles some intervals late, or early."""

    kind = "shift_times"
    channel: str | None = choice("candles", "only this channel", of=("candles",))
    intervals: int = whole(1, "how many intervals late; negative is early", low=-10, high=10, drawn=(1, -1))

    def edit(self, message: Message) -> None:
        """Move the times of candles."""
        for row in message.readable():
            if message.timeframe and self.strikes(message.symbol(row)):
                open_us = message.open_us(row)
                message.shape.move(row, (message.timeframe.next(open_us) - open_us) * self.intervals)


@dataclass(kw_only=True)
class WrongCandles(Anywhere):
    """Misprints candles that were traded: the high too high, the volume too small; later, REST may have them right."""

    kind = "wrong_candles"
    channel: str | None = choice("candles", "only this channel", of=("candles",))
    share: float = _SOME
    settled_s: float = number(
        0.0, "over REST, only until the candle is closed for so long; 0 is always", low=0.0, high=1e6, drawn=(5.0, 90.0)
    )

    def edit(self, message: Message) -> None:
        """Change high and volume by a thousandth, at least by one of the last decimal."""
        high, volume = message.shape.prices[1], message.shape.volume
        for row in message.readable():
            if Decimal(str(row[volume])) == 0 or self._settled(message, row) or not self.strikes(message.symbol(row)):
                continue
            message.shape.put(row, high, _moved(str(row[high]), 1))
            message.shape.put(row, volume, _moved(str(row[volume]), -1))

    def _settled(self, message: Message, row: Any) -> bool:
        if not self.settled_s or message.timeframe is None:
            return False
        closed_us = message.timeframe.next(message.open_us(row))
        return self.now_us() - closed_us >= self.settled_s * SECOND_US


def _moved(text: str, way: int) -> str:
    value = Decimal(text)
    unit = Decimal(1).scaleb(min(int(value.as_tuple().exponent), 0))
    moved = value + way * max(unit, (abs(value) / 1000).quantize(unit))
    return f"{moved if moved > 0 else value + unit:f}"


@dataclass(kw_only=True)
class NoneRows(OnRows):
    """Puts null in the place of rows of a REST page."""

    kind = "none_rows"
    on_streams: ClassVar[bool] = False
    on_rest: ClassVar[bool] = True
    share: float = _SOME

    def edit(self, message: Message) -> None:
        """Replace rows."""
        message.rows[:] = [None if self.strikes(message.symbol(row)) else row for row in message.rows]


@dataclass(kw_only=True)
class WithoutRunning(OnRows):
    """Answers candles over REST without the one that is running, so that a full page looks short."""

    kind = "without_running"
    on_streams: ClassVar[bool] = False
    on_rest: ClassVar[bool] = True
    channel: str | None = choice("candles", "only this channel", of=("candles",))

    def edit(self, message: Message) -> None:
        """Take out what is not closed."""
        for row in message.readable():
            if self._runs(message, row) and self.strikes(message.symbol(row)):
                message.rows.remove(row)

    def _runs(self, message: Message, row: Any) -> bool:
        return message.timeframe is not None and message.timeframe.next(message.open_us(row)) > self.now_us()
