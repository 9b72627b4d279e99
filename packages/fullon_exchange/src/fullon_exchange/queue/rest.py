"""History of one venue as plain rows and dicts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fullon_exchange.clock import Clock
from fullon_exchange.errors import NotSupported
from fullon_exchange.interface import Exchange
from fullon_exchange.queue.priority import Priority
from fullon_exchange.records import Page, Record
from fullon_exchange.timeframes import HOUR_US, parse_timeframe

OhlcvRow = list[float]
"""`[ts_ms, open, high, low, close, volume]`; `ts_ms` is the open time."""

_OHLCV_DEFAULT = 500
_DEFAULT_PRIORITY = Priority()


class RestHandler:
    """REST of one account's venue; get it from `ExchangeQueue.get_rest_handler`."""

    def __init__(self, exchange: Exchange, *, clock: Clock | None = None) -> None:
        self.exchange = exchange
        self._clock = clock if clock is not None else Clock.from_env()
        self._connected = False

    async def connect(self) -> None:
        """Load the venue's markets; harmless when connected.

        Raises:
            TransientExchangeError: the venue cannot be reached.
        """
        await self.exchange.fetch_listings()
        self._connected = True

    async def disconnect(self) -> None:
        """Stop using the venue; harmless when disconnected. The shared session closes with the factory."""
        self._connected = False

    def is_connected(self) -> bool:
        """Tell whether the venue has been reached."""
        return self._connected

    async def get_ohlcv(
        self,
        symbol: str,
        timeframe: str = "1m",
        since: int | None = None,
        limit: int | None = None,
        *,
        priority: Priority = _DEFAULT_PRIORITY,
    ) -> list[OhlcvRow]:
        """Return closed candles from `since` (milliseconds), oldest first; without it the newest ones.

        At most `limit` rows: without it everything from `since` on, or the newest 500.

        Raises:
            NotSupported: the venue has no candles of this timeframe.
            UnknownSymbol: not listed.
            ValueError: `limit` below 1, or a timeframe that is none.
        """
        _check_limit(limit)
        now_us = self._clock.now_us()
        count = limit if limit is not None else _OHLCV_DEFAULT
        step_us = parse_timeframe(timeframe).step_us or 31 * 24 * HOUR_US
        start_us = since * 1000 if since is not None else now_us - (count + 2) * step_us
        pages = self.exchange.fetch_candles(symbol, timeframe, start_us, now_us, urgency=priority.urgency)
        records = await _collect(pages, limit if since is not None else None, priority.timeout)
        if since is None:
            records = records[-count:]
        return [[row.timestamp_us // 1000, row.open, row.high, row.low, row.close, row.volume] for row in records]

    async def get_public_trades(
        self,
        symbol: str,
        since: float | None = None,
        limit: int = 1000,
        *,
        priority: Priority = _DEFAULT_PRIORITY,
    ) -> list[dict[str, Any]]:
        """Return public trades from `since` (epoch seconds), oldest first; without it the newest of the last hour.

        Each has `id`, `symbol`, `timestamp` (milliseconds), `price`, `amount`, `cost`, `side` (the taker's) and
        `type` (`market`, `limit` or empty).

        Raises:
            NotSupported: the venue serves no trades of the past.
            UnknownSymbol: not listed.
            ValueError: `limit` below 1.
        """
        _check_limit(limit)
        if not self.exchange.traits.trade_history:
            raise NotSupported("trades of the past are not served", exchange=self.exchange.name, symbol=symbol)
        now_us = self._clock.now_us()
        start_us = round(since * 1_000_000) if since is not None else now_us - HOUR_US
        pages = self.exchange.fetch_trades(symbol, start_us, now_us, urgency=priority.urgency)
        records = await _collect(pages, limit if since is not None else None, priority.timeout)
        return [
            {
                "id": row.trade_id,
                "symbol": row.symbol,
                "timestamp": row.timestamp_us // 1000,
                "price": row.price,
                "amount": row.volume,
                "cost": row.price * row.volume,
                "side": row.side,
                "type": row.order_type,
            }
            for row in records[-limit:]
        ]

    def needs_trades_for_ohlcv(self) -> bool:
        """Tell whether this venue's 1m candles are to be built from its trades."""
        return self.exchange.traits.candles_from_trades

    def supports_ohlcv(self) -> bool:
        """Tell whether the venue has candles."""
        return bool(self.exchange.traits.timeframes)

    def supports_1m_ohlcv(self) -> bool:
        """Tell whether the venue has candles of one minute."""
        return "1m" in self.exchange.traits.timeframes

    def get_supported_timeframes(self) -> list[str]:
        """Return the venue's timeframes, shortest first."""
        return list(self.exchange.traits.timeframes)


async def _collect(pages: AsyncIterator[Page[Record]], limit: int | None, timeout_s: float | None) -> list[Record]:
    """Return the records of all pages, or the first `limit` of them."""
    records: list[Record] = []
    async with asyncio.timeout(timeout_s), aclosing(pages) as open_pages:  # type: ignore[type-var]  # a generator, declared as an iterator
        async for page in open_pages:
            records += page.records
            if limit is not None and len(records) >= limit:
                return records[:limit]
    return records


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; allowed is 1 and above")
