"""Binance's REST interface under /api/v3, weighted and limited by the minute."""

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from aiohttp import web

from fullon_simulator.binance_wire import aggregate_rows, klines, symbol_entry, trade_rows
from fullon_simulator.clock import MarketClock
from fullon_simulator.limits import WeightBudget
from fullon_simulator.listings import Listings
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import BINANCE
from fullon_simulator.venue import Handler

_WEIGHT_A_MINUTE = 6_000
_WEIGHTS = {
    "/api/v3/exchangeInfo": 20,
    "/api/v3/klines": 2,
    "/api/v3/aggTrades": 4,
    "/api/v3/trades": 25,
    "/api/v3/historicalTrades": 25,
}
_ROWS_MAX = 1_000
_ROWS_DEFAULT = 500
_NUMBER_DIGITS_MAX = 16

_Query = Mapping[str, str]
_Handler = Callable[[_Query], Awaitable[str]]


class _Refused(Exception):
    """A request that cannot be answered, in Binance's words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}


class BinanceRest:
    """ping, time, exchangeInfo, klines, aggTrades, trades and historicalTrades; no futures."""

    def __init__(self, listings: Listings, clock: MarketClock, *, limited: bool) -> None:
        self._listings = listings
        self._clock = clock
        self._limited = limited
        self._budget = WeightBudget(_WEIGHT_A_MINUTE)

    def routes(self) -> Mapping[str, Handler]:
        """Return the handlers by path."""
        handlers: dict[str, _Handler] = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/klines": self._klines,
            "/api/v3/aggTrades": self._agg_trades,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._historical_trades,
            "/fapi/v1/exchangeInfo": self._no_futures,
            "/dapi/v1/exchangeInfo": self._no_futures,
        }
        return {path: partial(self._answer, handler) for path, handler in handlers.items()}

    def check(self, request: web.Request) -> web.Response | None:
        """Count the request's weight; return 429, later 418, with `Retry-After`, once the minute's is used up."""
        refusal = self._budget.take(_WEIGHTS.get(request.path, 1), self._clock.now_us())
        if refusal is None or not self._limited:
            return None
        body = {"code": -1003, "msg": "Too much request weight used; please use the websocket for live updates."}
        headers = {"Retry-After": str(refusal.retry_after_s), **self._used()}
        return web.json_response(body, status=refusal.status, headers=headers)

    def _used(self) -> dict[str, str]:
        used = str(self._budget.used)
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    async def _answer(self, handler: _Handler, request: web.Request) -> web.Response:
        try:
            text = await handler(request.query)
        except _Refused as refused:
            return web.json_response(refused.body, status=400, headers=self._used())
        return web.Response(text=text, content_type="application/json", headers=self._used())

    async def _ping(self, query: _Query) -> str:
        return "{}"

    async def _time(self, query: _Query) -> str:
        return json.dumps({"serverTime": self._clock.now_us() // 1000})

    async def _no_futures(self, query: _Query) -> str:
        return self._info([])

    async def _exchange_info(self, query: _Query) -> str:
        return self._info([self._tape(query)] if "symbol" in query else self._listings.all())

    def _info(self, tapes: list[Tape]) -> str:
        info = {
            "timezone": "UTC",
            "serverTime": self._clock.now_us() // 1000,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": _WEIGHT_A_MINUTE,
                }
            ],
            "exchangeFilters": [],
            "symbols": [symbol_entry(tape.spec) for tape in tapes],
        }
        return json.dumps(info, separators=(",", ":"))

    async def _klines(self, query: _Query) -> str:
        """Answer the first `limit` klines that open in [startTime, endTime]; without a start, the last ones."""
        tape, timeframe, limit = self._tape(query), BINANCE.get(_required(query, "interval")), _limit(query)
        start_ms, end_ms = _number(query, "startTime"), _number(query, "endTime")
        if timeframe is None:
            raise _Refused(-1120, "Invalid interval.")
        now_us = self._clock.now_us()
        last_us = timeframe.floor(now_us if end_ms is None else min(end_ms * 1000, now_us))
        next_us = timeframe.floor(tape.spec.listed_at_us)
        if start_ms is None:
            next_us = max(next_us, timeframe.back(last_us, limit - 1))
        elif start_ms * 1000 > next_us:
            next_us = timeframe.next(timeframe.floor(start_ms * 1000 - 1))
        open_us: list[int] = []
        while next_us <= last_us and len(open_us) < limit:
            open_us.append(next_us)
            next_us = timeframe.next(next_us)
        if not open_us:
            return "[]"
        candles = await tape.fold_calmly(open_us[0], min(next_us, now_us), timeframe)
        found = klines(tape.spec, candles, open_us, tape.last_price(open_us[0]))
        return f"[{','.join(kline.row(timeframe) for kline in found)}]"

    async def _agg_trades(self, query: _Query) -> str:
        """Answer aggregates from an id or in [startTime, endTime]; the newest where nothing is asked."""
        tape, limit = self._tape(query), _limit(query)
        from_id, start_ms, end_ms = (_number(query, name) for name in ("fromId", "startTime", "endTime"))
        now_us = self._clock.now_us()
        end_us = now_us if end_ms is None else min((end_ms + 1) * 1000, now_us)
        stop = tape.aggregate_position(end_us)
        if from_id is not None and (start_ms is not None or end_ms is not None):
            raise _Refused(-1128, "Combination of optional parameters invalid.")
        if from_id is not None:
            start = max(0, from_id - 1)
        elif start_ms is not None:
            start = tape.aggregate_position(start_ms * 1000)
        else:
            start = max(0, stop - limit)
        return f"[{aggregate_rows(tape.spec, tape.read_aggregates(start, min(start + limit, stop)))}]"

    async def _trades(self, query: _Query) -> str:
        tape, limit = self._tape(query), _limit(query)
        stop = tape.position(self._clock.now_us())
        return f"[{trade_rows(tape.spec, tape.read(max(0, stop - limit), stop))}]"

    async def _historical_trades(self, query: _Query) -> str:
        tape, limit, from_id = self._tape(query), _limit(query), _number(query, "fromId")
        stop = tape.position(self._clock.now_us())
        start = max(0, stop - limit) if from_id is None else tape.position_of_id(from_id)
        return f"[{trade_rows(tape.spec, tape.read(start, min(start + limit, stop)))}]"

    def _tape(self, query: _Query) -> Tape:
        tape = self._listings.find(_required(query, "symbol"))
        if tape is None:
            raise _Refused(-1121, "Invalid symbol.")
        return tape


def _required(query: _Query, name: str) -> str:
    if not query.get(name):
        raise _Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return query[name]


def _number(query: _Query, name: str) -> int | None:
    text = query.get(name)
    if text is not None and (not text.isdecimal() or len(text) > _NUMBER_DIGITS_MAX):
        raise _Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,16}}$'.")
    return None if text is None else int(text)


def _limit(query: _Query) -> int:
    limit = _number(query, "limit")
    if limit == 0:
        raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit or _ROWS_DEFAULT, _ROWS_MAX)
