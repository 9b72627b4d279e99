"""What a native venue supplies; everything else is shared."""

from dataclasses import dataclass
from typing import Protocol

from fullon_exchange.budget import BudgetSpec
from fullon_exchange.history import CandleSource, TradeSource
from fullon_exchange.http import HttpClient, HttpDialect
from fullon_exchange.interface import Listing, Urgency, VenueTraits
from fullon_exchange.listings import Listings
from fullon_exchange.timeframes import Timeframe
from fullon_exchange.wire import Wire

_CONNECTS = BudgetSpec(per_s=1.0, burst=60.0)


@dataclass(frozen=True)
class SocketLimits:
    """What a venue allows on its sockets, and how patient we are with them; seconds are real ones."""

    streams_max: int
    """Subscriptions on one socket."""
    streams_per_message: int
    messages_per_s: float
    """Messages we send on one socket, pings included."""
    sockets_max: int | None = None
    """Sockets open at once; None where there is no telling. What does not fit is rejected."""
    connects: BudgetSpec = _CONNECTS
    """How often a socket may be opened from one IP, in the venue's seconds."""
    pong_tells_time: bool = False
    """True where the answer to a ping carries the venue's time; elsewhere it is asked for over REST."""
    age_max_s: float | None = None
    """How old a socket may grow, in the venue's seconds: it is replaced before, for the venue cuts it soon after."""
    change_timeout_s: float = 120.0
    """How long a socket may take to replace another; then the old one stays, and it is tried again later."""
    ping_s: float = 1.0
    """How often proof of life is asked for, in the venue's seconds."""
    silence_max_s: float = 15.0
    """A socket that gave no frame, or no answer to a ping, for so long is dead."""
    ack_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    grace_s: float = 0.5
    """How long a trade may take from the matching engine to the socket and through it."""
    cadence_s: float = 0.0
    """How long after a minute the venue still speaks of it, in its own seconds: the pace of candle updates."""
    lag_max_s: float = 30.0
    """Trades that keep arriving later than this after they happened make us reconnect."""
    lag_patience_s: float = 10.0
    """For how long they may."""


class Venue(Protocol):
    """One venue's addresses, limits, mappers and cursor rules."""

    name: str
    traits: VenueTraits
    rest_url: str
    websocket_url: str
    http: HttpDialect
    budget: BudgetSpec
    sockets: SocketLimits

    async def fetch_time(self, http: HttpClient) -> int:
        """Return the venue's clock in microseconds."""

    async def fetch_listings(self, http: HttpClient) -> Listings:
        """Return the venue's markets by unified symbol."""

    def timeframe(self, name: str) -> Timeframe:
        """Return one of `traits.timeframes` as the venue cuts it."""

    def candles(self, http: HttpClient, listing: Listing, timeframe: Timeframe, urgency: Urgency) -> CandleSource:
        """Return the source of a market's candles."""

    def trades(self, http: HttpClient, listing: Listing, urgency: Urgency) -> TradeSource:
        """Return the source of a market's trades."""

    def wire(self) -> Wire:
        """Return the protocol of one new connection."""
