"""What Binance answers when nothing is odd: two markets, no trades, subscriptions acknowledged."""

from collections.abc import Iterable
from typing import Any

from fullon_exchange.clock import Clock
from odd_exchanges import Answer, Socket

SYMBOLS = ("BTC/USDT", "ETH/USDT")


def market(symbol: str, **changes: Any) -> dict[str, Any]:
    """Return one entry of exchangeInfo."""
    base, _, quote = symbol.partition("/")
    return {"symbol": base + quote, "baseAsset": base, "quoteAsset": quote, "status": "TRADING"} | changes


def answers(clock: Clock, symbols: Iterable[str] = SYMBOLS) -> dict[str, Answer]:
    """Return what is answered over REST."""
    return {
        "/api/v3/time": lambda _: {"serverTime": clock.now_us() // 1000},
        "/api/v3/exchangeInfo": {"symbols": [market(symbol) for symbol in symbols]},
        "/api/v3/klines": [],
        "/api/v3/aggTrades": [],
    }


async def stream(socket: Socket, message: Any) -> None:
    """Acknowledge a subscription."""
    await socket.send({"result": None, "id": message["id"]})
