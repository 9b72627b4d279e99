"""The newest candles, for readers that want no database.

    ohlcv:{symbol}:{timeframe}               list of JSON bars, oldest first, the newest 10,000
    ohlcv:{exchange}:{symbol}:{timeframe}    the same of one exchange

A bar is `[timestamp, open, high, low, close, volume, …]`: first the open time in milliseconds.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from fullon_cache.base_cache import BaseCache, from_json, to_json
from fullon_cache.errors import SerializationError

BARS_MAX: Final = 10_000

Bar: TypeAlias = list[float]

# Takes the bars at and after the first new one off the end and puts them back merged with the new, which win;
# or takes all off. Its first write is refused where memory has run out, before anything has been taken off.
_WRITE = """
local merged, times = {}, {}
local function add(time, bar)
  if not merged[time] then times[#times + 1] = time end
  merged[time] = bar
end
redis.call('RPUSH', KEYS[1], ARGV[5])
redis.call(ARGV[2] == 'replace' and 'DEL' or 'RPOP', KEYS[1])
while true do
  local bar = redis.call('LINDEX', KEYS[1], -1)
  local time = bar and cjson.decode(bar)[1]
  if not time or time < tonumber(ARGV[3]) then break end
  add(time, bar)
  redis.call('RPOP', KEYS[1])
end
for i = 4, #ARGV, 2 do add(tonumber(ARGV[i]), ARGV[i + 1]) end
table.sort(times)
for _, time in ipairs(times) do redis.call('RPUSH', KEYS[1], merged[time]) end
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
return 1
"""


class OHLCVCache(BaseCache):
    """The newest bars of symbols and timeframes."""

    async def update_ohlcv_bars(self, symbol: str, timeframe: str, bars: Sequence[Sequence[float]]) -> None:
        """Add bars, in any order; one of the same time as a stored one replaces it (a bar in progress, say).

        Raises:
            ValueError: a bar does not begin with a number.
            SerializationError: JSON cannot hold a bar.
            ConnectionError: retryable, as often as you like.
        """
        await self._write(_key(symbol, timeframe), bars, "merge")

    async def get_latest_ohlcv_bars(self, symbol: str, timeframe: str, count: int) -> list[Bar]:
        """Return the newest `count` bars, oldest first; [] if there are none.

        Raises:
            SerializationError: an entry is no bar.
        """
        return await self._read(_key(symbol, timeframe), count)

    async def set_ohlcv(self, exchange: str, symbol: str, timeframe: str, bars: Sequence[Sequence[float]]) -> None:
        """Replace the bars of an exchange's symbol, at once for every reader; the newest 10,000 stay.

        Raises: as `update_ohlcv_bars`.
        """
        await self._write(_key(exchange, symbol, timeframe), bars, "replace")

    async def get_ohlcv(self, exchange: str, symbol: str, timeframe: str) -> list[Bar]:
        """Return all bars of an exchange's symbol, oldest first; [] if there are none.

        Raises:
            SerializationError: an entry is no bar.
        """
        return await self._read(_key(exchange, symbol, timeframe), BARS_MAX)

    async def _write(self, key: str, bars: Sequence[Sequence[float]], mode: Literal["merge", "replace"]) -> None:
        newest = sorted(((_timestamp(bar), bar) for bar in bars), key=lambda item: item[0])[-BARS_MAX:]
        if not newest:
            if mode == "replace":
                await self.delete(key)
            return
        # The server compares what it reads back as JSON, so the time goes there in the same form.
        texts = [text for time, bar in newest for text in (repr(time), to_json(key, bar))]
        await self._run_script(_WRITE, key, BARS_MAX, mode, repr(newest[0][0]), *texts)

    async def _read(self, key: str, count: int) -> list[Bar]:
        # For Redis, -0 is the first entry, not none.
        if count < 1:
            return []
        return [_bar(key, text) for text in await self._run("LRANGE", key, -count, -1)]


def _key(*names: str) -> str:
    return ":".join(("ohlcv", *names))


def _timestamp(bar: Sequence[float]) -> float:
    if not bar or not isinstance(bar[0], int | float) or not math.isfinite(bar[0]):
        raise ValueError(f"bar is {bar!r}; allowed is [timestamp in ms, open, high, low, close, volume]")
    return bar[0]


def _bar(key: str, text: bytes) -> Bar:
    bar = from_json(key, text)
    if not isinstance(bar, list):
        raise SerializationError(key, f"holds {bar!r} in place of a bar")
    return bar
