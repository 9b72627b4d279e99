"""What PostgreSQL and Redis have in common: found, waited for, started and stopped. The caller holds the start lock.

A server that listens on its socket runs, whatever it answers and whether or not its process can be seen from here:
under systemd's `PrivateUsers=` the socket is the only proof. A server that runs is never ended to start another one.
It is waited for while it loads or recovers, however long that takes; only `stop` ends it.
"""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import ClassVar

from fullon_embedded import processes
from fullon_embedded.errors import DataDirectoryBusy, ServerFailed

Report = Callable[[str], None]
"""Gets a sentence every few seconds while a server is waited for."""
REPORT_FIRST_S = 1.0
REPORT_EVERY_S = 5.0
_POLL_MAX_S = 0.2
_LETTING_GO_S = 2.0


class Answer(Enum):
    """What a server replies to the simplest request."""

    NONE = "no listener"
    SILENCE = "accepts, and replies nothing"
    STARTING = "loads, recovers or shuts down"
    READY = "takes requests, though it may refuse some"


class Waiting:
    """A wait that lasts as long as the other side shows life, and reports how it goes."""

    def __init__(self, report: Report, silence_max_s: float) -> None:
        self._report = report
        self._silence_max_s = silence_max_s
        self._begun_s = self._last_life_s = time.monotonic()
        self._report_due_s = self._begun_s + REPORT_FIRST_S
        self._poll_s = processes.POLL_S

    def goes_on(self, what: Callable[[], str], *, shows_life: bool) -> bool:
        """Sleep a little and return True; False once there has been no sign of life for too long."""
        now_s = time.monotonic()
        if shows_life:
            self._last_life_s = now_s
        elif now_s - self._last_life_s >= self._silence_max_s:
            return False
        if now_s >= self._report_due_s:
            self._report_due_s = now_s + REPORT_EVERY_S
            self._report(f"{what()}, {now_s - self._begun_s:.0f} s so far")
        time.sleep(self._poll_s)
        self._poll_s = min(_POLL_MAX_S, self._poll_s * 1.1)
        return True


class Server(ABC):
    """One server on one directory, reached through one socket."""

    name: ClassVar[str]
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]
    """The signals that end it, each with the seconds it is given."""

    def __init__(self, directory: Path, socket: Path, log: Path) -> None:
        self.directory = directory
        self.socket = socket
        self.log = log

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the variables that point a client here."""

    @abstractmethod
    def pid(self) -> int | None:
        """Return the process id of the running server: 0 where it cannot be seen from here, None if none runs."""

    @abstractmethod
    def answer(self) -> Answer:
        """Ask the server for anything at all."""

    @abstractmethod
    def progress(self) -> str:
        """Return how far a server that is starting has come; empty where it does not tell."""

    @abstractmethod
    def _start(self) -> int:
        """Start the server and return its process id; nothing runs on the directory."""

    def ensure_running(self, *, silence_max_s: float, report: Report = lambda _: None) -> None:
        """Have the server take requests: found running, or started, reading back or recovering what it stored.

        Raises:
            BinariesMissing, VersionMismatch, RootRefused, DataDirectoryUnusable, DataDirectoryBusy.
            ServerFailed: it ended, or has shown no sign of life for `silence_max_s`.
        """
        if self.pid() is not None and self._becomes_ready(lambda: self.pid() is not None, silence_max_s, report):
            return
        # None was there, or the one that was has ended.
        self._clear_leftovers()
        log_start = processes.rotated(self.log)
        started = self._start()
        if not self._becomes_ready(lambda: processes.is_alive(started, self.directory), silence_max_s, report):
            reason = processes.last_lines(self.log, since=log_start)
            raise ServerFailed(
                f"{self.name} in {self.directory} ended while starting: {reason} (log: {self.log})", log=self.log
            )

    def stop(self) -> None:
        """Stop the server; connected clients are cut off. Nothing happens if none runs, or one that is out of sight.

        Raises:
            ServerFailed: it survived even SIGKILL.
        """
        pid = self.pid()
        if pid and not processes.end(pid, self.stop_signals):
            raise ServerFailed(
                f"{self.name} (process {pid}) in {self.directory} does not end: look at {self.log} and end it "
                "yourself.",
                log=self.log,
            )

    def is_starting(self) -> bool:
        """Return whether the server runs and loads, recovers or shuts down."""
        return self.answer() is Answer.STARTING

    def _becomes_ready(self, is_there: Callable[[], bool], silence_max_s: float, report: Report) -> bool:
        """Wait until the server takes requests; False if it has ended.

        Raises:
            ServerFailed: it runs, and has shown no sign of life for `silence_max_s`. It is left alone.
        """
        waiting = Waiting(report, silence_max_s)
        while (answer := self.answer()) is not Answer.READY:
            if not is_there():
                return False
            if not waiting.goes_on(self._describe, shows_life=answer is Answer.STARTING):
                raise ServerFailed(
                    f"{self.name} in {self.directory} (process {self.pid() or 'unknown'}) runs and has not answered "
                    f"for {silence_max_s:.0f} s: look at {self.log}, and end it yourself if it hangs.",
                    log=self.log,
                )
        return True

    def _describe(self) -> str:
        progress = self.progress()
        return f"waiting for {self.name} in {self.directory} to start{f': {progress}' if progress else ''}"

    def _clear_leftovers(self) -> None:
        """Make room for a server where none runs.

        A killed process is a zombie a moment before the last of its threads lets go of the socket.
        """
        processes.end_leftovers(self.directory)
        if not processes.wait_until(lambda: processes.listener(self.socket) is None, timeout_s=_LETTING_GO_S):
            raise DataDirectoryBusy(
                f"A program that is no {self.name} listens at {self.socket}: end it, or choose another "
                "FULLON_DATA_DIR.",
                path=self.directory,
            )
        self.socket.unlink(missing_ok=True)


def listening_pid(server_socket: Path, directory: Path) -> int | None:
    """Return who listens for the server on `directory`, as ``Server.pid`` does."""
    pid = processes.listener(server_socket)
    if pid:
        return pid if processes.lives(pid) else None
    found = processes.find(directory)
    return found if pid is None else found or 0
