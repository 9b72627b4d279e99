"""The documented face of the exchanges: connected handlers, cached for each account.

await ExchangeQueue.initialize_factory()
handler = await ExchangeQueue.get_rest_handler(exchange_obj)
candles = await handler.get_ohlcv("BTC/USDT", "1m", limit=10)
await ExchangeQueue.shutdown_factory()
"""

from fullon_exchange.queue.factory import ExchangeQueue
from fullon_exchange.queue.rest import RestHandler
from fullon_exchange.queue.websocket import WebsocketHandler

__all__ = ["ExchangeQueue", "RestHandler", "WebsocketHandler"]
