"""Exchanges that answer like this: a small server for the next report of an exchange that behaves oddly.

    async with OddExchange("kraken", {"/0/public/Time": {"error": [], "result": {"unixtime": 1_700_000_000}}}) as odd:
        monkeypatch.setenv(odd.variable, odd.origin)
        ...

`answers` maps a path, as aiohttp routes it (`/klines`, `/markets/{id}`), to the body of the answer as a Python value,
to an aiohttp response, or to a function of the `Request` that returns either (it may be a coroutine). With a `stream`
every path accepts WebSocket upgrades: it is called with the `Socket` and each decoded message. Requests are kept in
`asked` and `sockets`. `odd_exchanges.kraken` and its like hold what an ordinary exchange of that name answers; the odd
answers go on top: `kraken.answers(clock) | {"/0/public/AssetPairs": ...}`.
"""

import inspect
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

from fullon_exchange.origin import origin_variable

ASKED_MAX = 100_000


@dataclass(frozen=True)
class Request:
    """One question over REST."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    """What was sent as JSON; None where nothing was."""
    headers: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    """The parts of the path that the route names."""


class Socket:
    """One WebSocket of a client."""

    def __init__(self, response: web.WebSocketResponse, path: str) -> None:
        self.path = path
        self.received: list[Any] = []
        """Every message of the client, decoded."""
        self._response = response

    @property
    def is_open(self) -> bool:
        """Whether the client is still there."""
        return not self._response.closed

    async def send(self, *messages: Any) -> None:
        """Send messages: text as it is, anything else as JSON; to a client that has gone, nothing."""
        for message in messages:
            if self.is_open:
                await self._response.send_str(message if isinstance(message, str) else json.dumps(message))

    async def close(self, code: int = 1001) -> None:
        """Close as an exchange does."""
        await self._response.close(code=code)


Answer = Any | Callable[[Request], Any | Awaitable[Any]]
Stream = Callable[[Socket, Any], Awaitable[None]]


class OddExchange:
    """A server on a port of its own that answers as told; an async context manager."""

    def __init__(
        self,
        name: str,
        answers: Mapping[str, Answer],
        *,
        stream: Stream | None = None,
        greeting: Callable[[Socket], Awaitable[None]] | None = None,
        upgrade: Callable[[], web.Response | None] = lambda: None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`greeting` is called for each new socket; `upgrade` may return a response that refuses it."""
        self.name = name
        self.answers = dict(answers)
        """May be changed while the server runs; a path that it did not have at the start is matched literally."""
        self.asked: list[Request] = []
        self.sockets: list[Socket] = []
        self.clients: set[tuple[str, int]] = set()
        """Address and port of everybody who has asked: one for each TCP connection."""
        self.origin = ""
        self.port = 0
        self._stream = stream
        self._greeting = greeting
        self._upgrade = upgrade
        self._host = host
        self._tls = tls
        self._runner: web.AppRunner | None = None

    @property
    def variable(self) -> str:
        """The environment variable that points the exchange here."""
        return origin_variable(self.name)

    @property
    def live(self) -> list[Socket]:
        """The sockets that are open."""
        return [socket for socket in self.sockets if socket.is_open]

    def asked_for(self, path: str) -> list[Request]:
        """Return the questions for one path."""
        return [request for request in self.asked if request.path == path]

    async def __aenter__(self) -> Self:
        app = web.Application()
        for route in self.answers:
            if "{" in route:
                app.router.add_route("*", route, self._handler(route))
        app.router.add_route("*", "/{anything:.*}", self._handler(None))
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]
        self.origin = f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _handler(self, route: str | None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.transport is not None:
                self.clients.add(request.transport.get_extra_info("peername")[:2])
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._serve_socket(request)
            return await self._answer(request, route or request.path)

        return handle

    async def _answer(self, request: web.Request, route: str) -> web.Response:
        text = await request.text()
        names = {} if route == request.path else dict(request.match_info)
        question = Request(
            request.method,
            request.path,
            dict(request.query),
            json.loads(text) if text.startswith(("{", "[")) else None,
            dict(request.headers),
            names,
        )
        self.asked.append(question)
        del self.asked[:-ASKED_MAX]
        if route not in self.answers:
            return web.json_response({"error": f"nothing at {request.path}"}, status=404)
        answer = self.answers[route]
        if callable(answer):
            answer = answer(question)
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._upgrade()
        if refusal is not None or self._stream is None:
            return refusal or web.Response(status=404)
        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        socket = Socket(response, request.path)
        self.sockets.append(socket)
        if self._greeting is not None:
            await self._greeting(socket)
        async for message in response:
            if message.type is WSMsgType.TEXT:
                decoded = json.loads(message.data)
                socket.received.append(decoded)
                await self._stream(socket, decoded)
        return response
