"""What the repositories of a symbol have in common: one shared store, and the symbol's relations."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Self

import arrow

from fullon_log import get_component_logger
from fullon_ohlcv.edges import read_newest, read_oldest
from fullon_ohlcv.records import Series, WriteResult
from fullon_ohlcv.repositories.ohlcv.shared_store import shared_store
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import from_us, to_us

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

Moment = datetime | arrow.Arrow
"""An aware point in time."""

EdgeReader = Callable[["AnyConnection", Collection[Series]], Awaitable[dict[Series, int]]]

REPORTED_MAX = 100
"""How many refused rows of one call are logged one by one; all of them are in `rejected`."""


class OHLCVBaseRepository:
    """One symbol of one exchange; `async with …(exchange, symbol) as repository`, or `initialize()` and `close()`.

    Repositories of one event loop and one database share a pool of connections. `test` takes `DB_TEST_NAME`
    instead of `DB_OHLCV_NAME`.
    """

    channel = "candles1m"

    def __init__(self, exchange: str, symbol: str, test: bool = False) -> None:
        self.exchange = exchange
        self.symbol = symbol
        self.test = test
        self.rejected: list[tuple[object, str]] = []
        """The rows that the last save refused, each with a sentence."""
        self._store: TimeseriesStore | None = None
        self._stack = AsyncExitStack()
        self._log = get_component_logger(f"fullon.ohlcv.store.{exchange}.{symbol}")

    async def initialize(self) -> Self:
        """Connect; create database and schema where missing. Does nothing when done already.

        Raises:
            StorageUnavailable, StorageMisconfigured, SchemaMismatch: see `TimeseriesStore.open`.
        """
        if self._store is None:
            self._store = await self._stack.enter_async_context(shared_store(test=self.test))
        return self

    async def close(self) -> None:
        """Let go of the store; may be called again."""
        self._store = None
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return await self.initialize()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def store(self) -> TimeseriesStore:
        """The store behind this repository.

        Raises:
            RuntimeError: the repository is not open.
        """
        if self._store is None:
            raise RuntimeError(f"{type(self).__name__} is not open: use `async with` or await initialize() first")
        return self._store

    async def init_symbol(self, main: str = "view") -> bool:
        """Create the documented relations of this symbol; see `TimeseriesStore.init_symbol`."""
        return await self.store.init_symbol(self.exchange, self.symbol, main)

    async def get_latest_timestamp(self) -> arrow.Arrow | None:
        """Return the time of the newest row, None where there is none."""
        return await self._edge(read_newest)

    async def get_oldest_timestamp(self) -> arrow.Arrow | None:
        """Return the time of the oldest row, None where there is none."""
        return await self._edge(read_oldest)

    async def _series(self, channel: str) -> Series:
        return await self.store.series(self.exchange, self.symbol, channel)

    async def _edge(self, read: EdgeReader) -> arrow.Arrow | None:
        series = await self.store.find_series(self.exchange, self.symbol, self.channel)
        if series is None:
            return None
        async with self.store.connection("find the edge of a series") as connection:
            found = await read(connection, [series])
        return arrow.get(from_us(found[series])) if series in found else None

    def _report(self, result: WriteResult) -> bool:
        """Name every refused row; whether there was none."""
        self.rejected = result.rejected
        for row, reason in result.rejected[:REPORTED_MAX]:
            self._log.warning("row refused", reason=reason, row=repr(row)[:200])
        if len(result.rejected) > REPORTED_MAX:
            self._log.warning("more rows refused", count=len(result.rejected) - REPORTED_MAX)
        return not result.rejected


def moment_us(moment: Moment) -> int:
    """Return an aware datetime or Arrow as microseconds since the epoch.

    Raises:
        ValueError: it has no time zone.
        TypeError: it is something else.
    """
    if isinstance(moment, arrow.Arrow):
        return to_us(moment.datetime)
    if isinstance(moment, datetime):
        return to_us(moment)
    raise TypeError(f"{moment!r} is no point in time; allowed are aware datetimes and Arrow objects")
