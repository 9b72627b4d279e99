"""What Coinbase Exchange answers: candles of `[start, end]`, 300 at most, newest first, none where nothing traded."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fullon_exchange.clock import Clock
from odd_exchanges import Answer, Request

PAGE = 300


def product(symbol: str, **changes: Any) -> dict[str, Any]:
    """Return one entry of /products."""
    base, _, quote = symbol.partition("/")
    return {
        "id": f"{base}-{quote}",
        "base_currency": base,
        "quote_currency": quote,
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "display_name": f"{base}/{quote}",
        "min_market_funds": "1",
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
        "cancel_only": False,
        "post_only": False,
        "limit_only": False,
        "auction_mode": False,
    } | changes


def answers(clock: Clock, traded: Mapping[str, Iterable[int]]) -> dict[str, Answer]:
    """Return what is answered over REST; `traded` has the open times in µs of the minutes with trades, by symbol."""
    minutes_s = {
        symbol.replace("/", "-"): sorted(at_us // 1_000_000 for at_us in opens_us)
        for symbol, opens_us in traded.items()
    }
    cached: dict[tuple[str, int], Sequence[int]] = {}

    def opens_s(market: str, step_s: int) -> Sequence[int]:
        key = (market, step_s)
        if key not in cached:
            cached[key] = sorted({at_s - at_s % step_s for at_s in minutes_s[market]})
        return cached[key]

    def candles(request: Request) -> Any:
        step_s = int(request.query["granularity"])
        now_s = clock.now_us() // 1_000_000
        end_s = _seconds(request.query.get("end"), now_s)
        start_s = _seconds(request.query.get("start"), end_s - PAGE * step_s)
        if (end_s - start_s) // step_s > PAGE:
            sentence = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
            return web.json_response({"message": sentence}, status=400)
        opens = opens_s(request.names["id"], step_s)
        found = opens[bisect_left(opens, start_s) : bisect_right(opens, min(end_s, now_s))]
        return [[at_s, 9.0, 12.0, 10.0, 11.0, 1.5] for at_s in reversed(found)]

    def trades(request: Request) -> Any:
        return []

    return {
        "/products": [product(symbol) for symbol in traded],
        "/currencies": [],
        "/time": lambda request: {"iso": "", "epoch": clock.now_us() / 1e6},
        "/products/{id}/candles": candles,
        "/products/{id}/trades": trades,
    }


def _seconds(text: str | None, default: int) -> int:
    if text is None:
        return default
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp())
