"""What one REST request for history gave: the value between a venue's mapper and the pager; pure."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from fullon_exchange.errors import UNREADABLE
from fullon_exchange.records import Candle, Trade

Row = TypeVar("Row")
Void = TypeVar("Void")


def decode_row(
    raw: msgspec.Raw, decode: Callable[[msgspec.Raw], Row], decode_void: Callable[[msgspec.Raw], Void]
) -> Row | Void:
    """Decode a row, or one that says nothing.

    Raises:
        msgspec.MsgspecError, ValueError: it is neither; the error is that of the row.
    """
    try:
        return decode(raw)
    except UNREADABLE:
        try:
            return decode_void(raw)
        except UNREADABLE:
            pass
        raise


@dataclass(frozen=True)
class CandleAnswer:
    """One answer of a candle request: rows as published, the running one included."""

    rows: Sequence[Candle]
    unreadable: Sequence[str] = ()
    """Excerpts of rows that could not be read."""
    quiet: Sequence[int] = ()
    """Open times at which the venue says that nothing traded, without a price to make a row of."""


@dataclass(frozen=True)
class TradeAnswer:
    """One answer of a trade request, oldest first."""

    rows: Sequence[Trade]
    """Void rows are among them, for their ids."""
    following: int
    """The cursor for what comes after these rows."""
    full: bool = False
    """True where the answer is as long as the venue's answers get."""
    honoured: bool = True
    """False where the rows begin before the cursor: the venue has ignored it."""
    unreadable: Sequence[tuple[int, str]] = ()
    """For each row that could not be read: how many readable rows come before it, and an excerpt."""


@dataclass
class VenueFacts:
    """What has been learned of a venue's history; one for each venue object, shared by its sources."""

    honours_cursor: bool = False
    """True once an answer has shown that trades are paged by the cursor asked for."""
    void_rows: int = 0
    """Trades of history that said nothing and were left out."""
    page_rows: int | None = None
    """How many rows an answer is asked for at most; None for what the venue allows."""
    reach_steps: dict[str, int] = field(default_factory=dict)
    """How many steps back a request may start, by timeframe or channel, where the exchange refuses older starts."""
    _began_us: dict[str, int] = field(default_factory=dict)
    """When a market's first trade or candle was; bounded by the number of markets."""

    async def began_us(self, market: str, start_us: int, ask: Callable[[], Awaitable[int | None]]) -> int | None:
        """Return when a market began: from memory if that was before `start_us`, and asked anew if it was not.

        So history is never called older than its market for long on the word of one answer.
        """
        known_us = self._began_us.get(market)
        if known_us is None or known_us > start_us:
            known_us = await ask()
            if known_us is not None:
                self._began_us[market] = known_us
        return known_us

    def rows(self, venue_max: int) -> int:
        """Return how many rows to ask for where the venue allows `venue_max`."""
        return venue_max if self.page_rows is None else min(venue_max, self.page_rows)
