"""History over REST, page by page: one pager for candles and one for trades, whatever the venue."""

from fullon_exchange.history.candles import CandleSource, candle_pages
from fullon_exchange.history.reasons import Settle
from fullon_exchange.history.search import index_timeframe
from fullon_exchange.history.trades import TradeSource, trade_pages

__all__ = [
    "CandleSource",
    "Settle",
    "TradeSource",
    "candle_pages",
    "index_timeframe",
    "trade_pages",
]
