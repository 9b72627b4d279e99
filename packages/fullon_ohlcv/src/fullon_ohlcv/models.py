"""Values at the edge of the store: candles and trades with aware datetimes."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle; `timestamp` is its open time (aware), prices in quote units, `vol` in base units."""

    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    vol: float


@dataclass(frozen=True, slots=True)
class Trade:
    """One public trade.

    `side` is the taker's (buy, sell; empty where the exchange does not say), `type` market, limit or empty; both in
    either case.
    """

    timestamp: datetime
    price: float
    volume: float
    side: str
    type: str = ""
    trade_id: str | None = None
