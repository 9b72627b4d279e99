"""One PostgreSQL cluster."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fullon_embedded import processes
from fullon_embedded.binaries import PostgresPrograms, find_postgres
from fullon_embedded.errors import ServerFailed
from fullon_embedded.identity import Identity, choose_identity, give
from fullon_embedded.server import Answer, Server, listening_pid

PORT = 5432
SUPERUSER = "postgres"

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    # Moderate: a guest on somebody's machine. The rest is the kernel's page cache.
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    # History is loaded in bulk: few, spread checkpoints instead of one every few seconds.
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "30s",
    # One host, one node: no replication, no slots.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    # A failing statement is the client's to report; its text may hold what it was given.
    "log_min_error_statement": "panic",
}

# For tests: a machine that loses power loses the cluster. A killed server still recovers.
NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}

TIMESCALEDB = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "24",
}

_STARTUP_PACKET = f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
_PROTOCOL_3 = 196_608
_TERMINATE = b"X" + struct.pack("!i", 4)
_CANNOT_CONNECT_NOW = b"C57P03\0"
"""SQLSTATE of a server that starts up, recovers or shuts down."""
_TAIL_BYTES = 16 * 1024
_REMOVALS_MAX = 10
"""How often a directory is cleared while what was started in it is still ending."""


class Postgres(Server):
    """The cluster in `data_dir`/postgres, reached through the socket directory `sockets`."""

    name = "PostgreSQL"
    # Fast shutdown; then an immediate one, which the next start recovers from; then the kernel.
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))

    def __init__(
        self, data_dir: Path, sockets: Path, *, durable: bool = True, root_ways: Sequence[str] | None = None
    ) -> None:
        super().__init__(data_dir / "postgres", sockets / f".s.PGSQL.{PORT}", data_dir / "postgres.log")
        self.data_dir = data_dir
        self._durable = durable
        self._root_ways = root_ways

    def environment(self) -> dict[str, str]:
        """Return the variables that point a client here."""
        return {
            "DB_HOST": str(self.socket.parent),
            "DB_PORT": str(PORT),
            "DB_USER": SUPERUSER,
            "DB_PASSWORD": "",
        }

    def pid(self) -> int | None:
        """Return the process id of the running server: 0 where it cannot be seen from here, None if none runs.

        Its file is looked at first: every connection costs PostgreSQL a process.
        """
        pid = self._written_pid()
        if pid is not None and processes.is_alive(pid, self.directory):
            return pid
        if pid is None:
            return listening_pid(self.socket, self.directory)
        # What else works in the directory was left behind by a killed server.
        listening = processes.listener(self.socket)
        return listening if not listening or processes.lives(listening) else None

    def answer(self) -> Answer:
        """Return how the server replies to a client that wants to log in; a refusal, too, means that it runs."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2.0)
            try:
                client.connect(str(self.socket))
            except BlockingIOError:
                return Answer.SILENCE  # so many wait to be accepted that there is no room for one more
            except OSError:
                return Answer.NONE
            try:
                client.sendall(struct.pack("!ii", len(_STARTUP_PACKET) + 8, _PROTOCOL_3) + _STARTUP_PACKET)
                reply = client.recv(8192)
                if reply[:1] == b"R":
                    client.sendall(_TERMINATE)
            except OSError:
                return Answer.SILENCE
        if reply[:1] == b"E" and _CANNOT_CONNECT_NOW in reply:
            return Answer.STARTING
        return Answer.READY if reply else Answer.SILENCE

    def progress(self) -> str:
        """Return what the log said last of a recovery."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                tail = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        found = re.findall(r"LOG: +(.+ in progress|.+ \(.+\)), elapsed time: ", tail)
        return str(found[-1]) if found else ""

    def _start(self) -> int:
        found_programs = find_postgres(self.directory)
        identity, programs = choose_identity(found_programs, self.data_dir, ways=self._root_ways)
        if not self.directory.exists():
            self._initialise(programs, identity)
        give(self.directory, identity)
        return processes.start_detached(self._command(programs, identity), log=self.log)

    def _command(self, programs: PostgresPrograms, identity: Identity) -> list[str]:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket.parent)}
        if programs.timescaledb:
            settings |= TIMESCALEDB
        if not self._durable:
            settings |= NOT_DURABLE
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*identity.prefix, str(programs.postgres), "-D", str(self.directory), *options]

    def _initialise(self, programs: PostgresPrograms, identity: Identity) -> None:
        """Make the cluster beside its place and rename: an interrupted initdb never looks like a database."""
        for abandoned in self.data_dir.glob("postgres.initdb-*"):
            _remove_abandoned(abandoned)
        side = Path(tempfile.mkdtemp(prefix="postgres.initdb-", dir=self.data_dir))
        give(side, identity)
        # The built-in C.UTF-8 is the same on every operating system; before 17 there is only the system's C.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        command = (
            *identity.prefix,
            *(
                str(programs.initdb),
                "-D",
                str(side),
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
            ),
            *(locale if programs.major >= 17 else locale[:1]),
        )
        try:
            finished = subprocess.run(  # noqa: S603 - no user input but the path
                command,
                env=processes.server_environment(),
                cwd="/",
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if finished.returncode != 0:
                reason = " / ".join(finished.stderr.strip().splitlines()[-3:])
                raise ServerFailed(f"initdb could not make a database in {self.directory}: {reason}", log=self.log)
            side.rename(self.directory)
        finally:
            if side.exists():
                shutil.rmtree(side)

    def _clear_leftovers(self) -> None:
        """Also remove the files that keep a new server from starting.

        The order matters: postmaster.pid is also the guard that keeps a second server off the shared memory
        that orphaned backends still use.
        """
        super()._clear_leftovers()
        for file in (self.directory / "postmaster.pid", Path(f"{self.socket}.lock")):
            file.unlink(missing_ok=True)

    def _written_pid(self) -> int | None:
        """Return what the first line of postmaster.pid says; None where there is no such file."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        return int(lines[0]) if lines and lines[0].isdigit() else None


def _remove_abandoned(directory: Path) -> None:
    """Remove what an interrupted initdb has left, though its last process may still be writing or removing files."""
    for _ in range(_REMOVALS_MAX):
        processes.end_leftovers(directory)
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
    shutil.rmtree(directory)
