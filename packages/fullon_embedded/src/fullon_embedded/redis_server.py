"""One Valkey or Redis with an append-only file: started, recognised and stopped under the start lock."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from fullon_embedded import processes
from fullon_embedded.binaries import find_redis
from fullon_embedded.errors import DataDirectoryBusy, ServerFailed

_LETTING_GO_S = 2.0
# SIGTERM flushes the append-only file and ends.
_STOP = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))


class Redis:
    """The server whose append-only file is in `data_dir`/redis, reached through a socket in `sockets`."""

    name = "Redis"

    def __init__(self, data_dir: Path, sockets: Path, *, durable: bool = True) -> None:
        self.directory = data_dir / "redis"
        self.log = data_dir / "redis.log"
        self.socket = sockets / "redis.sock"
        self._pid_path = data_dir / "redis.pid"
        self._durable = durable

    def environment(self) -> dict[str, str]:
        """Return the variables that point a client here; the port has no meaning on a socket path."""
        # Passwords too, or one of another server would be sent to this one, which refuses any.
        return {"REDIS_HOST": str(self.socket), "REDIS_PORT": "6379", "REDIS_PASSWORD": "", "CACHE_PASSWORD": ""}

    def pid(self) -> int | None:
        """Return the process id of the running server; None if none runs."""
        try:
            text = self._pid_path.read_text().strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() and processes.is_alive(int(text), self.directory) else None

    def ensure_running(self, *, timeout_s: float) -> None:
        """Have the server answer: found running, or started, reading back its append-only file.

        Raises:
            BinariesMissing, DataDirectoryBusy.
            ServerFailed: it ended or does not answer within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        found = self.pid()
        if found is not None and self._becomes_ready(found, timeout_s=timeout_s):
            return
        processes.end_leftovers(self.directory)
        # A killed server is a zombie a moment before the last of its threads lets go of the socket.
        if not processes.wait_until(lambda: not processes.accepts(self.socket), timeout_s=_LETTING_GO_S):
            raise DataDirectoryBusy(
                f"Another Redis, outside this container, runs on {self.directory}: stop it there, or choose "
                "another FULLON_DATA_DIR.",
                path=self.directory,
            )
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        log_start = processes.rotated(self.log)
        started = processes.start_detached(self._command(), log=self.log)
        # Written here, not by the server: it must name the process even if we are killed right now.
        self._pid_path.write_text(f"{started}\n")
        if not self._becomes_ready(started, timeout_s=max(0.0, deadline - time.monotonic())):
            what = "is not ready in time" if processes.is_alive(started, self.directory) else "ended while starting"
            reason = processes.last_lines(self.log, since=log_start)
            raise ServerFailed(f"Redis in {self.directory} {what}: {reason} (log: {self.log})", log=self.log)

    def stop(self) -> None:
        """Stop the server. Nothing happens if none runs.

        Raises:
            ServerFailed: it survived even SIGKILL.
        """
        pid = self.pid()
        if pid is not None and not processes.end(pid, self.directory, _STOP):
            raise ServerFailed(
                f"Redis (process {pid}) in {self.directory} does not end: look at {self.log} and end it yourself.",
                log=self.log,
            )
        self._pid_path.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

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

    def _becomes_ready(self, pid: int, *, timeout_s: float) -> bool:
        """Wait until the server `pid` answers; False if it ends, or does not answer in time."""
        processes.wait_until(
            lambda: self._answers() or not processes.is_alive(pid, self.directory), timeout_s=timeout_s
        )
        return processes.is_alive(pid, self.directory) and self._answers()

    def _answers(self) -> bool:
        """True once PING is answered by PONG; while it reads its file it answers LOADING."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2.0)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False
