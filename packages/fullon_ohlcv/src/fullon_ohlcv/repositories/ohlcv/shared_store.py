"""One store per event loop and database for all repositories, closed by the last that leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from fullon_ohlcv.connection import Target
from fullon_ohlcv.store import TimeseriesStore


@dataclass
class _Shared:
    users: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    store: TimeseriesStore | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Target, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_store(*, test: bool) -> AsyncIterator[TimeseriesStore]:
    """Lend the store of this loop and of the database that the environment names now."""
    stores = _shared.setdefault(asyncio.get_running_loop(), {})
    target = Target.from_env(test=test)
    shared = stores.setdefault(target, _Shared())
    shared.users += 1
    try:
        async with shared.opening:
            if shared.store is None:
                shared.store = await shared.stack.enter_async_context(TimeseriesStore.open(test=test))
        yield shared.store
    finally:
        shared.users -= 1
        if shared.users == 0:
            stores.pop(target, None)
            await shared.stack.aclose()
