"""Collectors that are run by hand: which symbols they take, and the status records they keep meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from fullon_cache import CacheError, ProcessCache, ProcessUpdate
from fullon_cache.process_cache import ProcessStatus, ProcessType
from fullon_log import get_component_logger
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_orm.models import Symbol

STOP_S = 1.5


async def choose_symbols(symbols: Collection[Symbol] | None, config: OhlcvServiceConfig) -> set[WantedSymbol]:
    """Return the given symbols, or those of the database where none are given.

    Raises:
        ValueError: one of them is no symbol with a name and an exchange.
    """
    if symbols is None:
        return await load_wanted_symbols(config)
    return {WantedSymbol.from_orm(symbol) for symbol in symbols}


@asynccontextmanager
async def status_records(
    cache: ProcessCache, wanted: Callable[[], Collection[WantedSymbol]], kind: str, interval_s: float
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Keep a status record alive for each wanted symbol: component `exchange:symbol`, `params["type"]` the kind.

    Yields what brings them up to date at once. They are marked stopped on leaving. A Redis that is away is said
    once and hurts nothing.
    """
    records = _Records(cache, wanted, kind)
    await records.beat()
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(records.keep_beating(interval_s))
        try:
            yield records.beat
        finally:
            beating.cancel()
            await records.stop()


class _Records:
    def __init__(self, cache: ProcessCache, wanted: Callable[[], Collection[WantedSymbol]], kind: str) -> None:
        self._cache = cache
        self._wanted = wanted
        self._kind = kind
        self._ids: dict[str, str] = {}
        self._said = ""
        self._log = get_component_logger("fullon.cache.process")

    async def keep_beating(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await self.beat()

    async def beat(self) -> None:
        try:
            unknown = await self._cache.update_processes(dict.fromkeys(self._ids.values(), ProcessUpdate()))
            self._ids = {component: each for component, each in self._ids.items() if each not in unknown}
            for one in sorted(self._wanted()):
                if str(one) not in self._ids:
                    params = {"type": self._kind, "exchange": one.exchange, "symbol": one.symbol}
                    self._ids[str(one)] = await self._cache.register_process(
                        ProcessType.OHLCV, str(one), params=params, status=ProcessStatus.RUNNING
                    )
            self._said = ""
        except CacheError as error:
            self._say(str(error))

    async def stop(self) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                stopped = ProcessUpdate(ProcessStatus.STOPPED, "stopped")
                await self._cache.update_processes(dict.fromkeys(self._ids.values(), stopped))
        except (TimeoutError, CacheError) as error:
            self._say(str(error) or "redis did not answer")

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            self._log.warning("status records not kept", type=self._kind, why=why)
