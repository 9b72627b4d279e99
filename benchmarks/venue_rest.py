"""What a fed venue says over REST: its markets, the time, and again what its feed has told."""

# ruff: noqa: ASYNC110 - a clock is waited for by looking at it

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

VenueName = Literal["kraken", "binance"]

MINUTE_US = 60_000_000

CANDLE = {"o": "100.50000000", "h": "106.00000000", "l": "100.00000000", "c": "101.50000000"}
"""The prices of every candle that is told."""


def symbols(venue: VenueName, number: int) -> list[str]:
    """Return the unified symbols of the venue."""
    return [f"C{at:04}/{'USD' if venue == 'kraken' else 'USDT'}" for at in range(number)]


def plain(name: str) -> str:
    """Return a symbol as the addresses of both venues have it, in small letters."""
    return name.replace("/", "").lower()


def is_buy(trade_id: int) -> bool:
    """Tell a trade's side, which follows from its id."""
    return trade_id % 3 > 0


def candle_volume(trades: int) -> str:
    """Return the volume of a candle of so many trades, as it is printed."""
    return f"{trades / 4:.8f}"


class ExchangeClock:
    """The time of `FULLON_CLOCK`."""

    def __init__(self) -> None:
        text = os.environ.get("FULLON_CLOCK") or "0@0x1"
        exchange, rest = text.split("@")
        unix, speed = rest.split("x")
        self._exchange_s, self._unix_s, self.speed = float(exchange), float(unix), float(speed)

    def now_us(self) -> int:
        """Return the exchange time in microseconds."""
        return round((self._exchange_s + (time.time() - self._unix_s) * self.speed) * 1e6)

    async def sleep_until(self, timestamp_us: int) -> None:
        """Return once it is as late as that."""
        while (left_us := timestamp_us - self.now_us()) > 0:
            await asyncio.sleep(left_us / 1e6 / self.speed)


class Told:
    """What a feed has told of each market, as its venue answers it later."""

    def __init__(self) -> None:
        self._trades: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)

    def add_trade(self, name: str, trade_id: int, price: float, volume: float, moment: datetime) -> None:
        """Keep a trade of Kraken's."""
        side = "b" if is_buy(trade_id) else "s"
        time_ns = round(moment.timestamp() * 1e6) * 1000 + 500
        time_s = f"{time_ns // 10**9}.{time_ns % 10**9:09}"
        row = f'["{price:.5f}","{volume:.8f}",{time_s},"{side}","m","",{trade_id}]'
        self._trades[plain(name)].append((time_ns, row.encode()))

    def add_candle(self, name: str, minute_us: int, trades: int) -> None:
        """Keep a closed candle of Binance's."""
        self._counts[plain(name)][minute_us] = trades

    def trades(self, query: Mapping[str, str]) -> bytes:
        """Answer Kraken's `Trades`."""
        since = int(query["since"])
        kept = [row for row in self._trades[plain(query["pair"])] if row[0] > since][: int(query.get("count", 1000))]
        rows = b",".join(row for _, row in kept)
        return b'{"error":[],"result":{"X":[%s],"last":"%d"}}' % (rows, kept[-1][0] if kept else since)

    def candles(self, query: Mapping[str, str]) -> bytes:
        """Answer Binance's `klines`: the newest closed minutes that are asked for, quiet ones included."""
        counts = self._counts[plain(query["symbol"])]
        start_us, end_us = int(query["startTime"]) * 1000, int(query.get("endTime", 0)) * 1000
        last_us = min(max(counts, default=0), end_us or MINUTE_US * 10**9) // MINUTE_US * MINUTE_US
        first_us = max(-(-start_us // MINUTE_US) * MINUTE_US, last_us - 999 * MINUTE_US)
        minutes = range(first_us, last_us + 1, MINUTE_US)[: int(query["limit"])]
        return json.dumps([_kline(minute_us, counts.get(minute_us, 0)) for minute_us in minutes]).encode()


class Listings:
    """What a venue says over REST of its markets, of the time, and of what has been told of them."""

    def __init__(self, names: Sequence[str], clock: ExchangeClock, told: Told | None = None) -> None:
        self._clock = clock
        self._told = told or Told()
        pairs = [name.split("/") for name in names]
        assets = sorted({asset for pair in pairs for asset in pair})
        self._bodies: dict[str, bytes] = {
            path: json.dumps(body).encode()
            for path, body in {
                "/0/public/AssetPairs": {"error": [], "result": {"".join(pair): _pair(*pair) for pair in pairs}},
                "/0/public/Assets": {"error": [], "result": {asset: _asset(asset) for asset in assets}},
                "/api/v3/exchangeInfo": {"symbols": [_market(*pair) for pair in pairs]},
            }.items()
        }

    def answer(self, path: str, query: Mapping[str, str]) -> bytes:
        """Return the body for a path."""
        if path in self._bodies:
            return self._bodies[path]
        now_us = self._clock.now_us()
        if path == "/0/public/Time":
            return b'{"error":[],"result":{"unixtime":%d}}' % (now_us // 1_000_000)
        if path == "/0/public/Trades":
            return self._told.trades(query)
        if path == "/api/v3/klines":
            return self._told.candles(query)
        if path == "/api/v3/aggTrades":
            return b"[]"
        if path == "/api/v3/time":
            return b'{"serverTime":%d}' % (now_us // 1000)
        raise ValueError(f"nothing is at {path}")


def _kline(minute_us: int, trades: int) -> list[str | int]:
    """Return a candle as Binance's `klines` has it."""
    start_ms = minute_us // 1000
    prices = [CANDLE[part] for part in "ohlc"]
    volume = candle_volume(trades)
    return [start_ms, *prices, volume, start_ms + 59_999, volume, trades, volume, volume, "0"]


def _pair(base: str, quote: str) -> dict[str, Any]:
    """Return a market as Kraken's AssetPairs lists it, for us and for ccxt."""
    return {
        "altname": base + quote, "wsname": f"{base}/{quote}", "aclass_base": "currency", "base": base,
        "aclass_quote": "currency", "quote": quote, "lot": "unit", "cost_decimals": 5, "pair_decimals": 2,
        "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
        "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.01", "status": "online",
    }  # fmt: skip


def _asset(asset: str) -> dict[str, Any]:
    return {"aclass": "currency", "altname": asset, "decimals": 10, "display_decimals": 5, "status": "enabled"}


def _market(base: str, quote: str) -> dict[str, Any]:
    """Return a market as Binance's exchangeInfo lists it."""
    return {
        "symbol": base + quote, "status": "TRADING", "baseAsset": base, "baseAssetPrecision": 8, "quoteAsset": quote,
        "quotePrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT"], "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False, "permissions": [], "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "1000000", "stepSize": "0.0001"},
        ],
    }  # fmt: skip
