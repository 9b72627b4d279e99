"""Shared embedded servers: the first process that wants them starts them, the last one out stops them.

Two lock files in the data directory carry the whole agreement:

- ``start.lock``, exclusive, around every start and stop: racing processes make one server;
- ``clients.lock``, shared, held by every user for as long as it uses the servers. Whoever can take it
  exclusively on leaving is the last one and stops them.

The kernel drops both when a process dies, however it dies. After ``kill -9`` of the last user the servers run
on, and the next user takes them over and stops them on leaving.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from fullon_embedded.disk import explained_by_full_disk
from fullon_embedded.errors import DataDirectoryBusy, DataDirectoryUnusable
from fullon_embedded.postgres import Postgres
from fullon_embedded.redis_server import Redis
from fullon_embedded.server import Answer, Report, Server, Waiting

# sockaddr_un holds 108 bytes on Linux and 104 elsewhere, the closing zero included.
SOCKET_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103


class EmbeddedServers:
    """A private PostgreSQL and Redis in one data directory; a context manager, blocking or async.

    Entering starts what does not run; leaving stops both if nobody else uses them. One object is entered once
    at a time. Unix sockets only, in a directory of mode 0700.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres: bool = True,
        redis: bool = True,
        durable: bool = True,
        guest: bool = False,
        start_timeout_s: float = 120.0,
        report: Report = lambda _: None,
    ) -> None:
        # Resolved: two users who spell it differently must mean one directory.
        self.data_dir = _home_expanded(data_dir).resolve()
        self._wanted = (postgres, redis)
        self._durable = durable
        self._guest = guest
        self._start_timeout_s = start_timeout_s
        self._report = report
        self._left_alone: frozenset[str] = frozenset()
        self._clients_fd: int | None = None
        self._owner_pid = 0

    def environment(self) -> dict[str, str]:
        """Return DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, REDIS_HOST, REDIS_PORT and REDIS_PASSWORD for clients.

        DB_HOST is a socket directory and REDIS_HOST a socket path; the passwords are empty, CACHE_PASSWORD too. Only
        what was asked for is named. They depend on the data directory alone, so they are right before the servers
        run, too.
        """
        return {name: value for server in self._servers() for name, value in server.environment().items()}

    def ensure_running(self) -> None:
        """Start again what has died while in use (killed for memory, say); cheap if nothing has.

        Raises: as ``start``.
        """
        with explained_by_full_disk(self.data_dir), self._start_lock():
            self._start_servers()

    def pids(self) -> dict[str, int | None]:
        """Return the process id of each server by name: None for one that does not run, 0 for one out of sight."""
        return {server.name: server.pid() for server in self._servers()}

    def are_ready(self) -> bool:
        """Tell at once whether each server takes requests now; nothing is started or waited for."""
        return all(server.answer() is Answer.READY for server in self._servers())

    def start(self) -> None:
        """Join the users of the servers, starting what does not run; blocks, usually 0.1 to 1 s.

        A server that loads its data or recovers is waited for, however long that takes.

        Raises:
            EmbeddedError: one of its kinds, each a sentence with what to do.
        """
        if self._clients_fd is not None:
            raise RuntimeError(f"the servers in {self.data_dir} are already in use by this object")
        with explained_by_full_disk(self.data_dir):
            self._join()

    def _join(self) -> None:
        self._prepare_directories()
        with self._start_lock():
            self._clients_fd = self._open_lock("clients.lock")
            self._owner_pid = os.getpid()
            try:
                if self._guest and _try_exclusive(self._clients_fd):
                    self._left_alone = frozenset(one.name for one in self._both() if one.pid() is not None)
                fcntl.flock(self._clients_fd, fcntl.LOCK_SH)
                self._start_servers()
            except BaseException:
                self._leave()
                raise

    def close(self, *, keep_running: bool = False) -> None:
        """Leave; stop the servers if this was the last user. Harmless when not started.

        With `keep_running` they stay, until the next user leaves or ``stop`` is called.

        Raises:
            ServerFailed: a server does not end.
        """
        if self._clients_fd is None:
            return
        if self._owner_pid != os.getpid():
            # A forked child shares the parent's lock; the servers are the parent's to stop.
            os.close(self._clients_fd)
            self._clients_fd = None
            return
        with self._start_lock():
            self._leave(keep_running=keep_running)

    def stop(self) -> None:
        """Stop servers that nobody uses (left by a killed process).

        Raises:
            DataDirectoryBusy: somebody uses them.
        """
        if not self.data_dir.is_dir():
            return
        with self._start_lock():
            fd = self._open_lock("clients.lock")
            try:
                if not _try_exclusive(fd):
                    raise DataDirectoryBusy(
                        f"The servers in {self.data_dir} are in use: end the programs that use them, the "
                        "last one stops the servers.",
                        path=self.data_dir,
                    )
                self._stop_servers()
                for server in self._both():
                    if server.pid() is not None:
                        raise DataDirectoryBusy(
                            f"{server.name} in {self.data_dir} runs in another container: stop it there.",
                            path=self.data_dir,
                        )
            finally:
                os.close(fd)

    def in_use(self) -> bool:
        """True if any process, this one included, uses the servers."""
        if not (self.data_dir / "clients.lock").exists():
            return False
        fd = self._open_lock("clients.lock")
        try:
            return not _try_exclusive(fd)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A thread cannot be cancelled; it is bounded by start_timeout_s. What it started is given back.
            await asyncio.wait([starting])
            if starting.exception() is None:
                await asyncio.to_thread(self.close)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.close))

    def _servers(self) -> list[Server]:
        return [server for server, is_wanted in zip(self._both(), self._wanted, strict=True) if is_wanted]

    def _both(self) -> tuple[Server, Server]:
        sockets = self._sockets()
        return (
            Postgres(self.data_dir, sockets, durable=self._durable),
            Redis(self.data_dir, sockets, durable=self._durable),
        )

    def _sockets(self) -> Path:
        """Return the socket directory: inside the data directory, or a short one if that path cannot be used.

        Clients take host names apart at commas and colons, and the kernel bounds a socket's path; so anything
        long or unusual gets a private directory under /tmp whose name follows from the data directory.
        """
        inside = self.data_dir / "run"
        longest = os.fsencode(inside / ".s.PGSQL.5432")
        if len(longest) <= SOCKET_PATH_BYTES_MAX and re.fullmatch(rb"[\w./+-]+", longest):
            return inside
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path("/tmp", f"fullon-{os.geteuid()}-{name}")  # noqa: S108 - owner and mode are checked before use

    def _prepare_directories(self) -> None:
        for directory in (self.data_dir, self._sockets()):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = directory.lstat() if directory != self.data_dir else directory.stat()
            except OSError as error:
                raise _unusable(directory, f"cannot be created ({error.strerror})") from error
            if not stat.S_ISDIR(status.st_mode):
                raise _unusable(directory, "is not a directory")
            if status.st_uid != os.geteuid():
                raise _unusable(directory, f"belongs to user id {status.st_uid}, not to {os.geteuid()} who runs this")
            if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
                raise _unusable(directory, "cannot be written")
            if stat.S_IMODE(status.st_mode) & 0o077:
                directory.chmod(0o700)

    def _start_servers(self) -> None:
        for server in self._servers():
            server.ensure_running(silence_max_s=self._start_timeout_s, report=self._report)

    def _stop_servers(self, *, but: Collection[str] = ()) -> None:
        with contextlib.ExitStack() as stops:
            # Both, whatever this user had asked for, and the second even if the first fails.
            stops.callback(self._remove_outside_directory, self._sockets())
            for server in reversed(self._both()):
                if server.name not in but:
                    stops.callback(server.stop)

    def _remove_outside_directory(self, sockets: Path) -> None:
        """Leave nothing of ours in /tmp; a directory that is not empty stays."""
        if sockets.parent != self.data_dir:
            with contextlib.suppress(OSError):
                sockets.rmdir()

    def _leave(self, *, keep_running: bool = False) -> None:
        """Give up the client's lock, stopping the servers if nobody else holds one. Needs the start lock."""
        fd, self._clients_fd = self._clients_fd, None
        if fd is None:
            return
        try:
            if not keep_running and _try_exclusive(fd):
                self._stop_servers(but=self._left_alone)
        finally:
            # Unlock, not only close: a forked child may hold a copy of the descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _open_lock(self, name: str) -> int:
        path = self.data_dir / name
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(path, f"cannot be opened ({error.strerror})") from error

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        fd = self._open_lock("start.lock")
        waiting = Waiting(self._report, self._start_timeout_s)
        what = f"another process starts or stops the servers in {self.data_dir}"
        try:
            while not _try_exclusive(fd):
                # It may be waiting for a big database to recover.
                if not waiting.goes_on(lambda: what, shows_life=any(one.is_starting() for one in self._both())):
                    raise DataDirectoryBusy(
                        f"Another process has been starting or stopping the servers in {self.data_dir} for "
                        f"{self._start_timeout_s:.0f} s: look at the logs there and end it.",
                        path=self.data_dir,
                    )
            yield
        finally:
            os.close(fd)


