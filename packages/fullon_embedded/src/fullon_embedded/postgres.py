"""One PostgreSQL cluster: made, started, recognised and stopped. The caller holds the start lock."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fullon_embedded import processes
from fullon_embedded.binaries import PostgresPrograms, find_postgres
from fullon_embedded.errors import DataDirectoryBusy, ServerFailed
from fullon_embedded.identity import Identity, choose_identity, give

PORT = 5432
SUPERUSER = "postgres"

# Fast shutdown; then an immediate one, which the next start recovers from; then the kernel.
_STOP = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))

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

_REMOVALS_MAX = 10
"""How often a directory is cleared while what was started in it is still ending."""


class Postgres:
    """The cluster in `data_dir`/postgres, reached through the socket directory `sockets`."""

    name = "PostgreSQL"

    def __init__(
        self, data_dir: Path, sockets: Path, *, durable: bool = True, root_ways: Sequence[str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.cluster = data_dir / "postgres"
        self.log = data_dir / "postgres.log"
        self.socket = sockets / f".s.PGSQL.{PORT}"
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
        """Return the process id of the running server; None if none runs."""
        lines = self._pid_file()
        if not lines or not lines[0].isdigit():
            return None
        pid = int(lines[0])
        return pid if processes.is_alive(pid, self.cluster) else None

    def ensure_running(self, *, timeout_s: float) -> None:
        """Have the server accept connections: found running, or started, or recovered after a kill.

        Raises:
            BinariesMissing, VersionMismatch, RootRefused, DataDirectoryUnusable, DataDirectoryBusy.
            ServerFailed: it ended or is not ready within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        found = self.pid()
        if found is not None and self._becomes_ready(found, timeout_s=timeout_s):
            return
        # None was there, or the one that was is ending (killed, or told to stop from outside).
        self._clear_leftovers()
        found_programs = find_postgres(self.cluster)
        identity, programs = choose_identity(found_programs, self.data_dir, ways=self._root_ways)
        if not self.cluster.exists():
            self._initialise(programs, identity)
        give(self.cluster, identity)
        log_start = processes.rotated(self.log)
        started = processes.start_detached(self._command(programs, identity), log=self.log)
        if not self._becomes_ready(started, timeout_s=max(0.0, deadline - time.monotonic())):
            what = "is not ready in time" if processes.is_alive(started, self.cluster) else "ended while starting"
            reason = processes.last_lines(self.log, since=log_start)
            raise ServerFailed(f"PostgreSQL in {self.cluster} {what}: {reason} (log: {self.log})", log=self.log)

    def stop(self) -> None:
        """Stop the server; connected clients are cut off. Nothing happens if none runs.

        Raises:
            ServerFailed: it survived even SIGKILL.
        """
        pid = self.pid()
        if pid is not None and not processes.end(pid, self.cluster, _STOP):
            raise ServerFailed(
                f"PostgreSQL (process {pid}) in {self.cluster} does not end: look at {self.log} and end it yourself.",
                log=self.log,
            )

    def _command(self, programs: PostgresPrograms, identity: Identity) -> list[str]:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket.parent)}
        if programs.timescaledb:
            settings |= TIMESCALEDB
        if not self._durable:
            settings |= NOT_DURABLE
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*identity.prefix, str(programs.postgres), "-D", str(self.cluster), *options]

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
                raise ServerFailed(f"initdb could not make a database in {self.cluster}: {reason}", log=self.log)
            side.rename(self.cluster)
        finally:
            if side.exists():
                shutil.rmtree(side)

    def _clear_leftovers(self) -> None:
        """After a kill: end orphaned backends, then remove the files that keep a new server from starting.

        The order matters: postmaster.pid is also the guard that keeps a second server off the shared memory
        those backends still use. A socket that answers although no process is visible belongs to a server
        on the same directory in another container.
        """
        processes.end_leftovers(self.cluster)
        if processes.accepts(self.socket):
            raise DataDirectoryBusy(
                f"Another PostgreSQL, outside this container, runs on {self.cluster}: stop it there, or "
                "choose another FULLON_DATA_DIR.",
                path=self.cluster,
            )
        for file in (self.cluster / "postmaster.pid", self.socket, Path(f"{self.socket}.lock")):
            file.unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _status(self) -> str:
        """Return line 8 of postmaster.pid: starting, ready, standby, stopping; empty before it is written."""
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else ""

    def _becomes_ready(self, pid: int, *, timeout_s: float) -> bool:
        """Wait until the server `pid` takes connections; False if it ends, or is not ready in time."""

        def is_ready() -> bool:
            return self.pid() == pid and self._status() == "ready" and processes.accepts(self.socket)

        processes.wait_until(lambda: is_ready() or not processes.is_alive(pid, self.cluster), timeout_s=timeout_s)
        return is_ready()


def _remove_abandoned(directory: Path) -> None:
    """Remove what an interrupted initdb has left, though its last process may still be writing or removing files."""
    for _ in range(_REMOVALS_MAX):
        processes.end_leftovers(directory)
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
    shutil.rmtree(directory)
