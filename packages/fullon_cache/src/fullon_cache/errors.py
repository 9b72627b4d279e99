"""What can go wrong, as one sentence each: what happened, where, and what to do about it.

    CacheError(address)
    ├─ ConnectionError(reason)                      retryable
    │  └─ OutOfMemory                               retryable
    ├─ ConfigurationError(variable, value, allowed)    also a ValueError
    ├─ TlsFailed(reason)
    ├─ SerializationError(key)                         also a ValueError
    ├─ KeyNotFoundError(key)                           also a KeyError
    ├─ StreamError(exchange)
    │  ├─ StreamFull(frames, frames_max)            retryable
    │  └─ StreamReset                               retryable
    ├─ PubSubError(channel)
    └─ LockError(name)

`retryable` means that the same call may succeed later. No sentence ever holds a password.
"""


class CacheError(Exception):
    """Root of everything this package raises on purpose; `str()` is the whole sentence.

    `address` names the server and database, None where no server was involved; `code` is the first word of
    the server's refusal, such as `WRONGTYPE`, where there was one.
    """

    retryable = False
    retry_after_s: float | None = None

    def __init__(self, sentence: str, *, address: str | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.address = address
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectionError(CacheError):
    """Redis cannot be reached, went away, does not answer in time, or cannot serve just now."""

    retryable = True

    _advice = (
        "check that the server runs, that REDIS_HOST and REDIS_PORT, or REDIS_URL, name it, and whether it wants TLS "
        "(REDIS_SSL), then try again"
    )

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"Redis is not available: {address}: {reason}; {self._advice}", address=address)
        self.reason = reason


class OutOfMemory(ConnectionError):
    """Redis has reached its `maxmemory` and takes no more; reading and deleting still work."""

    _advice = "raise its maxmemory, or wait until stored frames have been taken out, then try again"


class ConfigurationError(CacheError, ValueError):
    """An environment variable is missing, cannot be parsed, or is refused by the server.

    `value` is None where it is missing or secret.
    """

    def __init__(
        self, variable: str, value: str | None, allowed: str, *, found: str = "", address: str | None = None
    ) -> None:
        what = found or ("is not set" if value is None else f"is {value!r}")
        super().__init__(f"{variable} {what}; allowed is {allowed}", address=address)
        self.variable = variable
        self.value = value
        self.allowed = allowed


class TlsFailed(CacheError):
    """The server speaks no TLS, or its certificate is not trusted."""

    def __init__(self, address: str, reason: str, advice: str) -> None:
        super().__init__(f"No secure connection to Redis: {address}: {reason}; {advice}", address=address)
        self.reason = reason


class SerializationError(CacheError, ValueError):
    """A value cannot be written as JSON, or what is stored under `key` cannot be read."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


class KeyNotFoundError(CacheError, KeyError):
    """There is nothing under `key`."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key}: there is nothing under this key")
        self.key = key


class StreamError(CacheError):
    """The stream of an exchange cannot be written or read as asked."""

    def __init__(self, exchange: str, reason: str, *, address: str | None = None) -> None:
        super().__init__(f"stream of {exchange}: {reason}", address=address)
        self.exchange = exchange


class StreamFull(StreamError):
    """The stream holds as many frames as it may; nothing was written. Acknowledging frames makes room."""

    retryable = True

    def __init__(self, exchange: str, *, frames: int, added: int, frames_max: int) -> None:
        super().__init__(
            exchange,
            f"holds {frames} frames, {added} more would exceed the {frames_max} allowed; "
            "try again when the batcher has stored some",
        )
        self.frames = frames
        self.frames_max = frames_max


class StreamReset(StreamError):
    """The stream vanished while it was being read (flushed, or Redis restarted empty)."""

    retryable = True


class PubSubError(CacheError):
    """A message could not be published on `channel`."""

    def __init__(self, channel: str, reason: str, *, address: str | None = None) -> None:
        super().__init__(f"channel {channel}: {reason}", address=address)
        self.channel = channel


class LockError(CacheError):
    """A lock could not be taken or kept; for services that lock through `ConnectionPool.client`."""

    def __init__(self, name: str, reason: str, *, address: str | None = None) -> None:
        super().__init__(f"lock {name}: {reason}", address=address)
        self.name = name
