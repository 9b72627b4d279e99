"""What ccxt hands to its watchers, as records: trades once each, candles where they have changed.

ccxt's caches are emptied (trades) or compared (candles) while the frame is being read. Rows of candles are live
references, overwritten in place: they are copied. There is no closed flag.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheByTimestamp

from fullon_exchange.ccxt_adapter.dialects import Dialect
from fullon_exchange.ccxt_adapter.rows import Quiet, Unreadable, candle_of, in_order, trade_of
from fullon_exchange.errors import excerpt_of
from fullon_exchange.records import Candle, Trade
from fullon_exchange.wire import CandlesFrame, Fault, Key, TradesFrame

_SEEN_MAX = 256
"""Ids kept of each market: more than a snapshot after a reconnect repeats."""
_NEWEST = 4

Frame = tuple[Key, TradesFrame | CandlesFrame]


class Seen:
    """The last trade ids of each market, across connections."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}
        self._order: dict[str, deque[str]] = {}

    def add(self, trade: Trade) -> bool:
        """Note a trade; False where it has been seen."""
        ids = self._ids.setdefault(trade.symbol, set())
        if trade.trade_id in ids:
            return False
        order = self._order.setdefault(trade.symbol, deque())
        ids.add(trade.trade_id)
        order.append(trade.trade_id)
        if len(order) > _SEEN_MAX:
            ids.discard(order.popleft())
        return True


class Streams:
    """Reads the results of one connection."""

    def __init__(self, raw: Any, dialect: Dialect, seen: Seen) -> None:
        self._raw = raw
        self._dialect = dialect
        self._seen = seen
        self._caches: dict[int, tuple[Any, Key, str]] = {}
        """Candle caches by identity, kept alive so that an identity stays one."""
        self._told: dict[Key, dict[Any, list[Any]]] = {}

    def forget(self, key: Key) -> None:
        """Start anew with a market: what ccxt still holds of it is from before."""
        self._told.pop(key, None)
        channel, symbol = key
        if channel == "trades":
            kept = self._raw.trades.get(symbol)
        else:
            by_timeframe = self._raw.ohlcvs.get(symbol)
            kept = by_timeframe.get(channel.removeprefix("candles")) if isinstance(by_timeframe, dict) else None
        if isinstance(kept, (ArrayCache, ArrayCacheByTimestamp)):
            kept.clear()

    def read(self, result: Any, latest_us: int) -> Iterator[Frame]:
        """Yield what a result says, market by market; rows later than `latest_us` are faults."""
        if isinstance(result, ArrayCacheByTimestamp):
            yield from self._read_candles(result, latest_us)
        elif isinstance(result, (list, tuple)) and any(isinstance(part, ArrayCacheByTimestamp) for part in result):
            for part in result:
                if isinstance(part, ArrayCacheByTimestamp):
                    yield from self._read_candles(part, latest_us)
        elif isinstance(result, ArrayCache):
            rows = list(result)
            result.clear()
            yield from self._read_trades(rows, latest_us)
        elif isinstance(result, list) and all(isinstance(row, Mapping) and "price" in row for row in result):
            yield from self._read_trades(result, latest_us)

    def _read_trades(self, rows: Sequence[Any], latest_us: int) -> Iterator[Frame]:
        by_symbol: dict[str, tuple[list[Trade], list[Fault]]] = {}
        for row in rows:
            trades, faults = by_symbol.setdefault(str(row.get("symbol")), ([], []))
            try:
                trade = trade_of(row, str(row.get("symbol")), self._dialect.live_time_us(row))
            except Unreadable as error:
                faults.append(Fault("row", excerpt_of(f"{error} in {row.get('info', row)}")))
                continue
            if trade.timestamp_us > latest_us:
                faults.append(Fault("time", f"{trade.symbol} {trade.timestamp_us}"))
            else:
                trades.append(trade)
                if not trade.volume:
                    faults.append(Fault("void", trade.symbol))
        for symbol, (trades, faults) in by_symbol.items():
            fresh = [trade for trade in in_order(trades) if self._seen.add(trade)]
            yield ("trades", symbol), TradesFrame(fresh, faults)

    def _read_candles(self, cache: Any, latest_us: int) -> Iterator[Frame]:
        identity = self._identity(cache)
        if identity is None:
            return
        key, name = identity
        timeframe = self._dialect.timeframe(name)
        told = self._told.get(key, {})
        newest = {row[0]: list(row) for row in cache[-_NEWEST:]}
        records: list[Candle] = []
        faults: list[Fault] = []
        for time_ms in sorted(newest, key=lambda value: (value is None, value)):
            row = newest[time_ms]
            if told.get(time_ms) == row:
                continue
            try:
                candle = candle_of(row, key[1], timeframe, closed=False)
            except Quiet:
                continue
            except Unreadable as error:
                faults.append(Fault("row", excerpt_of(f"{error} in {row}")))
                continue
            if candle.timestamp_us > latest_us:
                faults.append(Fault("time", f"{key[1]} {time_ms}"))
            else:
                records.append(candle)
        self._told[key] = newest
        yield key, CandlesFrame(records, faults)

    def _identity(self, cache: Any) -> tuple[Key, str] | None:
        """Return which market and timeframe ccxt keeps in `cache`; None where it is kept nowhere."""
        known = self._caches.get(id(cache))
        if known is not None:
            return known[1], known[2]
        for symbol, by_timeframe in self._raw.ohlcvs.items():
            if not isinstance(by_timeframe, dict):
                continue
            for name, kept in by_timeframe.items():
                if kept is cache:
                    key: Key = (f"candles{name}", symbol)  # type: ignore[assignment]  # built from a timeframe
                    self._caches[id(cache)] = cache, key, name
                    return key, name
        return None
