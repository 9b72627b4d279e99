"""What Binance answers for futures: USD-M the oldest candles of a range, COIN-M the newest, of 200 days at most.

Two aggregated trades in every `every`-th minute since the listing, their ids a sequence; all other minutes are flat.
COIN-M counts in contracts, and tells the volume in the base beside. Streams are sent what they subscribe to: USD-M on
`/market/ws` alone, all other paths acknowledge and stay silent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from odd_exchanges import Answer, Request, Socket, Stream

DAY_US = 24 * 60 * MINUTE_US
SPAN_MAX_US = 200 * DAY_US
TRADES_AGE_MAX_US = 365 * DAY_US
PERPETUAL_MS = 4_133_404_800_000
AMOUNTS = (3, 5)
"""Of the two trades of a minute."""
CONTRACT_SIZE = 100
PRICE = 2000.0
_AFTER_US = (10_000_000, 40_000_000)
_STEPS_US = {"1m": MINUTE_US, "1h": 60 * MINUTE_US, "1d": DAY_US}


@dataclass(frozen=True)
class Contract:
    """A perpetual market."""

    symbol: str
    """Unified: `BTC/USDT:USDT`, `BTC/USD:BTC`."""
    listed_us: int
    """Its first minute, which has trades."""
    every: int = 1

    @property
    def is_inverse(self) -> bool:
        """Whether it is a COIN-M contract."""
        return self.symbol.endswith(f":{self.base}")

    @property
    def base(self) -> str:
        """The asset it is about."""
        return self.symbol.partition("/")[0]

    @property
    def id(self) -> str:
        """What Binance calls it."""
        pair = self.symbol.partition(":")[0].replace("/", "")
        return f"{pair}_PERP" if self.is_inverse else pair

    def trades_before(self, time_us: int) -> int:
        """Return how many trades there were before a time, which is the id of the first one after."""
        minute_us = floor_minute_us(time_us)
        number, rest = divmod(max(0, minute_us - self.listed_us) // MINUTE_US, self.every)
        count = 2 * (number + (rest > 0))
        if time_us > self.listed_us and rest == 0:
            count += sum(minute_us + after < time_us for after in _AFTER_US)
        return count

    def trade_us(self, trade_id: int) -> int:
        """Return when a trade was."""
        return self.listed_us + trade_id // 2 * self.every * MINUTE_US + _AFTER_US[trade_id % 2]

    def amount(self, begin_us: int, end_us: int) -> int:
        """Return what was traded in `[begin_us, end_us)`, cut at whole minutes."""
        return (self.trades_before(end_us) - self.trades_before(begin_us)) // 2 * sum(AMOUNTS)


def answers(clock: Clock, contracts: list[Contract], *, looks_ahead_us: int | None = None) -> dict[str, Answer]:
    """Return what is answered over REST; with `looks_ahead_us`, trades from a time on are not searched beyond it."""
    by_id = {one.id: one for one in contracts}
    prefix = "/dapi/v1" if contracts[0].is_inverse else "/fapi/v1"

    def klines(request: Request) -> Any:
        query = request.query
        market, step_us, limit = by_id[query["symbol"]], _STEPS_US[query["interval"]], int(query.get("limit", 500))
        now_us = clock.now_us()
        start_us, end_us = int(query.get("startTime", 0)) * 1000, int(query.get("endTime", now_us // 1000)) * 1000
        if market.is_inverse and start_us and end_us - start_us > SPAN_MAX_US:
            return _refusal(-4188, "The interval between startTime and endTime must be at most 200 days.")
        first_us = max(-(-start_us // step_us) * step_us, market.listed_us - market.listed_us % step_us)
        last_us = min(end_us, now_us) // step_us * step_us
        if market.is_inverse or "startTime" not in query:
            first_us = max(first_us, last_us - (limit - 1) * step_us)
        last_us = min(last_us, first_us + (limit - 1) * step_us)
        return [
            _kline(market, at_us, min(at_us + step_us, now_us), step_us)
            for at_us in range(first_us, last_us + 1, step_us)
        ]

    def trades(request: Request) -> Any:
        query = request.query
        market, limit = by_id[query["symbol"]], int(query.get("limit", 500))
        now_us = clock.now_us()
        until = market.trades_before(now_us)
        first = until - limit
        if "fromId" in query:
            first = int(query["fromId"])
        elif "startTime" in query:
            start_us = int(query["startTime"]) * 1000
            first = market.trades_before(start_us)
            if looks_ahead_us is not None:
                until = min(until, market.trades_before(start_us + looks_ahead_us))
        first = max(0, first)
        if first < until and now_us - market.trade_us(first) > TRADES_AGE_MAX_US:
            return _refusal(-4166, "Search window is restricted to recent 1 year only.")
        return [_trade(market, trade_id) for trade_id in range(first, min(until, first + limit))]

    return {
        f"{prefix}/time": lambda _: {"serverTime": clock.now_us() // 1000},
        f"{prefix}/exchangeInfo": {"symbols": [_market(one) for one in contracts]},
        f"{prefix}/klines": klines,
        f"{prefix}/aggTrades": trades,
    }


def stream(clock: Clock, contracts: list[Contract]) -> Stream:
    """Return what acknowledges subscriptions, and sends each one trade of now, or the candle of now."""
    by_name = {one.id.lower(): one for one in contracts}

    async def answer(socket: Socket, message: Any) -> None:
        await socket.send({"result": None, "id": message["id"]})
        if message["method"] != "SUBSCRIBE" or not (contracts[0].is_inverse or "/market/ws" in socket.path):
            return
        for name in message["params"]:
            market, _, kind = name.partition("@")
            contract, now_us = by_name[market], clock.now_us()
            event = {"E": now_us // 1000, "s": contract.id, "st": 2 if contract.is_inverse else 1, "ps": contract.id}
            if kind == "aggTrade":
                row = _trade(contract, contract.trades_before(now_us) - 1)
                await socket.send({"e": "aggTrade", **event, **row})
            elif kind == "kline_1m":
                minute_us = floor_minute_us(now_us) - MINUTE_US
                row = _kline(contract, minute_us, minute_us + MINUTE_US, MINUTE_US)
                names = dict(zip("tohlcvTqnVQB", row, strict=True))
                await socket.send({"e": "kline", **event, "k": names | {"s": contract.id, "i": "1m", "x": True}})

    return answer


def _market(one: Contract) -> Mapping[str, Any]:
    quote = one.symbol.partition("/")[2].partition(":")[0]
    return {
        "symbol": one.id,
        "pair": one.id.partition("_")[0],
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_MS,
        "onboardDate": one.listed_us // 1000,
        ("contractStatus" if one.is_inverse else "status"): "TRADING",
        "baseAsset": one.base,
        "quoteAsset": quote,
        "marginAsset": one.base if one.is_inverse else quote,
        "pricePrecision": 2,
        "quantityPrecision": 0,
        "filters": [],
    } | ({"contractSize": CONTRACT_SIZE} if one.is_inverse else {})


def _kline(one: Contract, begin_us: int, end_us: int, step_us: int) -> list[Any]:
    amount = one.amount(begin_us, end_us)
    other = amount * CONTRACT_SIZE / PRICE if one.is_inverse else amount * PRICE
    count = one.trades_before(end_us) - one.trades_before(begin_us)
    price, close_ms = f"{PRICE:.2f}", (begin_us + step_us) // 1000 - 1
    return [begin_us // 1000, price, price, price, price, str(amount), close_ms, str(other), count, "0", "0", "0"]


def _trade(one: Contract, trade_id: int) -> Mapping[str, Any]:
    return {
        "a": trade_id,
        "p": f"{PRICE:.2f}",
        "q": str(AMOUNTS[trade_id % 2]),
        "f": trade_id * 3,
        "l": trade_id * 3 + 1,
        "T": one.trade_us(trade_id) // 1000,
        "m": bool(trade_id % 2),
    }


def _refusal(code: int, sentence: str) -> web.Response:
    return web.json_response({"code": code, "msg": sentence}, status=400)
