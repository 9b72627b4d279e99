"""What every simulated venue has in common: one port, one schedule, one way out."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from copy import copy
from functools import partial
from typing import Protocol

from aiohttp import WSMsgType, web

from fullon_simulator.clock import MarketClock
from fullon_simulator.columns import TradeColumns
from fullon_simulator.errors import PortUnavailable
from fullon_simulator.port import Port
from fullon_simulator.schedule import Schedule, tick_s
from fullon_simulator.sockets import Connection, Counters, Frame, Outlet, new_socket
from fullon_simulator.tape import Tape

_SHUTDOWN_S = 2.0
_TOO_MANY_REQUESTS = 429

CONTROL_PATH = "/_control"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest(Protocol):
    """A venue's REST interface."""

    def routes(self) -> Mapping[str, Handler]:
        """Return the handlers by path; `POST /path` where it is not a GET."""

    def check(self, request: web.Request) -> web.Response | None:
        """Return a refusal where the client asks too often, else None."""


class Feed:
    """One symbol's live trades: how far the tape has been sent to whoever listens."""

    __slots__ = ("aggregate_position", "followers", "position", "symbol", "tape")

    def __init__(self, symbol: str, tape: Tape, now_us: int) -> None:
        self.symbol = symbol
        self.tape = tape
        self.followers = 0
        self.position = tape.position(now_us)
        self.aggregate_position = tape.aggregate_position(now_us)


