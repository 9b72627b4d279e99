"""Which markets are traded, as their venues' listings say (pure), and what every collector goes by."""

import asyncio
from collections.abc import Collection, Mapping

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.interface import Listing
from fullon_exchange.names import describe_unlisted
from fullon_ohlcv.records import Lifecycle, MarketState

UNKNOWN = "unknown symbol"
"""How the reason of a market begins that its venue does not list and, as far as we know, never has."""
UNSUPPORTED = "unsupported"
"""How the reason of a venue begins that cannot be collected from at all."""
TAKEN_OFF = "delisted: no longer listed"
"""How the reason of a market begins that its venue does not know any more: nothing of it can be asked for."""
UNREADABLE = "halted: cannot be read"
"""How the reason of a market begins whose row of the list is malformed: its names are not known for now."""
RENAMED = "delisted: renamed"
"""How the reason of a market begins that is not listed under its symbol any more: another market is, or none."""
OF_STATES = (UNKNOWN, UNSUPPORTED, "halted:", "delisted:", "closed:")
"""How every reason begins of a market that is not active."""
PAUSE_MAX_US = 24 * 60 * MINUTE_US
"""For how long a market may have a state that an exchange uses for pauses and for delisted markets alike."""
CALM_US = 15 * MINUTE_US
"""Before an examination by this much, what a halted market lacks is not late: it was never published."""


REASON_MAX = 500
"""Characters of a reason that are kept."""


def not_listed(exchange: str, symbol: str, listings: Mapping[str, Listing]) -> str:
    """Return the sentence about a symbol that its venue does not list."""
    return f"{UNKNOWN}: {exchange} does not list {symbol}; {describe_unlisted(exchange, symbol, listings)}"


def absence_of_pinned(exchange: str, symbol: str, renamed: Mapping[str, str], unreadable: Collection[str]) -> str:
    """Return why a symbol that is pinned to its market is not listed; empty where only its name is missing."""
    if symbol in unreadable:
        return f"{UNREADABLE} in the list of {exchange}"
    return f"{RENAMED}: {renamed[symbol]}"[:REASON_MAX] if symbol in renamed else ""


def judge(
    exchange: str,
    symbol: str,
    listings: Mapping[str, Listing],
    *,
    renamed: Mapping[str, str],
    unreadable: Collection[str],
    known: bool,
    was: MarketState,
    now_us: int,
) -> tuple[Lifecycle, str]:
    """Return the state of a market and why; `known` tells whether it has ever been listed, `was` its state so far.

    `renamed` has the symbols that no longer mean the market that was collected, and how the names have moved;
    `unreadable` those whose rows of the list cannot be read, which says nothing about their markets.

    What may be a pause or the end of a market is a halt, and the end once it has lasted for `PAUSE_MAX_US`.
    """
    listing = listings.get(symbol)
    if listing is None and (why := absence_of_pinned(exchange, symbol, renamed, unreadable)):
        return Lifecycle.HALTED if symbol in unreadable else Lifecycle.DELISTED, why
    if listing is None and known:
        return Lifecycle.DELISTED, f"{TAKEN_OFF} by {exchange}"
    if listing is None:
        return Lifecycle.DELISTED, not_listed(exchange, symbol, listings)
    is_over = listing.delisted_if_lasting and (
        was.state is Lifecycle.DELISTED or (was.state is Lifecycle.HALTED and now_us - was.since_us >= PAUSE_MAX_US)
    )
    if listing.delisted or is_over:
        return Lifecycle.DELISTED, f"delisted: {exchange} lists it as one that is not traded any more"
    if not listing.active:
        return Lifecycle.HALTED, f"halted: {exchange} does not trade it now"
    return Lifecycle.ACTIVE, ""


def is_gone(state: MarketState) -> bool:
    """Tell whether what is missing of a market from `since_us` on will never be served."""
    if state.state is Lifecycle.DELISTED:
        return not state.reason.startswith(UNKNOWN)
    return state.state is Lifecycle.CLOSED and not state.reason.startswith(UNSUPPORTED)


def is_served(state: MarketState) -> bool:
    """Tell whether the venue still answers for a market's past, and can be asked for it."""
    if state.state is Lifecycle.DELISTED:
        return not state.reason.startswith((TAKEN_OFF, RENAMED, UNKNOWN))
    return state.state is not Lifecycle.CLOSED and not state.reason.startswith(UNREADABLE)


class Markets:
    """The states of the wanted markets in this process; a market that nothing is known of is active."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], MarketState] = {}
        self._examined_us: dict[str, int] = {}
        self._doubts: dict[str, asyncio.Event] = {}

    def get(self, exchange: str, symbol: str) -> MarketState:
        """Return the state of a market."""
        return self._states.get((exchange, symbol)) or MarketState(exchange, symbol, Lifecycle.ACTIVE)

    def put(self, state: MarketState) -> None:
        """Note the state of a market."""
        self._states[state.exchange, state.symbol] = state

    def note_examined(self, exchange: str, now_us: int) -> None:
        """Note that the states of a venue are what its listings said at `now_us`."""
        self._examined_us[exchange] = now_us

    def history_until_us(self, exchange: str, symbol: str) -> int | None:
        """Return where history ends for now, of a market that is not traded; None where it goes on to the present.

        A halted market is asked for once for each examination, a delisted one up to when it was found to be.
        """
        state = self.get(exchange, symbol)
        if state.state is Lifecycle.ACTIVE:
            return None
        if state.state is Lifecycle.HALTED:
            return self._examined_us.get(exchange, 0) - CALM_US
        return state.since_us

    def doubt(self, exchange: str) -> None:
        """Ask for an examination: the venue has refused something of a market that was thought to be traded."""
        self.doubts(exchange).set()

    def doubts(self, exchange: str) -> asyncio.Event:
        """Return what is set while a venue's states are doubted."""
        return self._doubts.setdefault(exchange, asyncio.Event())
