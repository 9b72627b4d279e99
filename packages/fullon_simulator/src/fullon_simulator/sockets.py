"""One client's WebSocket: frames out through a bounded queue, so that a slow client slows nobody else."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import WSMsgType, web

ASKED = "asked"
"""Where a fault leaves what the venue is to be asked instead of the request's own body."""

_WRITE_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 2.0


class Frame(NamedTuple):
    """One text message on its way out; channel and symbol tell what it is about, where it is about one.

    What is no text (a fault's garbage) has another `opcode`; bytes that are no UTF-8 are escaped as surrogates.
    """

    text: str
    channel: str = ""
    symbol: str = ""
    opcode: WSMsgType = WSMsgType.TEXT


class _Ping(NamedTuple):
    pass


class _Pong(NamedTuple):
    payload: bytes


class _Close(NamedTuple):
    code: int
    reason: str


@dataclass
class Counters:
    """What a venue was asked and what it sent."""

    paths: Counter[str] = field(default_factory=Counter)
    """REST requests by path."""
    refused: int = 0
    """REST requests beyond the rate limit."""
    sockets: int = 0
    """WebSocket connections accepted."""
    subscriptions: int = 0
    """Subscriptions acknowledged, one for each symbol and channel."""
    frames: int = 0
    """Text frames sent."""


class Outlet:
    """The one place that everything passes between a venue and its clients; here, unchanged.

    Faults are outlets that drop, repeat, delay, corrupt or refuse; `market.faults` puts them in place. Another one
    may stand as `market.venue(name).outlet`.
    """

    def admit(self, request: web.Request) -> web.StreamResponse | None:
        """Return what a client that wants a socket gets instead of one."""
        return None

    def opened(self, connection: "Connection") -> None:
        """Note a new socket, before the venue greets it."""

    def received(self, connection: "Connection", text: str) -> Iterable[str]:
        """Return what the venue hears instead of `text`."""
        return (text,)

    def frames(self, connection: "Connection", frame: Frame) -> Iterable[Frame]:
        """Return what is sent to `connection` instead of `frame`."""
        return (frame,)

    def beats(self, connection: "Connection") -> bool:
        """Tell whether pings and pongs of the WebSocket itself may be sent to `connection`."""
        return True

    async def asked(self, request: web.Request) -> web.Request | web.StreamResponse:
        """Return what the venue is asked instead of `request`, or an answer without asking it.

        Another body than the request's is handed on as `request.match_info[ASKED]`.
        """
        return request

    async def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Return what is answered to `request` instead of `response`."""
        return response


class Connection:
    """One accepted socket, its queue, and when it was last sent something."""

    PENDING_MAX = 20_000
    """Frames that may wait for a slow client before it is cut."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, counters: Counters, opened_us: int) -> None:
        self._socket = socket
        self._request = request
        self._counters = counters
        self._pending: deque[Frame | _Ping | _Pong | _Close] = deque()
        self._wake = asyncio.Event()
        self.opened_us = opened_us
        self.sent_us = opened_us
        self._heard_s = asyncio.get_running_loop().time()

    def heard(self) -> None:
        """Note that the client has sent something."""
        self._heard_s = asyncio.get_running_loop().time()

    def silent_s(self) -> float:
        """Return how many real seconds ago the client sent anything, pongs included."""
        return asyncio.get_running_loop().time() - self._heard_s

    def send(self, frame: Frame, now_us: int) -> None:
        """Queue `frame`; a client that does not read is cut."""
        if len(self._pending) >= self.PENDING_MAX:
            self.abort()
            return
        self.sent_us = now_us
        self._put(frame)

    def ping(self) -> None:
        """Queue a ping frame."""
        self._put(_Ping())

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a ping frame."""
        self._put(_Pong(payload))

    def close(self, code: int, reason: str) -> None:
        """Close once what is queued has been sent."""
        self._put(_Close(code, reason))

    def abort(self) -> None:
        """Cut the connection at once, without a close frame and without what is queued."""
        self._pending.clear()
        if self._request.transport is not None:
            self._request.transport.abort()

    def _put(self, item: "Frame | _Ping | _Pong | _Close") -> None:
        self._pending.append(item)
        self._wake.set()

    async def write(self) -> None:
        """Send what is queued until the socket is closed or lost."""
        try:
            while not self._socket.closed:
                await self._wake.wait()
                self._wake.clear()
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    while self._pending:
                        await self._write(self._pending.popleft())
        except (ConnectionError, TimeoutError):
            self.abort()

    async def _write(self, item: "Frame | _Ping | _Pong | _Close") -> None:
        if isinstance(item, Frame):
            await self._socket.send_frame(item.text.encode("utf-8", "surrogateescape"), item.opcode)
            self._counters.frames += 1
        elif isinstance(item, _Ping):
            await self._socket.ping()
        elif isinstance(item, _Pong):
            await self._socket.pong(item.payload)
        else:
            await self._socket.close(code=item.code, message=item.reason.encode())


def new_socket() -> web.WebSocketResponse:
    """Return a socket whose pings and pongs are ours to see, without compression."""
    return web.WebSocketResponse(autoping=False, compress=False, timeout=_CLOSE_TIMEOUT_S, max_msg_size=1 << 20)
