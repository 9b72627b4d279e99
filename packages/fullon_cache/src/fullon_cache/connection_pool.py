"""Connections to Redis: one pool per event loop and server, and the translation of what redis-py raises."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ssl import SSLCertVerificationError, SSLEOFError, SSLError, SSLZeroReturnError
from typing import Any, TypeAlias, TypeVar

import redis.asyncio as redis_asyncio
from redis import exceptions as redis_errors
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fullon_cache.errors import CacheError, ConfigurationError, ConnectionError, OutOfMemory, TlsFailed
from fullon_cache.settings import CacheSettings

Word: TypeAlias = bytes | str | int | float
_Answer = TypeVar("_Answer")

# The server answers, and says that it cannot serve now.
_UNABLE_CODES = frozenset(
    {
        "LOADING",
        "BUSY",
        "MASTERDOWN",
        "READONLY",
        "MISCONF",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "NOREPLICAS",
        "EXECABORT",
    }
)
_UNABLE_ERRORS = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.MasterDownError,
    redis_errors.TryAgainError,
    redis_errors.ClusterDownError,
    redis_errors.ExecAbortError,
)
# Of the refusals that redis-py knows it drops the code.
_CODES: dict[type[BaseException], str] = {
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.NoPermissionError: "NOPERM",
}
_LOGIN_ERRORS = (redis_errors.AuthenticationError, redis_errors.AuthenticationWrongNumberOfArgsError)


class ConnectionPool:
    """The connections of one event loop to one Redis database; `shared` gives the one that everybody uses.

    Nothing connects before the first command. Replies are bytes. Nothing is retried here: whether a command
    whose answer was lost may be sent again is known only to its caller.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.client: redis_asyncio.Redis = redis_asyncio.Redis.from_pool(_redis_pool(settings))

    @classmethod
    async def shared(cls) -> "ConnectionPool":
        """Return this event loop's pool for the Redis that the environment names now.

        It is closed when the event loop ends, or by `close_all`.

        Raises:
            ConfigurationError: a variable is missing or wrong.
        """
        settings = CacheSettings.from_env()
        loop = asyncio.get_running_loop()
        if loop not in _lives:
            for ended in [other for other in _lives if other.is_closed()]:
                del _lives[ended]
            _lives[loop] = _Life()
            await anext(_lives[loop].generator)
        pools = _lives[loop].pools
        if settings not in pools:
            pools[settings] = cls(settings)
        return pools[settings]

    @classmethod
    async def close_all(cls) -> None:
        """Close this event loop's connections; whoever calls next opens new ones."""
        life = _lives.get(asyncio.get_running_loop())
        if life is not None:
            await life.close()

    async def run(self, *words: Word, within_s: float = 0.0) -> Any:
        """Send one command and return its answer.

        `within_s` is what it may take beyond the time-outs of connecting and answering.

        Raises:
            ConnectionError: retryable; the server is away, silent, or unable to serve. If the answer was
            lost,
                the command may have been carried out.
            ConfigurationError: the server refuses the password or the database.
            CacheError: any other refusal of the server; `code` says which.
        """
        answer = self.client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py declares it untyped
        return await self.bounded(answer, within_s)

    async def run_all(self, commands: Iterable[Sequence[Word]]) -> list[Any]:
        """Send many commands in one go and return their answers; each is carried out for itself.

        Raises: as `run`, for the first that was refused.
        """
        pipeline = self.client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        # redis-py would put all that was sent into the sentence of its error.
        answers = await self.bounded(pipeline.execute(raise_on_error=False))
        for answer in answers:
            if isinstance(answer, redis_errors.RedisError):
                raise translated(answer, self.settings) from answer
        return answers

    async def ping(self) -> float:
        """Return how many seconds Redis took to answer.

        Raises: as `run`.
        """
        began = time.perf_counter()
        await self.run("PING")
        return time.perf_counter() - began

    async def close(self) -> None:
        """Close the connections; the next command opens new ones."""
        await self.bounded(self.client.connection_pool.aclose())

    async def bounded(self, work: Awaitable[_Answer], within_s: float = 0.0) -> _Answer:
        """Wait for something of redis-py's, for the time-outs of connecting and answering and `within_s` at most.

        Raises: as `run`.
        """
        timeouts_s = self.settings.connect_timeout_s + 2 * self.settings.socket_timeout_s
        try:
            async with asyncio.timeout(timeouts_s + within_s):
                with _no_cancellation_lost():
                    return await work
        except (redis_errors.RedisError, OSError) as error:
            raise translated(error, self.settings) from error


