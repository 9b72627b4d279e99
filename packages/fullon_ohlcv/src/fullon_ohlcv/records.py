"""What goes into the store and what it answers. Times are integer microseconds since the epoch, intervals half-open."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from fullon_ohlcv.timeframe import Timeframe, timeframe_of_channel

Interval = tuple[int, int]
"""`[start_us, end_us)`."""

CandleRow = tuple[int, float, float, float, float, float, int | None]
"""timestamp_us (open time), open, high, low, close, volume, number of trades (None where the venue is silent)."""

TradeRow = tuple[int, float, float, str, str, str | None]
"""timestamp_us, price, volume, side (`buy`, `sell`, `` where the exchange does not say), order type (`market`, `limit`,
``), trade id (None without)."""

TradeColumns = tuple[Sequence[int], Sequence[float], Sequence[float], Sequence[str], Sequence[str], Sequence[str]]
"""Rows of trades that all have ids, field by field, each as long as the others."""


class Series(NamedTuple):
    """One (exchange, symbol, channel) of this database; `series_id` is meaningless elsewhere."""

    series_id: int
    exchange: str
    symbol: str
    channel: str

    @property
    def timeframe(self) -> Timeframe | None:
        """The timeframe of a candle channel; None for trades."""
        return timeframe_of_channel(self.channel)

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.channel}"


@dataclass(frozen=True, slots=True)
class CandleWrite:
    """Candles of one series together with the intervals they are everything of.

    Empty candles (0 trades, or volume 0 where the number is not known) are not stored; a row that was stored for
    such a minute before is removed. `confirmed` intervals are what the exchange's history says: a stored candle in one
    that is not among `rows` is withdrawn.
    """

    series: Series
    rows: Sequence[CandleRow]
    covered: Sequence[Interval] = ()
    unavailable: Sequence[tuple[Interval, str]] = ()
    confirmed: Sequence[Interval] = ()


@dataclass(frozen=True, slots=True)
class TradeWrite:
    """Trades of one series together with the intervals they are everything of.

    With `candles` (a `candles1m` series), every minute that is wholly covered and was touched is folded again
    from the stored trades in the same transaction, and `candles` is covered for exactly those minutes.
    """

    series: Series
    rows: Sequence[TradeRow]
    covered: Sequence[Interval] = ()
    candles: Series | None = None
    unavailable: Sequence[tuple[Interval, str]] = ()
    confirmed: Sequence[Interval] = ()


@dataclass(slots=True)
class WriteResult:
    """What one write did: counts of rows, and the refused ones, each with a sentence.

    `updated` counts candles whose stored values changed (a row removed because its minute proved empty included),
    `unchanged` rows that were stored already, `derived` candles changed by folding trades.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    derived: int = 0
    rejected: list[tuple[object, str]] = field(default_factory=list)
    void: int = 0
    """Trades of volume 0: they say nothing, and are left out."""


class CoverageSummary(NamedTuple):
    """How much of a wanted interval is accounted for, and up to when anything in it is covered.

    `last_timestamp_us` is the series' newest row, wherever it is.
    """

    wanted_us: int
    covered_us: int
    unavailable_us: int
    covered_until_us: int | None
    last_timestamp_us: int | None


class Revision(NamedTuple):
    """A candle that was corrected (`after`) or withdrawn (`after` is None), when, and why."""

    series_id: int
    revised_at_us: int
    why: str
    before: CandleRow
    after: CandleRow | None


class State(StrEnum):
    """What the store knows of a minute, or of a stretch of time."""

    TRADED = "traded"
    VERIFIED_EMPTY = "verified_empty"
    COVERED = "covered"
    """Traded or verified empty: everything published is stored."""
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


class MinuteState(NamedTuple):
    """One minute (or one bucket of a coarser candle channel): its start, its state, and why it is unavailable."""

    timestamp_us: int
    state: State
    reason: str | None = None


class ClosedMinute(NamedTuple):
    """A covered minute of a series of 1m candles: its candle, None where it is verified empty."""

    series: Series
    timestamp_us: int
    candle: CandleRow | None


class SkippedIds(NamedTuple):
    """Two stored trades of consecutive ids that are not: what is between them was never received."""

    series: Series
    earlier_us: int
    later_us: int
    earlier_id: int
    later_id: int


class Lifecycle(StrEnum):
    """Whether a market, or a whole venue, is traded."""

    ACTIVE = "active"
    HALTED = "halted"
    """Not traded now; it may be again."""
    DELISTED = "delisted"
    """The venue does not list it, or as one that will not be traded again."""
    CLOSED = "closed"
    """The whole venue is closed, or cannot be collected from at all."""


class MarketState(NamedTuple):
    """The state of one market, of a venue where `symbol` is empty: why, and since when it was found to be so."""

    exchange: str
    symbol: str
    state: Lifecycle
    reason: str = ""
    since_us: int = 0
    market_id: str = ""
    """The exchange's own id of the market; empty until it is first listed, once recorded it stays."""


class CoverageRun(NamedTuple):
    """A stretch of one state: `covered`, `unavailable` (with the reason) or `unknown`."""

    interval: Interval
    state: State
    reason: str | None = None
