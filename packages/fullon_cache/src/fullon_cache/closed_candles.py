"""The channel `ohlcv:closed`: one message for every minute of a symbol that live collection has proved and stored."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, Literal

import msgspec

from fullon_cache.base_cache import BaseCache
from fullon_cache.connection_pool import ConnectionPool
from fullon_cache.errors import ConnectionError, SerializationError

CLOSED_CHANNEL = "ohlcv:closed"
POLL_S = 1.0
SILENT_MAX_S = 15.0
"""After this long without a message the server is asked whether it is still there."""


class ClosedCandle(msgspec.Struct, frozen=True, kw_only=True):
    """A minute that has closed and is committed to the database.

    `timestamp` is its opening, `closed_at` when it was told; both aware UTC. Of a minute that is `verified_empty`
    there is no candle: prices are None, volume and trades 0. `trades` is None where the exchange does not count them.
    """

    exchange: str
    symbol: str
    timeframe: str = "1m"
    timestamp: datetime
    state: Literal["traded", "verified_empty"]
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float
    trades: int | None
    closed_at: datetime


def closed_channel(database: int) -> str:
    """Return the channel of a logical database: `ohlcv:closed`, and `ohlcv:closed@2` of number 2.

    Redis itself knows no databases in its channels; two daemons with databases of their own are kept apart here.
    """
    return f"{CLOSED_CHANNEL}@{database}" if database else CLOSED_CHANNEL


_decoder = msgspec.json.Decoder(ClosedCandle)


class ClosedCandles(BaseCache):
    """Tells of closed candles; `watch_closed` hears of them."""

    async def publish(self, candles: Sequence[ClosedCandle]) -> None:
        """Tell whoever listens of these candles, in their order, in one round trip.

        Raises:
            ConnectionError: Redis cannot take them now; some may have been told.
        """
        pool = await self._shared_pool()
        channel = closed_channel(pool.settings.database)
        await pool.run_all([("PUBLISH", channel, msgspec.json.encode(candle)) for candle in candles])


@asynccontextmanager
async def watch_closed(
    exchange: str | None = None, symbols: Collection[str] | None = None
) -> AsyncIterator[AsyncIterator[ClosedCandle]]:
    """Hear of candles as they close: `async with watch_closed("kraken") as candles`, then `async for … in candles`.

    Of one exchange or of all, of these symbols or of all; whatever closes from the moment it is entered. A message is
    told once, to those who listen then. So when the connection is lost the iteration ends with an error instead of
    going on with a hole: watch again, and read what was missed from the database.

    Raises:
        ConnectionError: Redis cannot be reached, has gone or is silent; retryable.
        SerializationError: something else was published on this channel.
    """
    pool = await ConnectionPool.shared()
    async with aclosing(pool.client.pubsub()) as pubsub:
        await pool.bounded(pubsub.subscribe(closed_channel(pool.settings.database)))
        if await pool.bounded(pubsub.get_message(timeout=pool.settings.socket_timeout_s)) is None:
            raise ConnectionError(pool.settings.address, "no answer in time")
        async with aclosing(_heard(pool, pubsub, exchange, symbols)) as candles:
            yield candles


async def _heard(
    pool: ConnectionPool, pubsub: Any, exchange: str | None, symbols: Collection[str] | None
) -> AsyncGenerator[ClosedCandle, None]:
    heard_s = time.monotonic()
    is_asked = False
    while True:
        message = await pool.bounded(pubsub.get_message(timeout=POLL_S), within_s=POLL_S)
        silent_s = time.monotonic() - heard_s
        if message is not None:
            heard_s, is_asked = time.monotonic(), False
            if message["type"] != "message":
                continue
            candle = _decoded(message["channel"].decode(), message["data"])
            if exchange in (None, candle.exchange) and (symbols is None or candle.symbol in symbols):
                yield candle
        elif is_asked and silent_s > SILENT_MAX_S + pool.settings.socket_timeout_s:
            raise ConnectionError(pool.settings.address, "no answer in time")
        elif not is_asked and silent_s > SILENT_MAX_S:
            is_asked = True
            await pool.bounded(pubsub.ping())


def _decoded(channel: str, text: bytes) -> ClosedCandle:
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise SerializationError(channel, f"holds something else than a closed candle: {error}") from error
