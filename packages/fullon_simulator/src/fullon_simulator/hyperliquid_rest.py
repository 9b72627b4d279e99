"""Hyperliquid's REST interface: everything is a POST to /info, weighed by its type and by what it returns."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from fullon_simulator.clock import MarketClock
from fullon_simulator.hyperliquid_wire import (
    INTERVALS,
    candle_entries,
    in_order,
    last_price,
    perpetual_context,
    perpetuals_meta,
    spot_context,
    spot_meta,
    trade_entries,
)
from fullon_simulator.limits import TokenBucket
from fullon_simulator.listings import Listings
from fullon_simulator.sockets import ASKED
from fullon_simulator.tape import Tape
from fullon_simulator.venue import Handler

_CANDLES_MAX = 5_000
_RECENT_TRADES = 10
_WEIGHT_A_MINUTE = 1_200
_WEIGHT = 20
_WEIGHTS = {"allMids": 2, "exchangeStatus": 2}
_TIME_MS_MAX = 10**13
_BODY_TIMEOUT_S = 10.0

_Request = Mapping[str, Any]


class _Refused(Exception):
    """A request that is not answered, as Hyperliquid says it."""

    def __init__(self, status: int, text: str = "null") -> None:
        super().__init__(text)
        self._status = status
        self._text = text

    def response(self) -> web.Response:
        """Return what is answered instead."""
        kind = "application/json" if self._text == "null" else "text/plain"
        return web.Response(text=self._text, status=self._status, content_type=kind)


def _malformed() -> _Refused:
    return _Refused(422, "Failed to deserialize the JSON body into the target type")


def _unanswerable() -> _Refused:
    return _Refused(500)


class _Answer(NamedTuple):
    text: str
    extra_weight: int = 0
    """What the answer weighs by its length, charged once it is known."""


class HyperliquidRest:
    """The `/info` types: meta, metaAndAssetCtxs, spotMeta, spotMetaAndAssetCtxs, perpDexs, allMids, exchangeStatus,
    candleSnapshot and recentTrades.

    The weight is a bucket of 1,200 that fills at 20 a second; that it is a bucket is inferred.
    Source: Hyperliquid docs, "Rate limits and user limits".
    """

    def __init__(self, listings: Listings, names: Mapping[str, str], clock: MarketClock, *, limited: bool) -> None:
        self._listings = listings
        self._names = names
        self._clock = clock
        self._bucket = TokenBucket(burst=_WEIGHT_A_MINUTE, per_second=_WEIGHT_A_MINUTE / 60) if limited else None
        self._handlers: Mapping[str, Callable[[_Request], Awaitable[_Answer]]] = {
            "meta": self._meta,
            "metaAndAssetCtxs": self._meta_and_contexts,
            "spotMeta": self._spot_meta,
            "spotMetaAndAssetCtxs": self._spot_meta_and_contexts,
            "perpDexs": self._perpetual_exchanges,
            "allMids": self._mids,
            "exchangeStatus": self._status,
            "candleSnapshot": self._candle_snapshot,
            "recentTrades": self._recent_trades,
        }

    def routes(self) -> Mapping[str, Handler]:
        """Return the handler by method and path."""
        return {"POST /info": self._info}

    def check(self, request: web.Request) -> web.Response | None:
        """Refuse nothing yet: what a request weighs stands in its body."""
        return None

    async def _info(self, request: web.Request) -> web.Response:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            text = request.match_info.get(ASKED) or await request.text()
        try:
            answer = await self._answer(text)
        except _Refused as refused:
            return refused.response()
        return web.Response(text=answer, content_type="application/json")

    async def _answer(self, text: str) -> str:
        kind, request = _parsed(text)
        handler = self._handlers.get(kind)
        if handler is None:
            raise _malformed()
        if self._bucket and not self._bucket.take(self._clock.now_us(), _WEIGHTS.get(kind, _WEIGHT)):
            raise _Refused(429)
        answer = await handler(request)
        if self._bucket:
            self._bucket.spend(answer.extra_weight)
        return answer.text

    async def _meta(self, request: _Request) -> _Answer:
        return _json(self._perpetuals(request))

    async def _meta_and_contexts(self, request: _Request) -> _Answer:
        now_us = self._clock.now_us()
        contexts = [perpetual_context(tape, now_us) for tape in self._tapes(spot=False)]
        return _json([self._perpetuals(request), contexts])

    def _perpetuals(self, request: _Request) -> dict[str, Any]:
        if request.get("dex"):
            raise _unanswerable()  # nobody has deployed an exchange of his own here
        return perpetuals_meta((tape.spec for tape in self._tapes(spot=False)), self._names)

    async def _spot_meta(self, request: _Request) -> _Answer:
        return _json(self._spot())

    async def _spot_meta_and_contexts(self, request: _Request) -> _Answer:
        now_us = self._clock.now_us()
        contexts = [spot_context(tape, self._coin(tape), now_us) for tape in self._tapes(spot=True)]
        return _json([self._spot(), contexts])

    def _spot(self) -> dict[str, Any]:
        return spot_meta((tape.spec for tape in self._tapes(spot=True)), self._names)

    async def _perpetual_exchanges(self, request: _Request) -> _Answer:
        return _json([None])

    async def _mids(self, request: _Request) -> _Answer:
        now_us = self._clock.now_us()
        return _json({self._coin(tape): last_price(tape, now_us) for tape in self._listings.all()})

    async def _status(self, request: _Request) -> _Answer:
        return _json({"time": self._clock.now_us() // 1000, "specialStatuses": None})

    async def _candle_snapshot(self, request: _Request) -> _Answer:
        """Answer the candles that touch [startTime, endTime], of the newest 5,000, the running one included.

        The candle that startTime lies in is one of them: recorded by the test of Hyperliquid's own SDK.
        """
        wanted = request.get("req")
        if not isinstance(wanted, dict):
            raise _malformed()
        start_us, end_us = _time_us(wanted, "startTime"), _time_us(wanted, "endTime")
        interval = wanted.get("interval")
        if not isinstance(interval, str) or interval not in INTERVALS:
            raise _malformed()
        timeframe, tape, now_us = INTERVALS[interval], self._tape(wanted), self._clock.now_us()
        last_us = timeframe.floor(min(now_us, end_us))
        next_us = max(
            timeframe.floor(start_us),
            timeframe.back(timeframe.floor(now_us), _CANDLES_MAX - 1),
            timeframe.floor(tape.spec.listed_at_us),
        )
        open_us: list[int] = []
        while next_us <= last_us:
            open_us.append(next_us)
            next_us = timeframe.next(next_us)
        if not open_us:
            return _Answer("[]")
        candles = await tape.fold_calmly(open_us[0], min(next_us, now_us), timeframe)
        before = tape.last_price(open_us[0])
        rows = candle_entries(tape.spec, self._coin(tape), interval, candles, open_us, last_price=before)
        return _Answer(f"[{','.join(rows)}]", len(rows) // 60)

    async def _recent_trades(self, request: _Request) -> _Answer:
        """Answer the last trades, the newest first."""
        tape = self._tape(request)
        stop = tape.position(self._clock.now_us())
        entries = trade_entries(tape.spec, self._coin(tape), tape.read(max(0, stop - _RECENT_TRADES), stop))
        return _Answer(f"[{','.join(reversed(entries))}]", len(entries) // 20)

    def _tape(self, request: _Request) -> Tape:
        coin = request.get("coin")
        if not isinstance(coin, str):
            raise _malformed()
        tape = self._listings.find(coin)
        if tape is None:
            raise _unanswerable()
        return tape

    def _tapes(self, *, spot: bool) -> list[Tape]:
        """Return the listed markets of a kind, in the order of their listing."""
        listed = {tape.spec: tape for tape in self._listings.all()}
        return [listed[spec] for spec in in_order(listed) if spot is not bool(spec.settle)]

    def _coin(self, tape: Tape) -> str:
        return self._names[tape.spec.symbol]


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Return a request and its type."""
    try:
        body = json.loads(text)
    except ValueError:
        raise _malformed() from None
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise _malformed()
    return body["type"], body


def _time_us(request: _Request, name: str) -> int:
    time_ms = request.get(name)
    if type(time_ms) is not int or not 0 <= time_ms < _TIME_MS_MAX:
        raise _malformed()
    return time_ms * 1000


def _json(body: Any) -> _Answer:
    return _Answer(json.dumps(body, separators=(",", ":")))
