"""What a live session tells, made by hand: minute 0 is a fixed minute boundary, and so is every whole number."""

from fullon_exchange.clock import MINUTE_US
from fullon_exchange.records import (
    Candle,
    Candles,
    Event,
    Interval,
    Subscribed,
    Trade,
    Trades,
)
from fullon_ohlcv_service.frontier import SeriesBatch
from fullon_ohlcv_service.ohlcv.candle_builder import CandleBuilder
from fullon_ohlcv_service.trade.trade_tracker import TradeTracker

T0_US = 1_700_000_040_000_000
"""A minute boundary."""
SYMBOL = "BTC/USD"


def minute(number: float) -> int:
    return T0_US + round(number * MINUTE_US)


def trade(number: float, trade_id: int, symbol: str = SYMBOL) -> Trade:
    return Trade(symbol, minute(number), 100.0, 1.0, "buy", str(trade_id))


def trades(*records: Trade, connection: str = "a") -> Trades:
    return Trades(connection, list(records), 0)


def candle(
    number: int,
    *,
    closed: bool,
    trades: int = 3,
    close: float = 1.0,
    ids: tuple[int, int] | None = None,
    symbol: str = SYMBOL,
    connection: str = "a",
) -> Candles:
    first_id, last_id = ids or (None, None)
    one = Candle(symbol, "1m", minute(number), 1.0, 2.0, 0.5, close, 4.0, trades, closed, first_id, last_id)
    return Candles(connection, [one], 0)


def subscribed(number: float, connection: str = "a", symbol: str = SYMBOL) -> Subscribed:
    return Subscribed(connection, symbol, "trades", minute(number))


def minutes_of(intervals: list[Interval]) -> set[int]:
    return {at for start, end in intervals for at in range(start, end, MINUTE_US)}


def track(*events: Event, ids_sequential: bool = True) -> SeriesBatch:
    tracker = TradeTracker(ids_sequential=ids_sequential)
    tracker.feed(events)
    return tracker.take().get(SYMBOL, SeriesBatch())


def build(*events: Event, closed_flag: bool = True) -> SeriesBatch:
    builder = CandleBuilder(closed_flag=closed_flag, grace_us=2_000_000)
    builder.feed(events)
    return builder.take().get(SYMBOL, SeriesBatch())
