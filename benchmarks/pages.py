"""A venue's history over REST, in a process of its own: rows rendered beforehand, pages cut from them when asked for.

Every symbol has the same rows. They end when the server starts.
"""

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import uvloop
from loopback import listen
from venue_rest import ExchangeClock, Listings, VenueName, symbols

Kind = Literal["klines", "aggTrades", "Trades"]

PAGE_ROWS = 1000
_MINUTE_S = 60


@dataclass(frozen=True)
class History:
    """So many rows of each of some symbols."""

    kind: Kind
    symbols: int
    rows: int

    @property
    def venue(self) -> VenueName:
        """Whose history it is."""
        return "kraken" if self.kind == "Trades" else "binance"

    @property
    def days(self) -> int:
        """How many days back the rows reach: candles one a minute, trades 100,000 a day."""
        return -(-self.rows // (1440 if self.kind == "klines" else 100_000))


def serve_history(ready: Callable[[int], None], history: History) -> None:
    """Serve `history` for ever; tells its port."""
    uvloop.run(_serve(ready, history))


async def _serve(ready: Callable[[int], None], history: History) -> None:
    pages = Pages(history, int(time.time()))
    listings = Listings(symbols(history.venue, history.symbols), ExchangeClock())

    def answer(path: str, query: Mapping[str, str]) -> bytes:
        return pages.answer(query) if path.endswith(history.kind) else listings.answer(path, query)

    ready(await listen(answer))
    await asyncio.get_running_loop().create_future()


class Pages:
    """Cuts pages as the venue would."""

    def __init__(self, history: History, now_s: int) -> None:
        self._kind = history.kind
        number = history.rows
        if history.kind == "klines":
            end_s = now_s // _MINUTE_S * _MINUTE_S
            self.times = [(end_s - (number - at) * _MINUTE_S) * 1000 for at in range(number)]
            self._rows = [_kline(time_ms, at) for at, time_ms in enumerate(self.times)]
            return
        # Evenly over the days asked for, so that the range is filled from its start to its end.
        span_ns = history.days * 86_400 * 10**9
        first_ns = now_s * 10**9 - span_ns
        self.times = [first_ns + (at + 1) * (span_ns // (number + 1)) // 1000 * 1000 for at in range(number)]
        if history.kind == "aggTrades":
            self.times = [time_ns // 1_000_000 for time_ns in self.times]
            self._rows = [_aggregate(time_ms, at) for at, time_ms in enumerate(self.times)]
        else:
            self._rows = [_trade(time_ns, at) for at, time_ns in enumerate(self.times)]

    def answer(self, query: Mapping[str, str]) -> bytes:
        """Return the page that is asked for."""
        if self._kind == "Trades":
            since = int(query["since"])
            start = bisect_right(self.times, since)
            stop = min(start + int(query["count"]), len(self.times))
            last = self.times[stop - 1] if stop > start else since
            return b'{"error":[],"result":{"X":[%s],"last":"%d"}}' % (b",".join(self._rows[start:stop]), last)
        limit = int(query["limit"])
        if "fromId" in query:
            start = max(0, int(query["fromId"]) - 1)
        else:
            start = bisect_left(self.times, int(query["startTime"]))
        end = bisect_right(self.times, int(query["endTime"])) if "endTime" in query else len(self.times)
        return b"[%s]" % b",".join(self._rows[start : min(start + limit, end)])

    def bodies(self) -> list[bytes]:
        """Return all pages in order, each as long as they get."""
        head, tail = (b'{"error":[],"result":{"X":[', b'],"last":"0"}}') if self._kind == "Trades" else (b"[", b"]")
        return [head + b",".join(self._rows[at : at + PAGE_ROWS]) + tail for at in range(0, len(self._rows), PAGE_ROWS)]


def _kline(time_ms: int, at: int) -> bytes:
    price = 100 + at % 97 / 8
    return (
        f'[{time_ms},"{price:.8f}","{price + 1.5:.8f}","{price - 1.25:.8f}","{price + 0.5:.8f}",'
        f'"{at % 89 + 0.125:.8f}",'
        f'{time_ms + 59_999},"{price * 7:.8f}",{at % 37 + 1},"3.12500000","312.50000000","0"]'
    ).encode()


def _aggregate(time_ms: int, at: int) -> bytes:
    price = 100 + at % 97 / 8
    return (
        f'{{"a":{at + 1},"p":"{price:.8f}","q":"{at % 89 / 8 + 0.125:.8f}","f":{at + 1},"l":{at + 1},'
        f'"T":{time_ms},"m":{"true" if at % 3 else "false"},"M":true}}'
    ).encode()


def _trade(time_ns: int, at: int) -> bytes:
    price = 100 + at % 97 / 8
    seconds, nanos = divmod(time_ns, 10**9)
    return (
        f'["{price:.5f}","{at % 89 / 8 + 0.125:.8f}",{seconds}.{nanos // 100:07d},"{"b" if at % 3 else "s"}",'
        f'"m","",{at + 1}]'
    ).encode()
