"""What Gate answers for spot: candles of `[from, to]`, none that opened more than 10,000 candles ago."""

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from fullon_exchange.clock import Clock
from odd_exchanges import Answer, Request

POINTS_MAX = 10_000
_STEPS_S = {"1m": 60, "5m": 300, "1h": 3600, "1d": 86_400}


def answers(clock: Clock, traded: Mapping[str, Iterable[int]]) -> dict[str, Answer]:
    """Return what is answered over REST; `traded` has the open times in µs of the minutes with trades, by symbol."""
    minutes_s = {
        symbol.replace("/", "_"): sorted(at_us // 1_000_000 for at_us in opens_us)
        for symbol, opens_us in traded.items()
    }

    def candles(request: Request) -> Any:
        step_s = _STEPS_S[request.query["interval"]]
        now_s = clock.now_us() // 1_000_000
        end_s = int(request.query.get("to", now_s))
        start_s = int(request.query.get("from", end_s - int(request.query.get("limit", 100)) * step_s))
        if (now_s - start_s) // step_s > POINTS_MAX:
            sentence = f"Candlestick too long ago. Maximum {POINTS_MAX} points ago are allowed"
            return web.json_response({"label": "INVALID_PARAM_VALUE", "message": sentence}, status=400)
        opens = sorted({at_s - at_s % step_s for at_s in minutes_s[request.query["currency_pair"]]})
        return [
            [str(at_s), "15", "11", "12", "9", "10", "1.5", "true"]
            for at_s in opens
            if start_s <= at_s <= min(end_s, now_s)
        ]

    def pair(symbol: str) -> dict[str, Any]:
        base, _, quote = symbol.partition("/")
        return {
            "id": f"{base}_{quote}",
            "base": base,
            "quote": quote,
            "fee": "0.2",
            "min_quote_amount": "1",
            "amount_precision": 4,
            "precision": 2,
            "trade_status": "tradable",
            "sell_start": 0,
            "buy_start": 0,
        }

    return {
        "/api/v4/spot/time": lambda request: {"server_time": clock.now_us() // 1000},
        "/api/v4/spot/currency_pairs": [pair(symbol) for symbol in traded],
        "/api/v4/spot/currencies": [],
        "/api/v4/spot/candlesticks": candles,
        "/api/v4/spot/trades": [],
        "/api/v4/margin/currency_pairs": [],
        "/api/v4/futures/usdt/contracts": [],
        "/api/v4/futures/btc/contracts": [],
        "/api/v4/delivery/usdt/contracts": [],
        "/api/v4/delivery/btc/contracts": [],
        "/api/v4/options/underlyings": [],
    }
