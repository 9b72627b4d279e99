"""The protocol of one WebSocket connection, without a socket: messages to send, bytes to read; pure."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from fullon_exchange.records import Candle, Channel, Ticker, Trade

Key = tuple[Channel, str]
"""One subscription: channel and unified symbol."""


class Fault(msgspec.Struct, frozen=True):
    """A row that cannot be read: the kind it is counted under, and its first characters."""

    kind: str
    excerpt: str


class TradesFrame(msgspec.Struct, gc=False):
    """The trades of one frame, in the venue's order."""

    records: list[Trade]
    faults: Sequence[Fault] = ()
    snapshot: bool = False
    """True for the last trades from before the subscription: as old as they are, they are not late."""


class CandlesFrame(msgspec.Struct, gc=False):
    """The candle updates of one frame, in the venue's order."""

    records: list[Candle]
    faults: Sequence[Fault] = ()


class TickersFrame(msgspec.Struct, gc=False):
    """The ticker updates of one frame."""

    records: list[Ticker]
    faults: Sequence[Fault] = ()


class Acknowledged(msgspec.Struct, frozen=True):
    """The venue carries these subscriptions from now on, or no longer."""

    keys: Sequence[Key]
    subscribed: bool
    timestamp_us: int | None = None
    """The venue's time, where it says."""


class Refused(msgspec.Struct, frozen=True):
    """The venue refuses a request of these subscriptions; `final` where asking again is of no use."""

    keys: Sequence[Key]
    reason: str
    final: bool


class Pong(msgspec.Struct, frozen=True):
    """The answer to one of our pings; everything the venue sent before it has been received."""

    ping_id: int
    timestamp_us: int | None = None
    """The venue's time when it took the ping, where it says."""


class Heartbeat(msgspec.Struct, frozen=True):
    """A sign of life of the socket; not data, no proof."""


class Farewell(msgspec.Struct, frozen=True):
    """The venue will close this connection soon."""

    reason: str


Message = TradesFrame | CandlesFrame | TickersFrame | Acknowledged | Refused | Pong | Heartbeat | Farewell


class Wire(Protocol):
    """One connection's protocol state; a new one for each connection."""

    def subscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        """Return the message that subscribes these markets (the venue's name → unified symbol)."""

    def unsubscribe(self, channel: Channel, names: Mapping[str, str]) -> bytes:
        """Return the message that unsubscribes them."""

    def forget(self, channel: Channel, names: Mapping[str, str]) -> None:
        """Take no more rows of these markets."""

    def ping(self, ping_id: int) -> bytes | None:
        """Return an application ping; None where a WebSocket ping frame does."""

    def parse(self, frame: bytes | memoryview, latest_us: int) -> Message:
        """Return what one text frame says; a row later than `latest_us` is a fault.

        Raises:
            MalformedMessage: nothing in the frame can be read; `kind` says what it is counted under.
        """
