"""BitMEX's REST interface under /api/v1, thirty requests a minute without a key."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from aiohttp import web

from fullon_simulator.bitmex_instruments import asset_entries, instrument_entry
from fullon_simulator.bitmex_wire import (
    BINS,
    DIRECTION_TRADES,
    Bucket,
    bucket_entries,
    buckets,
    trade_entries,
)
from fullon_simulator.clock import DAY_US, SECOND_US, MarketClock
from fullon_simulator.limits import TokenBucket
from fullon_simulator.listings import Listings
from fullon_simulator.tape import Tape
from fullon_simulator.timeframes import Timeframe
from fullon_simulator.venue import Handler

_REQUESTS_A_MINUTE = 30
_ROWS_MAX = 1_000
_ROWS_DEFAULT = 100
_NUMBER_DIGITS_MAX = 15
_YEARS = range(1970, 2200)

_Query = Mapping[str, str]
_Handler = Callable[[_Query], Awaitable[str]]


class _Refused(Exception):
    """A request that cannot be answered, in BitMEX's words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.body = {"error": {"message": message, "name": "HTTPError"}}


class _Page(NamedTuple):
    """Which rows are wanted: those stamped with `[start_us, end_us]`, so many after so many, from either end."""

    start_us: int | None
    end_us: int | None
    offset: int
    limit: int
    reverse: bool

    def cut(self, rows: range) -> range:
        """Return the wanted ones of the positions in time, in the order of the answer."""
        return (rows[::-1] if self.reverse else rows)[self.offset : self.offset + self.limit]


class BitmexRest:
    """instrument/active, wallet/assets, trade/bucketed and trade. `filter` and `columns` are passed over.

    Source: BitMEX API explorer. What was inferred: the rate is a bucket of thirty that fills at one in two seconds,
    an unknown symbol has no rows, and trade and trade/bucketed need a symbol.
    """

    def __init__(self, listings: Listings, clock: MarketClock, *, limited: bool) -> None:
        self._listings = listings
        self._clock = clock
        self._limited = limited
        self._bucket = TokenBucket(burst=_REQUESTS_A_MINUTE, per_second=_REQUESTS_A_MINUTE / 60)

    def routes(self) -> Mapping[str, Handler]:
        """Return the handlers by path."""
        handlers: dict[str, _Handler] = {
            "instrument/active": self._instruments,
            "wallet/assets": self._assets,
            "trade/bucketed": self._bucketed,
            "trade": self._trades,
        }
        return {f"/api/v1/{path}": partial(self._answer, handler) for path, handler in handlers.items()}

    def check(self, request: web.Request) -> web.Response | None:
        """Return 429 with `Retry-After` once the bucket is empty."""
        if not self._limited or self._bucket.take(self._clock.now_us()):
            return None
        wait_s = self._bucket.wait_s()
        error = {"message": f"Rate limit exceeded, retry in {wait_s} seconds.", "name": "RateLimitError"}
        headers = {"Retry-After": str(wait_s), **self._rate()}
        return web.json_response({"error": error}, status=429, headers=headers)

    def _rate(self) -> dict[str, str]:
        reset_s = self._clock.now_us() // SECOND_US + self._bucket.wait_s()
        return {
            "x-ratelimit-limit": str(_REQUESTS_A_MINUTE),
            "x-ratelimit-remaining": str(self._bucket.left),
            "x-ratelimit-reset": str(reset_s),
        }

    async def _answer(self, handler: _Handler, request: web.Request) -> web.Response:
        try:
            text = await handler(request.query)
        except _Refused as refused:
            return web.json_response(refused.body, status=400, headers=self._rate())
        return web.Response(text=text, content_type="application/json", headers=self._rate())

    async def _instruments(self, query: _Query) -> str:
        entries = []
        for tape in self._listings.all():
            entries.append(instrument_entry(tape, self._clock.now_us()))
            await asyncio.sleep(0)
        return json.dumps(entries, separators=(",", ":"))

    async def _assets(self, query: _Query) -> str:
        return json.dumps(asset_entries([tape.spec for tape in self._listings.all()]), separators=(",", ":"))

    async def _bucketed(self, query: _Query) -> str:
        """Answer the buckets whose ends lie in [startTime, endTime]; with `partial` the running one too."""
        timeframe, page = BINS.get(query.get("binSize", "1m")), _page(query)
        if timeframe is None:
            raise _Refused("binSize is invalid.")
        tape = self._tape(query)
        if tape is None:
            return "[]"
        now_us, length_us = self._clock.now_us(), timeframe.length_us
        first_us, stop_us = timeframe.floor(tape.listed_at_us), timeframe.floor(now_us)
        if query.get("partial", "false").lower() == "true":
            stop_us += length_us
        if page.start_us is not None:
            first_us = max(first_us, timeframe.floor(page.start_us - 1))
        if page.end_us is not None:
            stop_us = min(stop_us, timeframe.floor(page.end_us))
        wanted = page.cut(range(first_us, stop_us, length_us))
        if not wanted:
            return "[]"
        open_us = wanted[::-1] if page.reverse else wanted
        found = await _fold(tape, open_us[0], min(open_us[-1] + length_us, now_us), timeframe)
        rows = bucket_entries(tape.spec, found, open_us, timeframe, last_price=tape.last_price(open_us[0]))
        return f"[{','.join(reversed(rows) if page.reverse else rows)}]"

    async def _trades(self, query: _Query) -> str:
        """Answer the trades stamped with [startTime, endTime]."""
        page, tape = _page(query), self._tape(query)
        if tape is None:
            return "[]"
        now_us = self._clock.now_us()
        start = tape.position(page.start_us) if page.start_us is not None else 0
        stop = tape.position(now_us if page.end_us is None else min(page.end_us + 1, now_us))
        wanted = page.cut(range(start, stop))
        if not wanted:
            return "[]"
        first, last = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        before = max(0, first - DIRECTION_TRADES)
        entries = trade_entries(tape.spec, tape.read(before, last + 1), before=first - before)
        return f"[{','.join(reversed(entries) if page.reverse else entries)}]"

    def _tape(self, query: _Query) -> Tape | None:
        if "symbol" not in query:
            raise _Refused("symbol is required.")
        return self._listings.find(query["symbol"])


