"""One Valkey or Redis with an append-only file."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

from fullon_embedded import processes
from fullon_embedded.binaries import find_redis
from fullon_embedded.server import Answer, Server, listening_pid


class Redis(Server):
    """The server whose append-only file is in `data_dir`/redis, reached through a socket in `sockets`."""

    name = "Redis"
    # SIGTERM flushes the append-only file and ends.
    stop_signals = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))

    def __init__(self, data_dir: Path, sockets: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir / "redis", sockets / "redis.sock", data_dir / "redis.log")
        self._durable = durable

    def environment(self) -> dict[str, str]:
        """Return the variables that point a client here; the port has no meaning on a socket path."""
        # Passwords too, or one of another server would be sent to this one, which refuses any.
        return {"REDIS_HOST": str(self.socket), "REDIS_PORT": "6379", "REDIS_PASSWORD": "", "CACHE_PASSWORD": ""}

    def pid(self) -> int | None:
        """Return the process id of the running server: 0 where it cannot be seen from here, None if none runs."""
        return listening_pid(self.socket, self.directory)

    def answer(self) -> Answer:
        """Return how the server replies to PING; any reply but LOADING means that it takes requests.

        One whose disk is full replies MISCONF, one out of memory OOM: both run.
        """
        try:
            reply = self._request(b"PING\r\n")
        except TimeoutError:
            return Answer.SILENCE
        except BlockingIOError:
            return Answer.SILENCE  # so many wait to be accepted that there is no room for one more
        except OSError:
            return Answer.NONE
        if reply.startswith(b"-LOADING"):
            return Answer.STARTING
        return Answer.READY if reply else Answer.SILENCE

    def progress(self) -> str:
        """Return how much of its file a loading server has read."""
        try:
            told = self._request(b"INFO persistence\r\n").decode("ascii", "replace")
        except OSError:
            return ""
        found = re.search(r"loading_loaded_perc:([\d.]+)", told)
        return f"{float(found[1]):.0f} % of its file is loaded" if found else ""

    def _request(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2.0)
            client.connect(str(self.socket))
            client.sendall(command)
            return client.recv(8192)

    def _start(self) -> int:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        return processes.start_detached(self._command(), log=self.log)

    def _command(self) -> list[str]:
        settings = {
            "dir": str(self.directory),
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec" if self._durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [
            str(find_redis()),
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
        ]