@contextmanager
def _no_cancellation_lost() -> Iterator[None]:
    """Raise the cancellation of the current task that came meanwhile, even where it did not get through.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 loses one that comes as the sending ends.
    """
    task = asyncio.current_task()
    known = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > known:
            raise asyncio.CancelledError


def translated(error: BaseException, settings: CacheSettings) -> CacheError:
    """Return our error for one of redis-py's or the network's."""
    # On a unix socket redis-py wraps what the server refuses during the handshake.
    if isinstance(error, redis_errors.ConnectionError) and isinstance(error.__cause__, redis_errors.RedisError):
        error = error.__cause__
    if (failure := _tls_failure(error, settings)) is not None:
        return failure
    address, reason = settings.address, str(error) or type(error).__name__
    first_word = reason.split(" ", 1)[0]
    code = first_word if first_word.isupper() else _CODES.get(type(error))
    if code == "OOM":
        return OutOfMemory(address, reason)
    if isinstance(error, _LOGIN_ERRORS) or code in {"NOAUTH", "WRONGPASS"}:
        variable = "REDIS_USERNAME or REDIS_PASSWORD" if settings.username else "REDIS_PASSWORD"
        return ConfigurationError(variable, None, f"the password of {address}", found="is refused", address=address)
    if code == "NOPERM":
        who = settings.username or "default"
        return CacheError(
            f"Redis does not permit it: {address}: {reason}; grant user {who!r} the right with ACL SETUSER",
            address=address,
            code=code,
        )
    if "DB index is out of range" in reason:
        return ConfigurationError("REDIS_DB", str(settings.database), f"a database that {address} has", address=address)
    if isinstance(error, TimeoutError):
        return ConnectionError(address, "no answer in time")
    if isinstance(error, OSError):
        return ConnectionError(address, error.strerror or reason)
    if isinstance(error, _UNABLE_ERRORS) or code in _UNABLE_CODES:
        return ConnectionError(address, reason)
    return CacheError(f"Redis refused a command: {address}: {reason}", address=address, code=code)


def _tls_failure(error: BaseException, settings: CacheSettings) -> TlsFailed | None:
    """Return our error where TLS is the cause; redis-py wraps it in its own."""
    if not settings.ssl:
        return None
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, SSLCertVerificationError):
        reason = f"the server's certificate is refused: {cause.verify_message.rstrip('.')}"
        if "mismatch" in cause.verify_message:
            return TlsFailed(settings.address, reason, "name the server in REDIS_HOST as its certificate does")
        return TlsFailed(settings.address, reason, "REDIS_CA_FILE must name the CA that signed it")
    if isinstance(cause, SSLError) and not isinstance(cause, SSLEOFError | SSLZeroReturnError):
        reason = (cause.reason or str(cause)).lower().replace("_", " ")
        return TlsFailed(settings.address, reason, "does the server speak TLS on this port? REDIS_SSL=false if not")
    return None


class _Life:
    """The pools of one event loop.

    A connection belongs to the loop that opened it and can be closed nowhere else. A loop tells nobody that
    it ends, except its asynchronous generators: `asyncio.run` closes those while the loop still turns.
    """

    def __init__(self) -> None:
        self.pools: dict[CacheSettings, ConnectionPool] = {}
        self.generator = self._until_the_loop_ends()

    async def close(self) -> None:
        for pool in self.pools.values():
            await pool.close()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _lives.pop(asyncio.get_running_loop(), None)
            await self.close()


_lives: dict[asyncio.AbstractEventLoop, _Life] = {}


def _redis_pool(settings: CacheSettings) -> redis_asyncio.BlockingConnectionPool:
    options: dict[str, Any] = {
        "db": settings.database,
        "username": settings.username or None,
        "password": settings.password or None,
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        # The shape of replies must not depend on the version of redis-py.
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.host.startswith("/"):
        options |= {"connection_class": UnixDomainSocketConnection, "path": settings.host}
    elif settings.ssl:
        settings.check_ca_file()
        options |= {"connection_class": SSLConnection, "host": settings.host, "port": settings.port}
        options |= {"ssl_ca_certs": settings.ca_file or None}
    else:
        options |= {"connection_class": Connection, "host": settings.host, "port": settings.port}
    return redis_asyncio.BlockingConnectionPool(
        max_connections=settings.connections_max, timeout=settings.socket_timeout_s, **options
    )
