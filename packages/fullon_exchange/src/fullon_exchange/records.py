"""What a session and a pager deliver: records and the events between them.

Times are integer microseconds since the Unix epoch on the exchange's clock, exact where a float is not and
cheap to compare; `received_at_us` alone is ours. Prices are in quote units, volumes in base units (contracts
where the venue counts contracts). Symbols are unified: `BTC/USDT`, `BTC/USDC:USDC`.
"""

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

Channel = Literal[
    "trades",
    "candles1m",
    "candles3m",
    "candles5m",
    "candles15m",
    "candles30m",
    "candles1h",
    "candles2h",
    "candles4h",
    "candles6h",
    "candles8h",
    "candles12h",
    "candles1d",
    "ticker",
]
"""What can be subscribed; the service takes `trades` and `candles1m`, the facade any."""
Side = Literal["buy", "sell", ""]
"""Empty where the exchange does not say: a trade of an auction has no taker."""
Interval = tuple[int, int]
"""Half-open `[start_us, end_us)`."""


class Trade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One public trade; identity is (exchange, symbol, trade_id), order is (timestamp_us, trade_id).

    Volume 0 is a void row, an aggregate that was taken back for instance: nothing was traded, but its id is used up.
    Live sessions yield it for the sake of that id, pages leave it out.
    """

    symbol: str
    timestamp_us: int
    price: float
    volume: float
    side: Side
    """The taker's side."""
    trade_id: str
    order_type: str = ""
    """`market`, `limit`, or empty where the venue does not say."""


class Candle(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One candle as the venue published it, in progress or closed; `timestamp_us` is its open time."""

    symbol: str
    timeframe: str
    timestamp_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int | None
    """Number of trades, None where the venue does not say."""
    closed: bool
    """True only where the venue itself says so (or, over REST, the interval lies wholly in the past)."""
    first_id: int | None = None
    last_id: int | None = None


class Ticker(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A venue's summary of one market; None where it does not say."""

    symbol: str
    timestamp_us: int
    last: float
    bid: float | None
    ask: float | None
    volume: float | None
    """In base units, over the last 24 hours."""


EARLIEST_US = 1_230_768_000_000_000
"""2009-01-01; an older timestamp is a mistake of units, not a market."""

Price = Annotated[float, msgspec.Meta(gt=0, lt=1e18)]
"""How wire types spell a price: finite and positive; NaN fails every bound."""
Volume = Annotated[float, msgspec.Meta(gt=0, lt=1e18)]
"""How wire types spell the volume of a trade."""
Zero = Annotated[float, msgspec.Meta(ge=0, le=0)]
"""How wire types spell the volume of a row that says nothing."""
VoidPrice = Annotated[float, msgspec.Meta(ge=0, lt=1e18)] | None
"""How they spell its price."""

Record = TypeVar("Record", Trade, Candle)


class Page(msgspec.Struct, Generic[Record], frozen=True):
    """One answer of a pager: everything the exchange published in `interval` is in `records`.

    `unavailable` lists the parts of the asked range that the exchange does not serve, each with a reason;
    they lie outside `interval`. Records are oldest first and never in progress. `doubtful` pages are of an answer that
    contradicts itself or lacks something in its middle: they are to be read again before they are trusted.
    """

    records: Sequence[Record]
    interval: Interval
    unavailable: Sequence[tuple[Interval, str]] = ()
    doubtful: bool = False


class Subscribed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The venue acknowledged; from `timestamp_us` on, `connection` carries this symbol's channel."""

    connection: str
    symbol: str
    channel: Channel
    timestamp_us: int


class Unsubscribed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """This symbol's channel is no longer carried by `connection` (asked for by us)."""

    connection: str
    symbol: str
    channel: Channel
    timestamp_us: int


class Rejected(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The venue refused this subscription for good; `reason` is its own sentence."""

    symbol: str
    channel: Channel
    reason: str


class Trades(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The trades of one read of the socket, of one or several symbols, in the venue's order."""

    connection: str
    records: list[Trade]
    received_at_us: int


class Candles(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The candle updates of one read of the socket, in the venue's order."""

    connection: str
    records: list[Candle]
    received_at_us: int


class Tickers(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The ticker updates of one read of the socket; only where a ticker was subscribed."""

    connection: str
    records: list[Ticker]
    received_at_us: int


class Watermark(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Proof of life: everything `connection` had to say about times before `timestamp_us` has been delivered."""

    connection: str
    timestamp_us: int


class Disconnected(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`connection` is gone.

    What no other connection carries, is unknown from its last watermark until the next `Subscribed`.
    """

    connection: str
    timestamp_us: int
    reason: str


Event = Subscribed | Unsubscribed | Rejected | Trades | Candles | Tickers | Watermark | Disconnected
"""What a live session yields, in order."""
