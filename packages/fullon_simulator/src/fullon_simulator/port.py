"""A venue's port on loopback, which can be shut for a while and stays the venue's."""

import asyncio
import socket

from aiohttp import web

_BACKLOG = 128


class Port:
    """A port, open or shut: then connections are refused, as where nobody listens, and nobody else gets it."""

    def __init__(self, number: int) -> None:
        """Take the port, 0 for a free one; who connects waits until it is opened.

        Raises:
            OSError: it is taken.
        """
        self._socket = _bound(number)
        self._socket.listen(_BACKLOG)
        self.number: int = self._socket.getsockname()[1]
        self._open = False

    def open(self, server: web.Server, tasks: asyncio.TaskGroup) -> None:
        """Hand connections to `server`.

        By hand: a server of asyncio that is closed while it takes a connection forgets it, and its client waits.
        """
        self._socket.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._socket, self._accept, server, tasks)
        self._open = True

    def _accept(self, server: web.Server, tasks: asyncio.TaskGroup) -> None:
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # whoever it was has left
        accepted.setblocking(False)
        tasks.create_task(_hand_over(accepted, server))

    def shut(self) -> None:
        """Refuse connections; those there are live on."""
        self.close()
        self._socket = _bound(self.number)

    def close(self) -> None:
        """Give the port up."""
        if self._open:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._open = False
        self._socket.close()


async def _hand_over(accepted: socket.socket, server: web.Server) -> None:
    await asyncio.get_running_loop().connect_accepted_socket(server, accepted)


def _bound(number: int) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", number))
    except OSError:
        bound.close()
        raise
    return bound
