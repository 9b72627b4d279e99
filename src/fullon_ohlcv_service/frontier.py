"""What live connections have proved, minute by minute (pure: no I/O, no clock).

A connection carries a symbol from its acknowledgement on, and each watermark proves what it carries up to then. Where
two connections carry a symbol for a while, because one replaces the other, their proofs join if they meet: the run
goes on without a hole. The last one to leave ends the run. Nothing else makes live coverage.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fullon_exchange.clock import ceil_minute_us, floor_minute_us
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


@dataclass(frozen=True, slots=True)
class Left:
    """A symbol that a connection carries no longer."""

    symbol: str
    proved: Interval
    """The minutes that live had proved without a break when the connection left."""
    next_us: int | None
    """The first minute that live will still prove; None where no other connection carries the symbol."""
    whole: bool
    """True where another connection goes on from within what this one had proved: nothing is missing between them."""


@dataclass(slots=True)
class _Run:
    first_us: int
    """Its first minute."""
    next_us: int
    """The first minute not proved yet."""
    proved_us: int
    """How far connections that have left had proved it, or where it began."""
    since_us: dict[str, int] = field(default_factory=dict)
    """By connection that carries the symbol: from when on."""


@dataclass(slots=True)
class _Connection:
    symbols: dict[str, None] = field(default_factory=dict)
    watermark_us: int = 0
    horizon_us: int = 0
    """The minute boundary that its last look at the symbols has passed."""


class Frontier:
    """The proved minutes of the symbols of one venue and one channel."""

    def __init__(self, *, grace_us: int = 0) -> None:
        """Build one; `grace_us` is how long after its end a minute stays open, however well it is proved."""
        self._grace_us = grace_us
        self._connections: dict[str, _Connection] = {}
        self._runs: dict[str, _Run] = {}

    def subscribe(self, connection: str, symbol: str, timestamp_us: int) -> int:
        """Note that `connection` carries `symbol`; return the first minute that live will prove whole.

        A symbol that another connection still carries goes on with its run.
        """
        run = self._runs.get(symbol)
        if run is None:
            first_us = ceil_minute_us(timestamp_us)
            run = self._runs[symbol] = _Run(first_us, first_us, timestamp_us)
        run.since_us.setdefault(connection, timestamp_us)
        self._connections.setdefault(connection, _Connection()).symbols[symbol] = None
        return run.next_us

    def unsubscribe(self, connection: str, symbol: str) -> Left | None:
        """Note that `connection` carries `symbol` no longer; None where it did not."""
        carried = self._connections.get(connection)
        if carried is None or symbol not in carried.symbols:
            return None
        left = self._leave(connection, symbol)
        del carried.symbols[symbol]
        return left

    def disconnect(self, connection: str) -> list[Left]:
        """Forget `connection`; return the symbols it carried."""
        carried = self._connections.get(connection)
        if carried is None:
            return []
        left = [self._leave(connection, symbol) for symbol in carried.symbols]
        del self._connections[connection]
        return left

    def _leave(self, connection: str, symbol: str) -> Left:
        run = self._runs[symbol]
        run.proved_us = self._proved_us(run)
        proved = (run.first_us, run.next_us)
        del run.since_us[connection]
        if not run.since_us:
            del self._runs[symbol]
            return Left(symbol, proved, None, whole=False)
        for other in run.since_us:
            # What the two have proved together may complete a minute: look at the next watermark.
            self._connections[other].horizon_us = 0
        begins_us = min(run.since_us.values())
        whole = begins_us <= run.proved_us
        if not whole:
            run.proved_us = begins_us
            run.first_us = run.next_us = max(run.next_us, ceil_minute_us(begins_us))
        return Left(symbol, proved, run.next_us, whole)

    def _proved_us(self, run: _Run) -> int:
        """Return how far the run is proved: as far as what its connections have proved overlaps."""
        proved_us = run.proved_us
        for connection, since_us in sorted(run.since_us.items(), key=lambda item: item[1]):
            if since_us <= proved_us:
                proved_us = max(proved_us, self._connections[connection].watermark_us)
        return proved_us

    def carries(self, connection: str, symbol: str) -> bool:
        """Tell whether `connection` carries `symbol`."""
        carried = self._connections.get(connection)
        return carried is not None and symbol in carried.symbols

    def eldest(self, symbol: str) -> str | None:
        """Return the connection that has carried `symbol` for longest; None where none does."""
        run = self._runs.get(symbol)
        return None if run is None else next(iter(run.since_us))

    def first_us(self, symbol: str) -> int:
        """Return the first minute of what `symbol` is proved for without a break until now."""
        return self._runs[symbol].first_us

    def next_us(self, symbol: str) -> int:
        """Return the first minute of `symbol` that is not proved yet."""
        return self._runs[symbol].next_us

    def skip_to(self, symbol: str, minute_us: int) -> int:
        """Give up proving the minutes of `symbol` before `minute_us`; return the first it will still prove."""
        run = self._runs[symbol]
        run.next_us = max(run.next_us, minute_us)
        return run.next_us

    def advance(self, connection: str, timestamp_us: int) -> Iterator[tuple[str, int, int]]:
        """Pass a watermark; yield (symbol, start_us, end_us) of the whole minutes it newly proves."""
        carried = self._connections.get(connection)
        if carried is None:
            return
        carried.watermark_us = max(carried.watermark_us, timestamp_us)
        horizon_us = floor_minute_us(timestamp_us - self._grace_us)
        if horizon_us <= carried.horizon_us:
            return
        carried.horizon_us = horizon_us
        for symbol in carried.symbols:
            run = self._runs[symbol]
            start_us, end_us = run.next_us, floor_minute_us(self._proved_us(run) - self._grace_us)
            if start_us < end_us:
                run.next_us = end_us
                yield symbol, start_us, end_us

    def connections(self) -> list[str]:
        """Return the ids of the connections in use."""
        return list(self._connections)
