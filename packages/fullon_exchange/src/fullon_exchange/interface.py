"""The one interface behind which every way to an exchange stands: native sessions and ccxt alike."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, Self

from fullon_exchange.exchange_clock import ExchangeClock
from fullon_exchange.records import Candle, Channel, Event, Page, Trade

if TYPE_CHECKING:
    from fullon_exchange.budget import BudgetUse


class Urgency(IntEnum):
    """Who goes first when the venue's rate budget is short; the lower number wins."""

    LIVE = 1
    REPAIR = 2
    BACKFILL = 3
    RECHECK = 4


@dataclass(frozen=True)
class VenueTraits:
    """What a venue's data can be trusted for."""

    candles_from_trades: bool
    """True where 1m candles are folded from trades because the venue's own do not reach back or are not final."""
    candle_closed_flag: bool
    """True where live candles say when they are closed."""
    trade_ids_sequential: bool
    """True where consecutive trades of a symbol carry consecutive integer ids, so that a skipped id is a loss."""
    trade_history: bool
    """True where public trades can be read back over REST."""
    candle_window: int | None
    """How many of the newest candles REST serves; None where all of them."""
    timeframes: tuple[str, ...]
    closed_reason: str | None = None
    """Why the venue is closed for good; None while it is open, or where `FULLON_<EXCHANGE>_ORIGIN` revives it."""
    rechecks_per_s: float = 0.2
    """How many requests a second may go into reading again what is stored: a small share of the rate budget."""
    ticker: bool = True
    """True where a ticker can be streamed."""
    tested: bool = True
    """False for an exchange of ccxt that nobody has compared with this package: what its data do not show is not
    believed, and its conventions are checked before its history is."""
    trades_add_up: bool = False
    """True where the published trades of a minute add up to the volume of its candle, in the same unit."""


@dataclass(frozen=True)
class Listing:
    """One market of a venue."""

    symbol: str
    base: str
    quote: str
    active: bool
    wire: Mapping[str, str] = field(default_factory=dict)
    """The venue's own names of it, by use (`rest`, `ws`)."""
    delisted: bool = False
    """True where the venue still lists it, but as one that will not be traded again; `active` is False then."""
    delisted_if_lasting: bool = False
    """True where the venue uses one word for a pause and for the end of a market: only time tells which it is."""

    @property
    def market_id(self) -> str:
        """Return what the exchange itself calls the market: names may move from one to another, this does not."""
        return self.wire.get("rest", "")


class LiveSession(Protocol):
    """Live data of one venue over as many sockets as it needs; reconnects for ever."""

    async def subscribe(self, channel: Channel, symbols: Collection[str]) -> None:
        """Want these symbols from now on, across reconnects; the answers come as events."""

    async def unsubscribe(self, channel: Channel, symbols: Collection[str]) -> None:
        """Stop wanting these symbols; `Unsubscribed` follows once the venue no longer sends them."""

    def reconnect(self, connection: str, reason: str) -> bool:
        """Give up a connection that the caller no longer trusts; False where it is gone already."""

    def events(self) -> AsyncIterator[list[Event]]:
        """Yield everything that has arrived, in order, in batches of at least one, until the session is closed."""

    @property
    def counters(self) -> Mapping[str, int]:
        """What has been counted: `connections`, `disconnects`, `replaced`, and faults of frames by kind."""

    @property
    def buffered(self) -> int:
        """How many records wait to be taken from `events`."""

    @property
    def buffer_max(self) -> int:
        """With how many the sockets are told to stop reading."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> None: ...


class Exchange(Protocol):
    """One venue: its markets, its history over REST, its live data over WebSocket."""

    name: str
    traits: VenueTraits
    clock: ExchangeClock
    """Its own clock; what is over at this exchange is asked of this one."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> None: ...

    def addresses(self) -> Sequence[str]:
        """Return the URLs that requests and WebSockets go to, as far as they are known beforehand."""

    def budget_use(self) -> "BudgetUse":
        """Return the gauge of the rate budget that the process shares for this venue."""

    async def fetch_time(self) -> int:
        """Return the venue's own clock, in microseconds; `clock` learns from it.

        Raises:
            NotSupported: the venue does not tell it.
        """

    async def fetch_listings(self, *, age_max_s: float = 3600.0) -> Mapping[str, Listing]:
        """Return the venue's markets by unified symbol, read `age_max_s` ago at most (real seconds).

        Concurrent callers share one request.
        """

    def pin(self, market_ids: Mapping[str, str]) -> None:
        """Let symbols mean the markets of these ids and no others; a symbol that has been used is pinned already."""

    def renamed(self) -> Mapping[str, str]:
        """Return the pinned symbols that are not listed since their names mean other markets, and what is known."""

    def unreadable(self) -> Collection[str]:
        """Return the pinned symbols that are not listed since the rows of their markets cannot be read."""

    def fetch_candles(
        self, symbol: str, timeframe: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Candle]]:
        """Yield closed candles of `[start_us, end_us)` page by page, oldest first, covering it without a hole.

        The intervals of the pages and what they name unavailable add up to the asked range, cut at the last
        closed candle.
        """

    def fetch_trades(
        self, symbol: str, start_us: int, end_us: int, *, urgency: Urgency = Urgency.BACKFILL
    ) -> AsyncIterator[Page[Trade]]:
        """Yield trades of `[start_us, end_us)` page by page, oldest first, covering it without a hole."""

    def live(self) -> LiveSession:
        """Return a new live session; enter it to start."""
