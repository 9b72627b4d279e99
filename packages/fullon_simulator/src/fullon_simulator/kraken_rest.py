"""Kraken's REST interface under /0/public: every answer is HTTP 200, errors stand in the body."""

import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

from fullon_simulator.clock import SECOND_US, MarketClock
from fullon_simulator.kraken_wire import (
    asset_entry,
    asset_id,
    cursors_ns,
    ohlc_rows,
    pair_entry,
    pair_id,
    position_after_ns,
    trade_rows,
)
from fullon_simulator.limits import TokenBucket
from fullon_simulator.listings import Listings
from fullon_simulator.timeframes import KRAKEN
from fullon_simulator.venue import Handler
from fullon_simulator.wire import iso_us

_OHLC_ROWS_MAX = 720
_TRADES_MAX = 1000
_BURST = 15
"""Requests at once; after them one a second. The burst is inferred."""
_SECONDS_DIGITS_MAX = 12
"""A cursor of so many digits or fewer is in seconds, a longer one in nanoseconds."""


class KrakenRest:
    """Time, SystemStatus, Assets, AssetPairs, OHLC and Trades."""

    def __init__(self, listings: Listings, clock: MarketClock, *, limited: bool) -> None:
        self._listings = listings
        self._clock = clock
        self._bucket = TokenBucket(burst=_BURST, per_second=1.0) if limited else None

    def routes(self) -> Mapping[str, Handler]:
        """Return the handlers by path."""
        return {
            "/0/public/Time": self._time,
            "/0/public/SystemStatus": self._system_status,
            "/0/public/Assets": self._assets,
            "/0/public/AssetPairs": self._asset_pairs,
            "/0/public/OHLC": self._ohlc,
            "/0/public/Trades": self._trades,
            "/0/public/{rest:.*}": self._unknown,
        }

    def check(self, request: web.Request) -> web.Response | None:
        """Return a refusal once the bucket is empty."""
        if self._bucket is None or self._bucket.take(self._clock.now_us()):
            return None
        return _refuse("EGeneral:Too many requests")

    async def _time(self, request: web.Request) -> web.Response:
        second = self._clock.now_us() // SECOND_US
        return _answer({"unixtime": second, "rfc1123": formatdate(second, usegmt=True)})

    async def _system_status(self, request: web.Request) -> web.Response:
        second_us = self._clock.now_us() // SECOND_US * SECOND_US
        return _answer({"status": "online", "timestamp": iso_us(second_us).replace(".000000", "")})

    async def _assets(self, request: web.Request) -> web.Response:
        specs = [tape.spec for tape in self._listings.all()]
        assets = dict.fromkeys(asset for spec in specs for asset in (spec.base, spec.quote))
        return _answer({asset_id(asset): asset_entry(asset) for asset in assets})

    async def _asset_pairs(self, request: web.Request) -> web.Response:
        wanted = [name for name in request.query.get("pair", "").split(",") if name]
        tapes = [self._listings.find(name) for name in wanted] if wanted else self._listings.all()
        specs = [tape.spec for tape in tapes if tape is not None]
        if len(specs) < len(tapes):
            return _refuse("EQuery:Unknown asset pair")
        return _answer({pair_id(spec): pair_entry(spec) for spec in specs})

    async def _ohlc(self, request: web.Request) -> web.Response:
        """Answer the newest 720 rows after `since`, and the running candle in any case."""
        tape = self._listings.find(request.query.get("pair"))
        if tape is None:
            return _refuse("EQuery:Unknown asset pair")
        interval, since_ns = request.query.get("interval", "1"), _cursor_ns(request.query.get("since", "0"))
        timeframe = KRAKEN.get(int(interval)) if interval.isdecimal() else None
        if timeframe is None or since_ns is None:
            return _refuse("EGeneral:Invalid arguments")
        now_us = self._clock.now_us()
        running_us = timeframe.floor(now_us)
        first_us = max(timeframe.back(running_us, _OHLC_ROWS_MAX - 1), timeframe.floor(tape.spec.listed_at_us))
        closed_us = range(first_us, running_us, timeframe.length_us)
        open_us = [*(time_us for time_us in closed_us if time_us * 1000 > since_ns), running_us]
        candles = await tape.fold_calmly(open_us[0], now_us, timeframe)
        rows = ohlc_rows(tape.spec, candles, open_us, tape.last_price(open_us[0]))
        last = (running_us - timeframe.length_us) // SECOND_US
        return _text(f'{{"error":[],"result":{{"{pair_id(tape.spec)}":[{rows}],"last":{last}}}}}')

    async def _trades(self, request: web.Request) -> web.Response:
        """Answer the first `count` trades strictly after `since`; the newest ones where it is not given."""
        tape = self._listings.find(request.query.get("pair"))
        if tape is None:
            return _refuse("EQuery:Unknown asset pair")
        text, since = request.query.get("count", str(_TRADES_MAX)), request.query.get("since")
        count = int(text) if text.isdecimal() else 0
        since_ns = 0 if since is None else _cursor_ns(since)
        if not 1 <= count <= _TRADES_MAX or since_ns is None:
            return _refuse("EGeneral:Invalid arguments")
        now = tape.position(self._clock.now_us())
        start = max(0, now - count) if since is None else position_after_ns(tape, since_ns)
        rows, cursors = cursors_ns(tape, start, min(start + count, now))
        last = cursors[-1] if cursors else since_ns
        texts = trade_rows(tape.spec, rows, cursors)
        return _text(f'{{"error":[],"result":{{"{pair_id(tape.spec)}":[{texts}],"last":"{last}"}}}}')

    async def _unknown(self, request: web.Request) -> web.Response:
        return _refuse("EGeneral:Unknown method")


def _cursor_ns(text: str) -> int | None:
    """Read `since`: seconds, with or without a fraction, or nanoseconds; None where it is no number."""
    whole, _, fraction = text.partition(".")
    if not whole.isdecimal() or len(whole) > 19 or not (fraction or "0").isdecimal():
        return None
    if len(whole) > _SECONDS_DIGITS_MAX:
        return int(whole)
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def _answer(result: dict[str, Any]) -> web.Response:
    return _text(json.dumps({"error": [], "result": result}, separators=(",", ":")))


def _refuse(error: str) -> web.Response:
    return _text(json.dumps({"error": [error]}))


def _text(body: str) -> web.Response:
    return web.Response(text=body, content_type="application/json")
