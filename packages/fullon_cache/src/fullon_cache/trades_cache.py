"""Trades on their way: lists for whoever collects them by hand, and the stream that the batcher stores from.

    trades:{exchange}:{symbol without "/"}   list of JSON, oldest first
    trades:status                            hash key → time of its last update
    trades:stream:{exchange}                 stream, one frame per entry, field "f"

A frame leaves the stream only when it is acknowledged, which its reader does after storing it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from fullon_cache.base_cache import BaseCache, from_json, to_json
from fullon_cache.connection_pool import Word
from fullon_cache.errors import CacheError, SerializationError, StreamFull, StreamReset
from fullon_log import get_component_logger
from fullon_orm.models import Trade

log = get_component_logger("fullon.cache.trades")

STATUS_KEY: Final = "trades:status"
GROUP: Final = "batcher"
FRAMES_MAX: Final = 200_000
TRADES_MAX: Final = 100_000
BATCH_MAX: Final = 1_000
APPEND_MAX: Final = 10_000

_STREAM_PREFIX: Final = "trades:stream:"
_TRADE_FIELDS: Final = frozenset(field.name for field in fields(Trade))

TradeItem: TypeAlias = Trade | Mapping[str, Any]

_PUSH = """
for i = 2, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
return redis.call('LLEN', KEYS[1])
"""

_TAKE = """
local trades = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
return trades
"""

# All or nothing, and the bound holds whoever else appends.
_APPEND = """
local frames = redis.call('XLEN', KEYS[1])
if frames + ARGV[1] > tonumber(ARGV[2]) then return frames end
for i = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'f', ARGV[i]) end
return -1
"""

# Together: acknowledged but not removed, a frame would fill the stream for ever.
_ACKNOWLEDGE = """
for i = 2, #ARGV do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  redis.call('XDEL', KEYS[1], ARGV[i])
end
"""


class Frame(NamedTuple):
    """One payload as it was appended; `entry_id` orders the frames of an exchange."""

    exchange: str
    entry_id: str
    payload: bytes


class TradesCache(BaseCache):
    """Trades of all exchanges.

    `frames_max` bounds each exchange's stream, stored but unacknowledged frames included. An exchange has one
    reader at a time; when it dies, the next one first claims what was delivered to it, then reads on. So
    every frame arrives at least once, and for the first time in the order it was appended.
    """

    def __init__(self, *, frames_max: int = FRAMES_MAX) -> None:
        super().__init__()
        if frames_max < 1:
            raise ValueError(f"frames_max is {frames_max}; allowed is 1 and more")
        self._frames_max = frames_max

    async def push_trade_list(self, symbol: str, exchange: str, trade: TradeItem | Sequence[TradeItem]) -> int:
        """Append one trade, or several, and return how many the list then holds (at most the newest 100,000).

        Raises:
            SerializationError: JSON cannot hold it.
            ConnectionError: retryable; the trade may have been appended.
        """
        key = _list_key(symbol, exchange)
        trades = [trade] if isinstance(trade, Trade | Mapping) else trade
        texts = [to_json(key, t.to_dict() if isinstance(t, Trade) else t) for t in trades]
        return int(await self._run_script(_PUSH, key, TRADES_MAX, *texts))

    async def push_trade(self, symbol: str, exchange: str, trade: TradeItem) -> int:
        """Append one trade and return how many the list then holds; raises as `push_trade_list`."""
        return await self.push_trade_list(symbol, exchange, trade)

    async def get_trades(self, symbol: str, exchange: str) -> list[Trade | dict[str, Any]]:
        """Take all trades out of the list, oldest first; what another caller takes, this one does not see.

        What was pushed as a `Trade` comes back as one, any other mapping as a dict. An entry that is neither
        is logged and left out.

        Raises:
            ConnectionError: retryable; trades already taken are lost with the connection. Trades that must
                not be lost go through `append_frames`.
        """
        key = _list_key(symbol, exchange)
        return list(_readable_trades(key, await self._run_script(_TAKE, key)))

    async def update_trade_status(self, key: str) -> bool:
        """Record that trades of `key` (an exchange, or whatever the caller counts by) were seen now."""
        await self._run("HSET", STATUS_KEY, key, datetime.now(UTC).isoformat())
        return True

    async def get_trade_status(self, key: str) -> datetime | None:
        """Return when trades of `key` were last seen, aware UTC; None if never."""
        text = await self._run("HGET", STATUS_KEY, key)
        return _status_time(key, text) if text is not None else None

    async def get_all_trade_statuses(self, prefix: str = "") -> dict[str, datetime]:
        """Return when trades were last seen, for every key that begins with `prefix`."""
        texts: dict[bytes, bytes] = await self._run("HGETALL", STATUS_KEY)
        named = ((name.decode(), text) for name, text in texts.items())
        return {name: _status_time(name, text) for name, text in sorted(named) if name.startswith(prefix)}

    async def append_frames(self, exchange: str, payloads: Sequence[bytes]) -> None:
        """Append payloads to the exchange's stream, in order: all of them or, if this raises, none.

        More than 10,000 go in as several lots, of which the first may then have been written.

        Raises:
            StreamFull: the stream would exceed `frames_max`; retryable once frames are acknowledged.
            OutOfMemory: retryable; nothing was written.
            ConnectionError: retryable; if the answer was lost they may have been written, and will be twice.
        """
        for start in range(0, len(payloads), APPEND_MAX):
            lot = payloads[start : start + APPEND_MAX]
            added = len(payloads) - start
            frames = await self._run_script(_APPEND, _stream_key(exchange), added, self._frames_max, *lot)
            if frames >= 0:
                raise StreamFull(exchange, frames=frames, added=added, frames_max=self._frames_max)

    async def read_frames(
        self, exchanges: Sequence[str], *, consumer: str, count: int = 1_000, block_ms: int = 1_000
    ) -> list[Frame]:
        """Return new frames, at most `count` of each exchange, in the order of its stream.

        `consumer` is a name that stays the same from start to start, for Redis remembers every one. Waits up to
        `block_ms` (0: not at all; never longer than half of REDIS_SOCKET_TIMEOUT) for the first,
        then returns [] if there is none. They stay in the stream until acknowledged; a call that is cancelled
        or loses its connection may have had frames delivered, which `claim_frames` gives again.

        Raises:
            StreamReset: retryable; the stream was removed while being read.
            ConnectionError: retryable.
        """
        if not exchanges:
            return []
        settings = (await self._shared_pool()).settings
        block_ms = min(block_ms, int(settings.socket_timeout_s * 500))
        # For Redis, 0 would mean to wait for ever.
        block: tuple[Word, ...] = ("BLOCK", block_ms) if block_ms > 0 else ()
        keys = [_stream_key(exchange) for exchange in exchanges]
        reader = ("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, *block)
        words = (*reader, "STREAMS", *keys, *([">"] * len(keys)))
        reply = await self._run_in_group(exchanges, *words, within_s=block_ms / 1_000)
        return [
            Frame(_exchange(key), entry_id.decode(), fields[b"f"])
            for key, entries in reply or ()
            for entry_id, fields in entries
        ]

    async def claim_frames(self, exchange: str, *, consumer: str, count: int = 1_000, idle_ms: int = 0) -> list[Frame]:
        """Return the oldest frames that were delivered to anyone and not acknowledged, oldest first.

        With `idle_ms`, only those delivered at least that long ago. Acknowledge what is returned and call
        again until nothing is; a call without acknowledging in between returns the same.

        Raises: as `read_frames`.
        """
        key, cursor = _stream_key(exchange), "0-0"
        frames: list[Frame] = []
        while len(frames) < count:
            words = ("XAUTOCLAIM", key, GROUP, consumer, idle_ms, cursor, "COUNT", count - len(frames))
            reply = await self._run_in_group([exchange], *words)
            # Redis 6 gives None for what was removed from the stream.
            entries = [(entry_id.decode(), fields) for entry_id, fields in reply[1] if fields]
            frames += [Frame(exchange, entry_id, fields[b"f"]) for entry_id, fields in entries]
            cursor = reply[0].decode()
            if cursor == "0-0":
                break
        return frames

    async def ack_frames(self, exchange: str, entry_ids: Sequence[str]) -> None:
        """Take stored frames out of the stream for good; ids that are gone already do not matter.

        Raises:
            ConnectionError: retryable.
        """
        key = _stream_key(exchange)
        for start in range(0, len(entry_ids), BATCH_MAX):
            ids = entry_ids[start : start + BATCH_MAX]
            await self._run_script(_ACKNOWLEDGE, key, GROUP, *ids)

    async def count_frames(self, exchange: str) -> int:
        """Return how many frames wait in the stream, delivered ones included."""
        return int(await self._run("XLEN", _stream_key(exchange)))

    async def _run_in_group(self, exchanges: Sequence[str], *words: Word, within_s: float = 0.0) -> Any:
        """Run a command that needs the consumer group, making the group where it is missing.

        It begins at the first entry: what was appended before the first reader came is read, too.
        """
        try:
            return await self._run(*words, within_s=within_s)
        except CacheError as error:
            if error.code != "NOGROUP":
                raise
        for exchange in exchanges:
            try:
                await self._run("XGROUP", "CREATE", _stream_key(exchange), GROUP, "0", "MKSTREAM")
            except CacheError as error:
                if error.code != "BUSYGROUP":
                    raise
        try:
            return await self._run(*words, within_s=within_s)
        except CacheError as error:
            if error.code != "NOGROUP":
                raise
            raise StreamReset(", ".join(exchanges), "was removed while being read; try again") from error


def _readable_trades(key: str, texts: Sequence[bytes]) -> Iterator[Trade | dict[str, Any]]:
    for text in texts:
        try:
            values = from_json(key, text)
            if not isinstance(values, dict):
                raise SerializationError(key, f"holds {values!r} in place of a trade")
            yield Trade.from_dict(values) if values.keys() >= _TRADE_FIELDS else values
        except (ValueError, TypeError) as error:
            log.warning("trade left out", key=key, reason=error, entry=text)


def _status_time(key: str, text: bytes) -> datetime:
    try:
        return datetime.fromisoformat(text.decode())
    except ValueError as error:
        raise SerializationError(f"{STATUS_KEY} {key}", f"is not a time: {error}") from error


def _list_key(symbol: str, exchange: str) -> str:
    return f"trades:{exchange}:{symbol.replace('/', '')}"


def _stream_key(exchange: str) -> str:
    return f"{_STREAM_PREFIX}{exchange}"


def _exchange(key: bytes) -> str:
    return key.decode().removeprefix(_STREAM_PREFIX)
