"""Who owns the handlers: one factory for each event loop, opened on first use, closed on request."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Protocol

from fullon_exchange.interface import Exchange
from fullon_exchange.queue.rest import RestHandler
from fullon_exchange.queue.websocket import WebsocketHandler
from fullon_exchange.registry import open_exchange
from fullon_log import get_component_logger

CredentialProvider = Callable[[Any], object]
"""Accepted as documented and never called: everything here is public data, so no secret is ever needed."""


class _NamedExchange(Protocol):
    @property
    def name(self) -> str: ...


class ExchangeObject(Protocol):
    """What a handler needs to know of an account; `fullon_orm.models.Exchange` has it."""

    @property
    def ex_id(self) -> Any: ...
    @property
    def uid(self) -> Any: ...
    @property
    def test(self) -> Any: ...
    @property
    def cat_exchange(self) -> _NamedExchange: ...


class ExchangeQueue:
    """Connected handlers, cached for each account; the face of the package.

    Initialising is optional: the first handler does it. Shut down in the loop that got the handlers.
    """

    _factory: ClassVar["_Factory | None"] = None

    @classmethod
    async def initialize_factory(cls) -> None:
        """Make ready; harmless when it is."""
        await cls._current()

    @classmethod
    async def shutdown_factory(cls) -> None:
        """Close every handler and session; harmless when nothing is open."""
        factory, cls._factory = cls._factory, None
        if factory is not None and factory.is_of_this_loop():
            await factory.close()

    @classmethod
    async def get_rest_handler(
        cls, exchange_obj: ExchangeObject, credential_provider: CredentialProvider | None = None
    ) -> RestHandler:
        """Return the connected REST handler of this account, the same one each time.

        Raises:
            UnknownExchange: no exchange of this name; lists near names.
            TransientExchangeError: the venue cannot be reached.
        """
        return await (await cls._current()).rest(exchange_obj)

    @classmethod
    async def get_websocket_handler(
        cls, exchange_obj: ExchangeObject, credential_provider: CredentialProvider | None = None
    ) -> WebsocketHandler:
        """Return the connected WebSocket handler of this account, the same one each time.

        Raises:
            UnknownExchange: no exchange of this name; lists near names.
        """
        return await (await cls._current()).websocket(exchange_obj)

    @classmethod
    async def _current(cls) -> "_Factory":
        if cls._factory is None or not cls._factory.is_of_this_loop():
            cls._factory = _Factory()
        return cls._factory


class _Factory:
    """The exchanges and handlers of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._exchanges: dict[str, Exchange] = {}
        self._rest: dict[tuple[object, ...], RestHandler] = {}
        self._websocket: dict[tuple[object, ...], WebsocketHandler] = {}
        self._stopping = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._host: asyncio.Task[None] | None = None

    def is_of_this_loop(self) -> bool:
        """Tell whether the factory belongs to the running event loop; one of a loop that has ended is of no use."""
        return self._loop is asyncio.get_running_loop()

    async def rest(self, exchange_obj: ExchangeObject) -> RestHandler:
        """Return the REST handler of an account, connected."""
        async with self._lock:
            key = _key(exchange_obj)
            if key not in self._rest:
                self._rest[key] = RestHandler(await self._exchange(exchange_obj))
            if not self._rest[key].is_connected():
                await self._rest[key].connect()
            return self._rest[key]

    async def websocket(self, exchange_obj: ExchangeObject) -> WebsocketHandler:
        """Return the WebSocket handler of an account, connected."""
        async with self._lock:
            key = _key(exchange_obj)
            if key not in self._websocket:
                exchange = await self._exchange(exchange_obj)
                await self._start_host()
                self._websocket[key] = WebsocketHandler(
                    exchange, self._spawn, uid=exchange_obj.uid, ex_id=exchange_obj.ex_id
                )
            await self._websocket[key].connect()
            return self._websocket[key]

    async def close(self) -> None:
        """Close everything; the sockets before what they use."""
        async with self._lock:
            for handler in self._websocket.values():
                await handler.disconnect()
            self._stopping.set()
            if self._host is not None:
                await self._host
            for rest in self._rest.values():
                await rest.disconnect()
            for exchange in self._exchanges.values():
                await exchange.__aexit__(None, None, None)
            self._exchanges.clear()

    async def _exchange(self, exchange_obj: ExchangeObject) -> Exchange:
        """Return the venue that all its accounts share: what is read here is the same for everybody."""
        name = exchange_obj.cat_exchange.name
        if name not in self._exchanges:
            self._exchanges[name] = await open_exchange(name).__aenter__()
        return self._exchanges[name]

    async def _start_host(self) -> None:
        """Start the one task that hosts the sessions: a task group cannot outlive the task that opened it,
        and whoever gets a handler first may end long before the handler does.
        """
        if self._host is None:
            ready = asyncio.Event()
            self._host = self._loop.create_task(self._host_sessions(ready), name="fullon_exchange.queue")
            await ready.wait()

    async def _host_sessions(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._group:
            ready.set()
            await self._stopping.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        if self._group is None:
            raise RuntimeError("the factory has been shut down")
        return self._group.create_task(self._supervised(work))

    async def _supervised(self, work: Coroutine[Any, Any, None]) -> None:
        """Keep a defect of one venue's session from ending those of the others."""
        try:
            await work
        except Exception:  # noqa: BLE001 -- the supervisor's: told in full, the handler says it is not connected
            get_component_logger("fullon.exchange.queue").exception("a live session failed")


def _key(exchange_obj: ExchangeObject) -> tuple[object, ...]:
    return (exchange_obj.ex_id, exchange_obj.uid, exchange_obj.cat_exchange.name)
