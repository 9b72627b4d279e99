"""What Kraken answers when nothing is odd: two pairs, no trades, subscriptions acknowledged."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from fullon_exchange import open_exchange
from fullon_exchange.clock import Clock
from fullon_exchange.records import Subscribed
from odd_exchanges import Answer, Request, Socket

PAIRS = ("BTC/USD", "ETH/USD")


def pair(symbol: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    """Return one entry of AssetPairs."""
    base, _, quote = symbol.partition("/")
    name = f"{base}{quote}"
    return name, {"altname": name, "wsname": symbol, "base": base, "quote": quote, "status": "online"} | changes


def pairs(symbols: Iterable[str] = PAIRS, **changes: Any) -> dict[str, Any]:
    """Return the answer to AssetPairs."""
    return {"error": [], "result": dict(pair(symbol, **changes) for symbol in symbols)}


def answers(clock: Clock, symbols: Iterable[str] = PAIRS) -> dict[str, Answer]:
    """Return what is answered over REST."""

    def time(_: Request) -> Any:
        now_s = clock.now_us() // 1_000_000
        return {"error": [], "result": {"unixtime": now_s, "rfc1123": ""}}

    def trades(request: Request) -> Any:
        return {"error": [], "result": {request.query["pair"]: [], "last": request.query["since"]}}

    return {
        "/0/public/Time": time,
        "/0/public/AssetPairs": pairs(symbols),
        "/0/public/Assets": {"error": [], "result": {}},
        "/0/public/Trades": trades,
        "/0/public/OHLC": lambda request: {"error": [], "result": {request.query["pair"]: [], "last": 0}},
    }


def stream(clock: Clock) -> Any:
    """Return a `Stream` that acknowledges subscriptions and answers pings."""

    async def answer(socket: Socket, message: Any) -> None:
        moment = datetime.fromtimestamp(clock.now_us() / 1e6, UTC).isoformat().replace("+00:00", "Z")
        times = {"time_in": moment, "time_out": moment}
        if message["method"] == "ping":
            await socket.send({"method": "pong", "req_id": message["req_id"], **times})
            return
        params = message["params"]
        for symbol in params["symbol"]:
            result = {"channel": params["channel"], "symbol": symbol}
            await socket.send(
                {
                    "method": message["method"],
                    "req_id": message["req_id"],
                    "success": True,
                    "result": result,
                    **times,
                }
            )

    return answer


async def use(via: Literal["native", "ccxt"]) -> None:
    """Ask the Kraken that the environment names over REST, and subscribe a market over WebSocket."""
    opened = open_exchange("kraken", via=via)  # ccxt takes a while to import
    async with asyncio.timeout(20), opened as exchange:
        assert "BTC/USD" in await exchange.fetch_listings()
        async with exchange.live() as session:
            await session.subscribe("trades", ["BTC/USD"])
            async for events in session.events():
                if any(isinstance(event, Subscribed) for event in events):
                    return
