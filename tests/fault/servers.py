"""PostgreSQL, Redis and the daemon as things that die: killed with -9, stopped in their tracks, full, restarted."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, Self

import asyncpg
import psutil
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fullon_embedded import EmbeddedServers, start_servers

Name = Literal["PostgreSQL", "Redis"]

DEATH_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 20.0
POLL_S = 0.01


class PrivateServers:
    """An embedded PostgreSQL and Redis of one's own, in a new data directory, to be hurt without hurting other tests.

    A context manager, blocking or async; whatever was done to them, they are stopped and their directory is removed
    at the end.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fullon-fault-"))
        # Durable: without it a killed PostgreSQL forgets what it committed last, and tests want to see it kept.
        self._servers: EmbeddedServers = start_servers(self.directory / "data")

    def __enter__(self) -> Self:
        self._servers.start()
        return self

    def __exit__(self, *error: object) -> None:
        for name in self.running():
            self.resume(name)
        self._servers.close()
        shutil.rmtree(self.directory)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *error: object) -> None:
        await asyncio.shield(asyncio.to_thread(self.__exit__))

    def environment(self) -> dict[str, str]:
        """Return DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, REDIS_HOST and REDIS_PORT."""
        return self._servers.environment()

    def running(self) -> dict[str, int]:
        """Return the process ids of those that run, by name."""
        return {name: pid for name, pid in self._servers.pids().items() if pid is not None}

    async def kill(self, *names: Name) -> None:
        """Kill with -9, and wait until they are dead; both where none is named. Nobody starts them again."""
        pids = [pid for name, pid in self.running().items() if not names or name in names]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        give_up = time.monotonic() + DEATH_TIMEOUT_S
        while any(_lives(pid) for pid in pids):
            assert time.monotonic() < give_up, f"{pids} do not die"
            await asyncio.sleep(POLL_S)

    async def restart(self) -> None:
        """Start again what is dead; PostgreSQL recovers first."""
        await asyncio.to_thread(self._servers.ensure_running)

    def freeze(self, name: Name) -> None:
        """Stop a server and its children in their tracks: connections stay open, nothing is answered."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen server go on."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = psutil.Process(self.running()[name])
        # The parent first when it freezes, so that it makes no more children; last when it goes on.
        family = [process, *process.children(recursive=True)]
        for each in family if number is signal.SIGSTOP else reversed(family):
            try:
                each.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    # --- Redis

    async def empty_redis(self) -> None:
        """Kill Redis and start it with nothing in it."""
        await self.kill("Redis")
        for child in (self.directory / "data" / "redis").iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        await self.restart()

    @asynccontextmanager
    async def full_redis(self) -> AsyncIterator[None]:
        """Let Redis refuse every write for want of memory."""
        async with self.redis() as client:
            usual = await client.config_get("maxmemory*")
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                await client.config_set("maxmemory", usual["maxmemory"])
                await client.config_set("maxmemory-policy", usual["maxmemory-policy"])

    def redis(self) -> Redis:
        """Return a client that does not try again."""
        return Redis(unix_socket_path=self.environment()["REDIS_HOST"], retry=Retry(NoBackoff(), 0))

    # --- PostgreSQL

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """Open a connection."""
        place = self.environment()
        return await asyncpg.connect(
            host=place["DB_HOST"],
            port=int(place["DB_PORT"]),
            user=place["DB_USER"],
            password=place["DB_PASSWORD"],
            database=database,
            timeout=CONNECT_TIMEOUT_S,
        )

    async def end_backends(self, *, cancel_only: bool = False) -> int:
        """End every other connection to PostgreSQL, or cancel its statement; return how many there were."""
        what = "pg_cancel_backend" if cancel_only else "pg_terminate_backend"
        connection = await self.connect()
        try:
            count = await connection.fetchval(
                f"SELECT count({what}(pid)) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        finally:
            await connection.close()
        return int(count)

    @asynccontextmanager
    async def exhausted_postgres(self) -> AsyncIterator[int]:
        """Take every connection that is left; yield how many there were."""
        async with AsyncExitStack() as stack:
            taken = 0
            while True:
                try:
                    connection = await self.connect()
                except asyncpg.TooManyConnectionsError:
                    break
                stack.push_async_callback(connection.close)
                taken += 1
            yield taken

    @asynccontextmanager
    async def full_disk(self, database: str, *tables: str) -> AsyncIterator[None]:
        """Let writes to tables of a database fail as they do on a full disk (SQLSTATE 53100).

        What a client sees is the same; the server itself stays healthy, which a truly full disk does not promise.
        """
        connection = await self.connect(database)
        try:
            await connection.execute(
                "CREATE FUNCTION public.fault_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
                " 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
            )
            for table in tables:
                await connection.execute(
                    f"CREATE TRIGGER fault_disk_full BEFORE INSERT OR UPDATE ON {table}"
                    " FOR EACH STATEMENT EXECUTE FUNCTION public.fault_disk_full()"
                )
            try:
                yield
            finally:
                await connection.execute("DROP FUNCTION public.fault_disk_full() CASCADE")
        finally:
            await connection.close()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class DaemonProcess:
    """The daemon as an operator starts it, its output appended to `log`; what is left of it is killed at the end.

    Variables of `environment` are added to ours.
    """

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None, *arguments: str) -> None:
        self.log = log
        self._environment = os.environ | dict(environment or {})
        self._arguments = arguments
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.alive:
            self.resume()
            await self.kill()

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start it, also again."""
        assert not self.alive
        with self.log.open("ab") as sink:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fullon_ohlcv_service.daemon", *self._arguments,
                stdout=sink, stderr=sink, stdin=asyncio.subprocess.DEVNULL, cwd=self.log.parent, env=self._environment,
            )  # fmt: skip

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        self._signal(number)
        return await self._ended()

    async def kill(self) -> None:
        """Kill it with -9, and wait until it is dead."""
        self._signal(signal.SIGKILL)
        await self._ended()

    def freeze(self) -> None:
        """Stop it in its tracks, as a suspended machine does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def memory_mib(self) -> float:
        """Return its resident memory."""
        return float(self._process().memory_info().rss) / 2**20

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return int(self._process().num_fds())

    def said(self) -> str:
        """Return everything it has written so far."""
        return self.log.read_text()

    def _process(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def _ended(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await self.process.wait()