def start_servers(
    data_dir: Path | None = None,
    *,
    postgres: bool = True,
    redis: bool = True,
    durable: bool = True,
    guest: bool = False,
    start_timeout_s: float = 120.0,
    report: Report = lambda _: None,
) -> EmbeddedServers:
    """Return the servers of a data directory, to be entered with ``with`` or ``async with``.

    Args:
        data_dir: default FULLON_DATA_DIR, else ~/.local/share/fullon. Made if missing, mode 0700, kept.
        postgres, redis: which of the two is wanted.
        durable: False gives up safety against power loss (never against kill -9) for speed; for tests.
        guest: True leaves servers that run without any user (their user was killed, or ``env`` started them) as
            they were; what the guest itself has started stops with its last user.
        start_timeout_s: how long a server may show no sign of life; loading data and recovery are signs of life.
        report: is given a sentence every few seconds while a server is waited for, in the thread that waits.
    """
    return EmbeddedServers(
        data_dir if data_dir is not None else default_data_dir(),
        postgres=postgres,
        redis=redis,
        durable=durable,
        guest=guest,
        start_timeout_s=start_timeout_s,
        report=report,
    )


def default_data_dir() -> Path:
    """Return FULLON_DATA_DIR, else ~/.local/share/fullon."""
    return Path(os.environ.get("FULLON_DATA_DIR") or "~/.local/share/fullon")


def _home_expanded(data_dir: Path) -> Path:
    try:
        return data_dir.expanduser()
    except RuntimeError as error:
        raise _unusable(data_dir, "needs a home directory, and this user has none") from error


def _try_exclusive(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(path: Path, why: str) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(
        f"The data directory {path} {why}: give FULLON_DATA_DIR a directory that this user owns and can write.",
        path=path,
    )
