"""What all caches share: the way to Redis, and JSON."""

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from fullon_cache.connection_pool import ConnectionPool, Word
from fullon_cache.errors import KeyNotFoundError, SerializationError


class BaseCache:
    """One face of Redis; an async context manager.

    Entering reads the environment and connects nothing yet, so that a Redis that is away is met, and can be
    retried, at each call. Leaving leaves the connections to the other caches of the event loop.
    """

    def __init__(self) -> None:
        self._pool: ConnectionPool | None = None

    async def __aenter__(self) -> Self:
        await self._shared_pool()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Forget the pool; the next call looks at the environment again."""
        self._pool = None

    async def ping(self) -> float:
        """Return how many seconds Redis took to answer.

        Raises:
            ConnectionError: it did not; retryable.
        """
        return await (await self._shared_pool()).ping()

    async def get_json(self, key: str) -> Any:
        """Return the value stored as JSON under `key`.

        Raises:
            KeyNotFoundError: there is none.
            SerializationError: it is no JSON.
        """
        text = await self._run("GET", key)
        if text is None:
            raise KeyNotFoundError(key)
        return from_json(key, text)

    async def set_json(self, key: str, value: Any, *, ttl_s: int | None = None) -> None:
        """Store `value` as JSON under `key`, for `ttl_s` seconds or for ever.

        Raises:
            SerializationError: JSON cannot hold it.
        """
        lifetime: tuple[Word, ...] = ("EX", ttl_s) if ttl_s is not None else ()
        await self._run("SET", key, to_json(key, value), *lifetime)

    async def delete(self, *keys: str) -> int:
        """Remove `keys` and return how many there were."""
        return int(await self._run("DEL", *keys)) if keys else 0

    async def _run(self, *words: Word, within_s: float = 0.0) -> Any:
        return await (await self._shared_pool()).run(*words, within_s=within_s)

    async def _run_all(self, commands: Iterable[Sequence[Word]]) -> list[Any]:
        return await (await self._shared_pool()).run_all(commands)

    async def _run_script(self, script: str, key: str, *arguments: Word) -> Any:
        """Run a Lua script on one key: all of it or, if its first write is refused, nothing."""
        return await self._run("EVAL", script, 1, key, *arguments)

    async def _shared_pool(self) -> ConnectionPool:
        if self._pool is None or self._pool.loop is not asyncio.get_running_loop():
            self._pool = await ConnectionPool.shared()
        return self._pool


def to_json(key: str, value: object) -> bytes:
    """Return `value` as JSON.

    Raises:
        SerializationError: JSON cannot hold it; names `key` and the type.
    """
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(key, f"cannot be written as JSON: {error}") from error


def from_json(key: str, text: bytes) -> Any:
    """Return the value of JSON `text`.

    Raises:
        SerializationError: it is no JSON; names `key`.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SerializationError(key, f"is not JSON: {error}") from error