class Venue(ABC):
    """A venue on a loopback port. What happened before the clock's now is visible, and nothing else."""

    name: str

    def __init__(
        self, tapes: Mapping[str, Tape], clock: MarketClock, rest: Rest, *, socket_paths: Iterable[str]
    ) -> None:
        self.tapes = tapes
        self.clock = clock
        self.counters = Counters()
        self.outlet = Outlet()
        self.schedule = Schedule()
        self.connections: set[Connection] = set()
        self.control: Handler | None = None
        """What answers on the paths under `CONTROL_PATH`, which no real venue has; no fault touches them."""
        self.origin = ""
        self._port: Port | None = None
        self._downs = 0
        self._tasks = asyncio.TaskGroup()
        self._rest = rest
        self._socket_paths = socket_paths
        self._feeds: dict[str, Feed] = {}
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def opened(self, connection: Connection, request: web.Request) -> None:
        """Greet a new client."""

    @abstractmethod
    def received(self, connection: Connection, text: str, now_us: int) -> None:
        """Answer a text message."""

    @abstractmethod
    def heard(self, connection: Connection, now_us: int) -> None:
        """Note a message of any kind, before it is answered."""

    @abstractmethod
    def left(self, connection: Connection) -> None:
        """Forget a client."""

    @abstractmethod
    def published(self, feed: Feed, rows: TradeColumns, now_us: int) -> None:
        """Send the trades that have become visible to whoever wants them."""

    @abstractmethod
    def flush(self, now_us: int) -> None:
        """Send what was gathered during this tick."""

    # --- live trades

    def follow(self, symbol: str, now_us: int) -> Feed:
        """Return the symbol's feed, brought up to `now_us`, with one follower more."""
        feed = self._feeds.get(symbol)
        if feed is None:
            feed = self._feeds[symbol] = Feed(symbol, self.tapes[symbol], now_us)
            self._expect(feed)
        else:
            self._publish(feed, now_us)
        feed.followers += 1
        return feed

    def unfollow(self, symbol: str) -> None:
        """Take one follower from the symbol's feed; the last one ends it."""
        feed = self._feeds[symbol]
        feed.followers -= 1
        if not feed.followers:
            del self._feeds[symbol]

    def reconsider(self, symbol: str) -> None:
        """Look again when the symbol trades next: its tape has changed from now on."""
        if symbol in self._feeds:
            # What was scheduled for the old feed finds that it is no longer the symbol's.
            feed = self._feeds[symbol] = copy(self._feeds[symbol])
            self._expect(feed)

    def _expect(self, feed: Feed) -> None:
        time_us = feed.tape.time_at(feed.position)
        if time_us is not None:
            self.schedule.at(time_us + 1, partial(self._advance, feed))

    def _advance(self, feed: Feed, now_us: int) -> None:
        if self._feeds.get(feed.symbol) is feed:
            self._publish(feed, now_us)
            self._expect(feed)

    def _publish(self, feed: Feed, now_us: int) -> None:
        stop = feed.tape.position(now_us)
        if stop > feed.position:
            rows = feed.tape.read(feed.position, stop)
            feed.position = stop
            self.published(feed, rows, now_us)

    # --- the port

    async def start(self, port: int) -> None:
        """Listen on loopback; port 0 takes a free one.

        Raises:
            PortUnavailable: the port is taken.
        """
        # No middleware: aiohttp keeps what is behind one in a cache of the process, and with it the whole market.
        app = web.Application()
        for route, handler in self._rest.routes().items():
            method, _, path = route.rpartition(" ")
            app.router.add_route(method or "GET", path, partial(self._pass, handler))
        for path in self._socket_paths:
            app.router.add_get(path, partial(self._pass, self._serve_socket))
        if self.control is not None:
            app.router.add_route("*", f"{CONTROL_PATH}{{rest:(/.*)?}}", self.control)
        app.router.add_route("*", "/{rest:.*}", partial(self._pass, _refuse_path))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S, handle_signals=False)
        await self._runner.setup()
        try:
            self._port = Port(port)
        except OSError as error:
            await self._runner.cleanup()
            raise PortUnavailable(self.name, port, error.strerror or str(error)) from error
        self.origin = f"http://127.0.0.1:{self._port.number}"

    async def run(self, stopping: asyncio.Event) -> None:
        """Send what becomes visible, tick by tick, until `stopping` is set; then close sockets and port."""
        async with asyncio.TaskGroup() as self._tasks:
            self._open()
            while not stopping.is_set():
                self.tick(self.clock.now_us())
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), tick_s(self.clock))
            for connection in self.connections:
                connection.close(1001, "going away")
            if self._port is not None:
                self._port.close()
            if self._runner is not None:
                await self._runner.cleanup()

    def go_down(self) -> None:
        """Refuse connections, and at the next tick cut those there are, until `come_back` was called as often."""
        self._downs += 1
        if self._port is not None and self._downs == 1:
            self._port.shut()

    def come_back(self) -> None:
        """Take connections again, unless somebody else still keeps the venue down."""
        self._downs -= 1
        self._open()

    def _open(self) -> None:
        if self._port is not None and self._runner is not None and self._runner.server is not None and not self._downs:
            self._port.open(self._runner.server, self._tasks)

    def _cut(self) -> None:
        """End every connection there is."""
        if self._runner is not None and self._runner.server is not None:
            for client in self._runner.server.connections:
                if client.transport is not None:
                    client.transport.abort()

    def tick(self, now_us: int) -> None:
        """Do everything that is due by `now_us`."""
        if self._downs:
            self._cut()
        self.schedule.run(now_us)
        self.flush(now_us)

    def send(self, connection: Connection, frame: Frame, now_us: int) -> None:
        """Send a frame by way of the outlet."""
        for sent in self.outlet.frames(connection, frame):
            connection.send(sent, now_us)

    def ping(self, connection: Connection) -> None:
        """Send a ping frame, unless the outlet swallows it."""
        if self.outlet.beats(connection):
            connection.ping()

    async def _pass(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        self.counters.paths[request.path] += 1
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self.outlet.admit(request) or await handler(request)
        asked = await self.outlet.asked(request)
        if not isinstance(asked, web.Request):
            return asked
        refusal = self._rest.check(request)
        response = refusal or await handler(asked)
        if refusal is not None or response.status == _TOO_MANY_REQUESTS:
            self.counters.refused += 1
        return await self.outlet.answer(request, response)

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        """Hold one client's socket until it is closed."""
        socket = new_socket()
        try:
            await socket.prepare(request)
        except ConnectionError:
            return socket  # the client has left already
        connection = Connection(socket, request, self.counters, self.clock.now_us())
        self.counters.sockets += 1
        self.connections.add(connection)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(connection.write())
                self.outlet.opened(connection)
                self.opened(connection, request)
                async for message in socket:
                    connection.heard()
                    self.heard(connection, self.clock.now_us())
                    if message.type is WSMsgType.TEXT:
                        for text in self.outlet.received(connection, message.data):
                            self.received(connection, text, self.clock.now_us())
                    elif message.type is WSMsgType.PING and self.outlet.beats(connection):
                        connection.pong(message.data)
                writer.cancel()
        finally:
            self.connections.discard(connection)
            self.left(connection)
        return socket


async def _refuse_path(request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound
