"""Whether a symbol's stream is fresh: data arrives as often as it used to, and not ever later (pure: no I/O).

A live socket proves little: one subscription of many may have been dropped, or data may come minutes late. So each
symbol has a limit of silence that follows its own pace, and a limit of lag. What is overdue is looked at over REST
before anything is done about it: a quiet market is not a sick one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import Candles, Disconnected, Event, Subscribed, Trades, Unsubscribed

SILENCE_MIN_US = 15_000_000
SILENCE_MAX_US = 900_000_000
SILENCE_FIRST_US = 60_000_000
"""How long a new subscription may stay silent before it is looked at."""
SILENCE_PACES = 20
"""Silence of this many times the usual pause between two messages is too long."""
LAG_MAX_US = 30_000_000
SMOOTHING = 0.05
"""The weight of a pause in the usual one; the first pauses weigh alike, so that no single one sets the pace."""


@dataclass(slots=True)
class _Pace:
    connections: list[str]
    """Who carries it, the newest last: two while one replaces the other, none until the next acknowledgement."""
    since_us: int
    """When it was last heard of, or subscribed; the exchange's clock, as all times here."""
    last_event_us: int
    """The newest exchange time it has told."""
    subscribed_us: int
    pause_us: float | None = None
    """The usual pause between two messages, smoothed."""
    pauses: int = 0
    """How many pauses that is made of."""
    lag_us: int = 0
    patience: int = 1
    """Doubles with every look that found the market really silent."""
    step: int = 0
    """How far up the ladder it is."""

    def leave(self, connection: str) -> None:
        """Note that `connection` carries it no longer; pace and step are remembered."""
        if connection in self.connections:
            self.connections.remove(connection)


@dataclass(frozen=True, slots=True)
class Overdue:
    """One symbol to look at."""

    symbol: str
    connection: str
    last_event_us: int
    reason: str
    lagging: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What one symbol's stream told last; exchange time."""

    last_event_us: int
    """The newest time it has told."""
    lag_us: int
    """How late its last message was when it arrived."""


class Freshness:
    """The paces of one venue's channel. Data resets a symbol; nothing else does."""

    def __init__(self) -> None:
        self._paces: dict[str, _Pace] = {}

    def feed(self, events: Iterable[Event], now_us: int) -> None:
        """Take what has arrived at `now_us`."""
        for event in events:
            match event:
                case Trades():
                    newest = {record.symbol: record.timestamp_us for record in event.records}
                    self._hear(event.connection, newest, now_us)
                case Candles():
                    # A candle tells its minute, not its moment: it is late once its minute is long over.
                    newest = {record.symbol: min(now_us, record.timestamp_us + MINUTE_US) for record in event.records}
                    self._hear(event.connection, newest, now_us)
                case Subscribed():
                    self._subscribe(event, now_us)
                case Unsubscribed():
                    if event.symbol in self._paces:
                        self._paces[event.symbol].leave(event.connection)
                case Disconnected():
                    for pace in self._paces.values():
                        pace.leave(event.connection)
                case _:
                    pass

    def _subscribe(self, event: Subscribed, now_us: int) -> None:
        old = self._paces.get(event.symbol)
        if old is not None and old.connections:
            # One connection replaces another: for how long the symbol has been silent, stays.
            old.leave(event.connection)
            old.connections.append(event.connection)
            old.subscribed_us = now_us
            return
        pace = _Pace([event.connection], now_us, now_us, now_us)
        if old is not None:
            pace.pause_us, pace.pauses, pace.step = old.pause_us, old.pauses, old.step
        self._paces[event.symbol] = pace

    def _hear(self, connection: str, newest_us: dict[str, int], now_us: int) -> None:
        for symbol, event_us in newest_us.items():
            pace = self._paces.get(symbol)
            if pace is None or connection not in pace.connections:
                continue
            pause_us = max(0, now_us - pace.since_us)
            usual_us = pace.pause_us or 0.0
            pace.pauses += 1
            pace.pause_us = usual_us + max(SMOOTHING, 1 / pace.pauses) * (pause_us - usual_us)
            pace.since_us = now_us
            pace.last_event_us = max(pace.last_event_us, event_us)
            # What a snapshot tells of the time before the subscription is no sign of lateness.
            pace.lag_us = max(0, now_us - pace.last_event_us)
            pace.patience = 1
            # A snapshot answers a subscription also where nothing more will follow.
            if pace.lag_us <= LAG_MAX_US and event_us > pace.subscribed_us:
                pace.step = 0

    def overdue(self, now_us: int) -> list[Overdue]:
        """Return the symbols that are silent for too long or too late."""
        found = []
        for symbol, pace in self._paces.items():
            if not pace.connections:
                continue
            silent_us = now_us - pace.since_us
            limit_us = silence_limit_us(pace.pause_us) * pace.patience
            lagging = pace.lag_us > LAG_MAX_US
            if lagging:
                reason = f"data comes {pace.lag_us / 1e6:.0f} s late"
            elif silent_us > limit_us:
                reason = f"silent for {silent_us / 1e6:.0f} s, {limit_us / 1e6:.0f} s is its limit"
            else:
                continue
            found.append(Overdue(symbol, pace.connections[-1], pace.last_event_us, reason, lagging))
        return found

    def heard(self) -> dict[str, Heard]:
        """Return, of each symbol that has told anything, what it told last."""
        return {
            symbol: Heard(pace.last_event_us, pace.lag_us)
            for symbol, pace in self._paces.items()
            if pace.pause_us is not None
        }

    def forgive(self, symbol: str) -> None:
        """The market really is silent: be twice as patient until it speaks."""
        if (pace := self._paces.get(symbol)) is not None:
            pace.patience = min(pace.patience * 2, 64)

    def escalate(self, symbol: str, now_us: int) -> int:
        """Go a step up the ladder and return it, from 1; the symbol gets a new limit of silence to recover."""
        pace = self._paces.get(symbol)
        if pace is None:
            return 0
        pace.step += 1
        pace.since_us = now_us
        pace.lag_us = 0
        return pace.step


def silence_limit_us(pause_us: float | None) -> int:
    """Return how long a symbol with this usual pause may be silent."""
    if pause_us is None:
        return SILENCE_FIRST_US
    return round(min(SILENCE_MAX_US, max(SILENCE_MIN_US, SILENCE_PACES * pause_us)))
