"""A proxy before PostgreSQL or Redis that cuts, hangs, delays, resets and refuses, on request."""

import asyncio
import os
import socket
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Literal, Self

Direction = Literal["requests", "replies"]
Place = Path | tuple[str, int]
"""A unix socket, or host and port."""

BOTH: tuple[Direction, Direction] = ("requests", "replies")
CHUNK = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
END_TIMEOUT_S = 10.0
LINKS_MAX = 1_000


class _Link:
    """One client's connection and the one to the server behind it."""

    def __init__(self, task: "asyncio.Task[None]", client: asyncio.StreamWriter) -> None:
        self.task = task
        self.writers = [client]
        self.resets = False

    def end(self, *, resets: bool = False) -> None:
        """End both sides: with FIN, or with RST."""
        self.resets = resets
        self.task.cancel()

    def close(self) -> None:
        """Close both sockets at once, without what has not been sent."""
        for writer in self.writers:
            bare = writer.get_extra_info("socket")
            if self.resets and bare is not None and bare.family != socket.AF_UNIX and bare.fileno() >= 0:
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class FaultProxy:
    """Everything that happens to connections between us and a server, as an async context manager.

    What it does begins at once and lasts until `heal`. It holds at most one chunk of 64 KiB for each direction of a
    connection: where nothing passes, nothing more is read. `environment()` points our programs at it.
    """

    def __init__(self, server: Place, variables: tuple[str, str], *, unix: bool = False, file_name: str = "") -> None:
        self._server = server
        self._variables = variables
        self._unix = unix
        self._file_name = file_name
        self._directory: Path | None = None
        self._port = 0
        self._socket: socket.socket | None = None
        """On our place: listening while `_accepting`, else only keeping it."""
        self._accepting: asyncio.Task[None] | None = None
        self._links: set[_Link] = set()
        self._gates = {direction: asyncio.Event() for direction in BOTH}
        self._delay_s = 0.0
        self._left: dict[Direction, int] = {}
        self._exit = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self.connections = 0
        """Accepted since the beginning."""
        self.passed: Counter[str] = Counter()
        """Bytes, by direction."""

    @classmethod
    def postgres(cls, environment: Mapping[str, str] = os.environ, *, unix: bool = False) -> Self:
        """Return one before the PostgreSQL of `DB_HOST` and `DB_PORT`, on loopback or a unix socket."""
        host, port = environment["DB_HOST"], int(environment.get("DB_PORT") or 5432)
        name = f".s.PGSQL.{port}"
        server: Place = Path(host, name) if host.startswith("/") else (host, port)
        return cls(server, ("DB_HOST", "DB_PORT"), unix=unix, file_name=name)

    @classmethod
    def redis(cls, environment: Mapping[str, str] = os.environ, *, unix: bool = False) -> Self:
        """Return one before the Redis of `REDIS_HOST` and `REDIS_PORT`, on loopback or a unix socket."""
        host, port = environment["REDIS_HOST"], int(environment.get("REDIS_PORT") or 6379)
        server: Place = Path(host) if host.startswith("/") else (host, port)
        return cls(server, ("REDIS_HOST", "REDIS_PORT"), unix=unix, file_name="redis.sock")

    async def __aenter__(self) -> Self:
        if self._unix:
            # Under /tmp itself: a socket's path has at most 107 bytes.
            self._directory = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="fault-")))
        await self._exit.enter_async_context(self._tasks)
        await self.heal()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()
        if self._socket is not None:
            self._socket.close()
        await self._exit.aclose()

    def environment(self) -> dict[str, str]:
        """Return the variables that lead through here: DB_HOST and DB_PORT, or REDIS_HOST and REDIS_PORT."""
        host, port = self._variables
        if self._directory is None:
            return {host: "127.0.0.1", port: str(self._port)}
        place = self._directory if host == "DB_HOST" else self._directory / self._file_name
        return {host: str(place), port: self._file_name.rpartition(".")[2] if host == "DB_HOST" else "6379"}

    @property
    def links(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    async def cut(self) -> None:
        """End every connection there is; new ones are welcome."""
        await self._end(resets=False)

    async def reset(self) -> None:
        """End every connection there is with RST; on a unix socket as `cut`."""
        await self._end(resets=True)

    async def cut_after(self, count: int, direction: Direction) -> None:
        """Let so many more bytes pass in one direction, all connections together, and then cut all that send more."""
        self._left[direction] = count

    async def hang(self, *directions: Direction) -> None:
        """Let nothing pass, connections open: both ways, or only `requests`, or only `replies`.

        Without replies the server does what it is asked, and nobody hears of it.
        """
        for direction in directions or BOTH:
            self._gates[direction].clear()

    async def delay(self, seconds: float) -> None:
        """Let each chunk wait, each way; 0 ends it."""
        self._delay_s = seconds

    async def refuse(self) -> None:
        """Refuse new connections, as a port does where nobody listens; those there are live on."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting], timeout=END_TIMEOUT_S)
            self._accepting = None
            self._take_place()

    async def down(self) -> None:
        """Refuse new connections and end those there are: the server is away."""
        await self.refuse()
        await self.cut()

    async def heal(self) -> None:
        """End all faults: what was held goes on, connections are welcome."""
        self._delay_s = 0.0
        self._left.clear()
        for gate in self._gates.values():
            gate.set()
        if self._accepting is None:
            listening = self._socket or self._take_place()
            listening.listen(LINKS_MAX)
            self._accepting = self._tasks.create_task(self._accept(listening))

    def _take_place(self) -> socket.socket:
        """Be on our place with a new socket that does not listen: who connects is refused."""
        if self._socket is not None:
            self._socket.close()
        if self._directory is not None:
            path = self._directory / self._file_name
            path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
        else:
            self._socket = socket.socket()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", self._port))
            self._port = self._socket.getsockname()[1]
        self._socket.setblocking(False)
        return self._socket

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(listening)
            if len(self._links) >= LINKS_MAX:
                accepted.close()
                continue
            self.connections += 1
            self._tasks.create_task(self._serve(accepted))

    async def _end(self, *, resets: bool) -> None:
        for link in self._links:
            link.end(resets=resets)
        give_up = time.monotonic() + END_TIMEOUT_S
        while self._links and time.monotonic() < give_up:
            await asyncio.sleep(0)

    async def _serve(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted, limit=CHUNK)
        task = asyncio.current_task()
        assert task is not None
        link = _Link(task, writer)
        self._links.add(link)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far_writer = await self._connected()
            link.writers.append(far_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link, "requests", reader, far_writer))
                pumps.create_task(self._pump(link, "replies", far_reader, writer))
        except OSError:
            pass  # the server is away: so is this connection
        finally:
            link.close()
            self._links.discard(link)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._server, Path):
            return await asyncio.open_unix_connection(self._server, limit=CHUNK)
        return await asyncio.open_connection(*self._server, limit=CHUNK)

    async def _pump(
        self, link: _Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass one direction on until either side ends; then the other ends too."""
        with suppress(ConnectionError):
            while chunk := await reader.read(CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._gates[direction].wait()
                passing = chunk
                if direction in self._left:
                    passing = chunk[: self._left[direction]]
                    self._left[direction] -= len(passing)
                writer.write(passing)
                self.passed[direction] += len(passing)
                await writer.drain()
                if len(passing) < len(chunk):
                    break
        link.end()