async def _fold(tape: Tape, start_us: int, end_us: int, timeframe: Timeframe) -> dict[int, Bucket]:
    """Return the non-empty buckets, day by day, letting others run in between."""
    found: dict[int, Bucket] = {}
    while start_us < end_us:
        stop_us = min(end_us, (start_us // DAY_US + 1) * DAY_US)
        rows = tape.read(tape.position(start_us), tape.position(stop_us))
        found |= buckets(tape.spec, rows, timeframe)
        start_us = stop_us
        await asyncio.sleep(0)
    return found


def _page(query: _Query) -> _Page:
    count = _natural(query, "count", _ROWS_DEFAULT)
    if not count:
        raise _Refused("Count must be a positive integer.")
    if count > _ROWS_MAX:
        raise _Refused(f"Maximum result count is {_ROWS_MAX}. Please use the start & count params to paginate.")
    reverse = query.get("reverse", "false").lower() == "true"
    return _Page(_time_us(query, "startTime"), _time_us(query, "endTime"), _natural(query, "start", 0), count, reverse)


def _natural(query: _Query, name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or len(text) > _NUMBER_DIGITS_MAX:
        raise _Refused(f"'{name}' must be a number.")
    return int(text)


def _time_us(query: _Query, name: str) -> int | None:
    """Read an ISO time; one without a zone is in UTC."""
    if not query.get(name):
        return None
    try:
        time = datetime.fromisoformat(query[name])
    except ValueError:
        raise _Refused(f"{name} is invalid.") from None
    if time.year not in _YEARS:
        raise _Refused(f"{name} is invalid.")
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * SECOND_US)
