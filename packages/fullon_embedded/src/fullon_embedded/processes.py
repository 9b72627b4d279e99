"""Server processes: started detached, recognised without mistake, ended for certain."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from fullon_embedded.errors import DataDirectoryBusy

POLL_S = 0.01
_PROGRAMS = frozenset({"postgres", "initdb", "valkey-server", "redis-server"})
LOG_BYTES_MAX = 16 * 1024 * 1024
# How macOS names the process behind a unix socket (sys/un.h).
_SOL_LOCAL = 0
_LOCAL_PEERPID = 2

# The shell starts the server in the background, prints its process id and ends. So the server is nobody's
# child here: a client that outlives it keeps no zombie, and one that ends first leaves no trace.
_DETACH = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!'


def server_environment() -> dict[str, str]:
    """Return the environment for a server: no PG*, no locale, no time zone of the caller."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", **kept}


def start_detached(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start `command` in a session of its own, output appended to `log`; return its process id."""
    shell = ["/bin/sh", "-c", _DETACH, "sh", str(log), *command]
    finished = subprocess.run(  # noqa: S603 - no user input reaches the command line
        shell,
        env=dict(environment or server_environment()),
        cwd="/",
        start_new_session=True,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return int(finished.stdout)


def is_alive(pid: int, directory: Path) -> bool:
    """True if `pid` runs a server on `directory`: it exists, is no zombie, and is about that directory.

    A process id is reused after a reboot or a wrap-around, and a killed server whose parent does not reap
    stays visible as a zombie; neither is a running server.
    """
    # For an instant, while it executes its program or is being torn down, a process has no command line.
    for _ in range(20):
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if command := process.cmdline():
                return str(directory) in command or _works_in(process, directory)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False
        time.sleep(POLL_S / 2)
    return False


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Poll `condition` until it holds; False if it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def lives(pid: int) -> bool:
    """True while `pid`, known to be one of our servers, exists; it may be hidden from us in ``/proc``.

    systemd's `PrivateUsers=` and `ProtectProc=` hide processes of the same user from one another.
    """
    try:
        os.kill(pid, 0)
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.name() in _PROGRAMS
    except (ProcessLookupError, PermissionError, psutil.ZombieProcess):
        return False
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return True  # signals reach it all the same; one that has just ended is found to be gone the next time


def end(pid: int, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send a server the signals of `steps` in turn, waiting the given seconds after each; True once it has ended."""
    for number, patience_s in steps:
        send(pid, number)
        if wait_until(lambda: not lives(pid), timeout_s=patience_s):
            return True
    return False


def find(directory: Path) -> int | None:
    """Return the process id of a server that works in, or was started on, `directory`; None if none can be seen."""
    return next((process.pid for process in psutil.process_iter() if _belongs(process, directory)), None)


def end_leftovers(directory: Path, *, timeout_s: float = 10.0) -> None:
    """Kill what a killed server left behind: its own programs working in, or started on, `directory`.

    Backends of a killed postmaster live on until they look up from their query; a new server beside them
    would corrupt the cluster. Only server programs are touched, never a shell that stands there.

    Raises:
        DataDirectoryBusy: they do not end.
    """
    leftovers = [process.pid for process in psutil.process_iter() if _belongs(process, directory)]
    for pid in leftovers:
        send(pid, signal.SIGKILL)
    if not wait_until(lambda: not any(_still_there(pid) for pid in leftovers), timeout_s=timeout_s):
        raise DataDirectoryBusy(
            f"A killed server left processes in {directory} that do not end ({', '.join(map(str, leftovers))}): "
            "end them, or restart the machine.",
            path=directory,
        )


def _belongs(process: psutil.Process, directory: Path) -> bool:
    try:
        return (
            process.name() in _PROGRAMS
            and process.status() != psutil.STATUS_ZOMBIE
            and (str(directory) in process.cmdline() or _works_in(process, directory))
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _works_in(process: psutil.Process, directory: Path) -> bool:
    """Every server changes to its directory; some write a title over their command line."""
    return process.name() in _PROGRAMS and process.cwd() == str(directory)


def _still_there(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def last_lines(log: Path, *, since: int, count: int = 3) -> str:
    """Return the end of what `log` got after byte `since`, in one line, errors first if there are any."""
    try:
        with log.open("rb") as file:
            file.seek(since)
            lines = file.read(64 * 1024).decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"no log: {error}"
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror", "LOG:"))]
    return " / ".join(line.strip() for line in (telling or lines)[-count:]) or "nothing was logged"


def listener(path: Path) -> int | None:
    """Return the id of the process that listens on the unix socket `path`; 0 where it cannot be seen, None if none.

    The kernel names it, so neither a file nor ``/proc`` has to be believed.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
            if sys.platform == "linux":
                pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            else:
                pid = probe.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
        except (BlockingIOError, TimeoutError):
            return 0  # so many wait to be accepted that there is no room for one more
        except OSError:
            return None
        return int(pid)


def rotated(log: Path) -> int:
    """Keep the log bounded: a big one becomes the only old one. Return the size to which will be appended."""
    size = log.stat().st_size if log.exists() else 0
    if size <= LOG_BYTES_MAX:
        return size
    log.replace(log.with_suffix(".log.old"))
    return 0
