"""What live connections have proved, minute by minute (pure: no I/O, no clock).

A connection carries symbols from the minute after its acknowledgement. Each watermark that passes a minute's end proves
that minute for every symbol the connection carries; a disconnect ends the run. Nothing else makes live coverage.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fullon_exchange.clock import MINUTE_US, ceil_minute_us, floor_minute_us
from fullon_exchange.records import Interval

Row = TypeVar("Row")


@dataclass(slots=True)
class SeriesBatch(Generic[Row]):
    """What one series has to store: rows, the minutes they prove, and minutes that are proved no longer."""

    rows: list[Row] = field(default_factory=list)
    covered: list[Interval] = field(default_factory=list)
    suspect: list[Interval] = field(default_factory=list)
    """Minutes that may have been covered before and must be read again over REST; none of them is in `covered`."""

    def doubt(self, interval: Interval) -> None:
        """Take back what `interval` was thought to prove."""
        self.suspect.append(interval)
        self.covered = subtract(self.covered, interval)

    def extend(self, later: "SeriesBatch[Row]") -> None:
        """Append what came after."""
        self.rows += later.rows
        for interval in later.suspect:
            self.doubt(interval)
        self.covered += later.covered


def subtract(intervals: list[Interval], taken: Interval) -> list[Interval]:
    """Return `intervals` without what lies in `taken`."""
    left: list[Interval] = []
    for start_us, end_us in intervals:
        if start_us < min(end_us, taken[0]):
            left.append((start_us, min(end_us, taken[0])))
        if max(start_us, taken[1]) < end_us:
            left.append((max(start_us, taken[1]), end_us))
    return left


@dataclass(slots=True)
class _Connection:
    next_us: dict[str, int] = field(default_factory=dict)
    """By symbol: the first minute not proved yet."""
    horizon_us: int = 0
    """The minute boundary the last watermark passed."""


class Frontier:
    """The proved minutes of the symbols of one venue and one channel."""

    def __init__(self) -> None:
        self._connections: dict[str, _Connection] = {}
        self._carrier: dict[str, str] = {}

    def subscribe(self, connection: str, symbol: str, timestamp_us: int) -> int:
        """Note that `connection` carries `symbol`; return the first minute it will prove whole.

        A symbol that another connection still carries changes over without losing the run when the new
        connection was acknowledged before the old one's frontier.
        """
        first_us = ceil_minute_us(timestamp_us)
        old = self._carrier.get(symbol)
        if old is not None and old != connection:
            first_us = max(first_us, self._connections[old].next_us.pop(symbol, first_us))
        elif old == connection:
            return self._connections[connection].next_us[symbol]
        self._carrier[symbol] = connection
        self._connections.setdefault(connection, _Connection()).next_us[symbol] = first_us
        return first_us

    def unsubscribe(self, symbol: str) -> bool:
        """Forget `symbol`; False where nothing carried it."""
        connection = self._carrier.pop(symbol, None)
        if connection is None:
            return False
        self._connections[connection].next_us.pop(symbol, None)
        return True

    def disconnect(self, connection: str) -> list[str]:
        """Forget `connection`; return the symbols it carried."""
        gone = self._connections.pop(connection, None)
        symbols = [] if gone is None else list(gone.next_us)
        for symbol in symbols:
            del self._carrier[symbol]
        return symbols

    def next_us(self, connection: str, symbol: str) -> int | None:
        """Return the first minute `connection` has not proved for `symbol`; None where it does not carry it."""
        carried = self._connections.get(connection)
        return None if carried is None else carried.next_us.get(symbol)

    def skip_to(self, connection: str, symbol: str, minute_us: int) -> None:
        """Give up proving the minutes of `symbol` before `minute_us`."""
        carried = self._connections[connection].next_us
        carried[symbol] = max(carried[symbol], minute_us)

    def advance(self, connection: str, timestamp_us: int) -> Iterator[tuple[str, int, int]]:
        """Pass a watermark; yield (symbol, start_us, end_us) of the whole minutes it newly proves."""
        carried = self._connections.get(connection)
        if carried is None:
            return
        horizon_us = floor_minute_us(timestamp_us)
        if horizon_us <= carried.horizon_us:
            return
        carried.horizon_us = horizon_us
        for symbol, next_us in carried.next_us.items():
            if next_us + MINUTE_US <= horizon_us:
                carried.next_us[symbol] = horizon_us
                yield symbol, next_us, horizon_us

    def connections(self) -> list[str]:
        """Return the ids of the connections in use."""
        return list(self._connections)
