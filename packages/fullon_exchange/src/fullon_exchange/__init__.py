"""Market data of exchanges over REST and WebSocket."""

from fullon_exchange.clock import Clock
from fullon_exchange.interface import Exchange, Listing, LiveSession, Urgency, VenueTraits
from fullon_exchange.registry import NATIVE_EXCHANGES, open_exchange

__all__ = [
    "NATIVE_EXCHANGES",
    "Clock",
    "Exchange",
    "Listing",
    "LiveSession",
    "Urgency",
    "VenueTraits",
    "open_exchange",
]
