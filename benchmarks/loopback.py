"""As much of HTTP and WebSocket as a benchmark's venue needs: one port on loopback, pre-rendered bytes out."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

_TOKEN = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BUFFER_MAX = 2**20


class Message(NamedTuple):
    """One frame from the client."""

    opcode: int
    payload: bytes


class Socket:
    """One accepted WebSocket."""

    def __init__(self, path: str, query: Mapping[str, str], streams: "Streams") -> None:
        self.path = path
        self.query = query
        self._reader, self._writer = streams

    async def receive(self) -> Message | None:
        """Return the next frame; None once the client is gone."""
        try:
            first, second = await self._reader.readexactly(2)
            size = second & 127
            if size > 125:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            mask = await self._reader.readexactly(4)
            masked = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        payload = bytes(byte ^ mask[at & 3] for at, byte in enumerate(masked))
        return None if first & 15 == CLOSE else Message(first & 15, payload)

    def send(self, frames: bytes) -> None:
        """Send frames that `framed` has made, in one write; nothing to a client that is gone."""
        if not self._writer.is_closing():
            self._writer.write(frames)

    async def drain(self) -> None:
        """Wait until the client has read what it was sent, all but a buffer."""
        await self._writer.drain()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[str, Mapping[str, str]], bytes]
"""From a path and its query to a body of JSON."""
Stream = Callable[[Socket], Awaitable[None]]


def framed(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return one frame as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload


async def listen(answer: Answer, stream: Stream | None = None) -> int:
    """Serve on a free port until the loop ends, and return it."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve((reader, writer), answer, stream)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_BUFFER_MAX)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _serve(streams: Streams, answer: Answer, stream: Stream | None) -> None:
    reader, writer = streams
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split(b" ", 2)[1].decode())
        query = dict(parse_qsl(target.query))
        lowered = head.lower()
        if b"sec-websocket-key: " in lowered and stream is not None:
            start = lowered.index(b"sec-websocket-key: ") + 19
            key = head[start : head.index(b"\r\n", start)]
            token = base64.b64encode(hashlib.sha1(key + _TOKEN, usedforsecurity=False).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n"
            )
            await stream(Socket(target.path, query, streams))
            return
        body = answer(target.path, query)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        await writer.drain()
