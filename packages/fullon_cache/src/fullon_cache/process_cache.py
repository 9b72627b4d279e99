"""Which processes run, how they are, and since when they have been silent.

    process:data:{id}            JSON of the record, kept for 24 h after its last change
    process:active:{type}        hash id → time of the last change; the stopped ones leave it
    process:components           hash component → id of the newest process of that name
    process:broadcast:{type}     channel

An id is `{type}:{component}:{epoch}`, the epoch being the second of the registration.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, overload

from fullon_cache.base_cache import BaseCache, to_json
from fullon_cache.connection_pool import Word
from fullon_cache.errors import CacheError, LockError, PubSubError, SerializationError
from fullon_cache.process_records import (
    ProcessRecord,
    ProcessStatus,
    ProcessType,
    ProcessUpdate,
    is_status,
    new_record,
    parse_type,
    read_record,
    with_age,
)
from fullon_log import get_component_logger

__all__ = ["ProcessCache", "ProcessRecord", "ProcessStatus", "ProcessType", "ProcessUpdate"]

RECORD_TTL_S: Final = 86_400
COMPONENTS_KEY: Final = "process:components"
BATCH_MAX: Final = 500
ATTEMPTS_MAX: Final = 20

# Writes a record if it is still what was read ('' for: is not there), and what refers to it, at once.
_REPLACE = """
local data, active, components = unpack(KEYS)
local expected, text, ttl_s, id, changed_at, component = unpack(ARGV)
if (redis.call('GET', data) or '') ~= expected then return 0 end
redis.call('SET', data, text, 'EX', ttl_s)
if changed_at == '' then redis.call('HDEL', active, id) else redis.call('HSET', active, id, changed_at) end
if component ~= '' then redis.call('HSET', components, component, id) end
return 1
"""

log = get_component_logger("fullon.cache.process")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ProcessCache(BaseCache):
    """The status of processes, written by themselves and read by whoever watches them.

    A process registers, beats at least every few minutes and stops. One that was killed stays as it was and
    shows by its heartbeat. `now` is the clock, aware UTC.
    """

    def __init__(self, *, now: Callable[[], datetime] = _utc_now) -> None:
        super().__init__()
        self._now = now

    async def register_process(
        self,
        process_type: ProcessType | str,
        component: str,
        params: Mapping[str, Any] | None = None,
        message: str | None = None,
        status: ProcessStatus | str = ProcessStatus.STARTING,
    ) -> str:
        """Announce a process and return its id. `params` is anything that JSON can hold.

        Raises:
            ValueError: an unknown type or status, or an empty component; says what is allowed.
            SerializationError: JSON cannot hold `params`.
            ConnectionError: retryable; registering again after it may leave a second, silent record.
        """
        kind = parse_type(process_type)
        if not component:
            raise ValueError("component is ''; allowed is any name")
        now = self._now()
        update = ProcessUpdate(status, message, params)
        epoch = int(now.timestamp())
        for attempt in range(ATTEMPTS_MAX):
            # Two registrations within a second would otherwise share an id.
            process_id = f"{kind}:{component}:{epoch + attempt}"
            record = new_record(process_id, kind, component, update, now)
            if process_id not in await self._replace([(b"", record)], component=component):
                return process_id
        raise LockError(process_id, f"{ATTEMPTS_MAX} processes of this name were registered within a second")

    @overload
    async def update_process(
        self,
        process_id: str,
        status: ProcessStatus | str | None = None,
        message: str | None = None,
        params: Mapping[str, Any] | None = None,
        heartbeat: bool = True,
    ) -> bool: ...

    @overload
    async def update_process(
        self,
        process_id: str,
        component: str,
        status: ProcessStatus | str,
        *,
        message: str | None = None,
        params: Mapping[str, Any] | None = None,
        heartbeat: bool = True,
    ) -> bool: ...

    async def update_process(self, process_id: str, *values: Any, **named: Any) -> bool:
        """Change a process and beat its heart; False if Redis does not know the id (any more).

        What is None stays; `params` are merged into those that are there; `heartbeat=False` changes without
        beating. `status` is a `ProcessStatus`, or a word for one such as `collecting`. In the short form,
        `update_process("ohlcv_service", component, "running", message=…)`, the first value is a type and the
        process is the newest of its component; if Redis knows none, it is registered, so that the status returns
        by itself after a Redis that lost everything.

        Raises:
            ValueError: an unknown type or status; says what is allowed.
            SerializationError: JSON cannot hold `params`.
            ConnectionError: retryable.
        """
        if ":" in process_id or not _names_component(values, named):
            update = _long_form(*values, **named)
            return process_id not in await self.update_processes({process_id: update})
        kind = parse_type(process_id)
        component, update = _short_form(*values, **named)
        known = await self._component_id(component)
        if known is None or known in await self.update_processes({known: update}):
            status = update.status or ProcessStatus.RUNNING
            await self.register_process(kind, component, update.params, update.message, status)
        return True

    async def update_processes(self, updates: Mapping[str, ProcessUpdate]) -> set[str]:
        """Change many processes, by id, in a few round trips; `ProcessUpdate()` is a mere heartbeat.

        Returns:
            The ids that Redis does not know (any more): register those processes again.

        Raises: as `update_process`.
        """
        unknown: set[str] = set()
        pending = list(updates)
        for _ in range(ATTEMPTS_MAX):
            contested: list[str] = []
            for ids in _batches(pending):
                texts = await self._texts(ids)
                unknown.update(process_id for process_id in ids if process_id not in texts)
                now = self._now()
                changes = [
                    (text, updates[process_id].applied_to(read_record(_data_key(process_id), text), now))
                    for process_id, text in texts.items()
                ]
                contested += await self._replace(changes)
            pending = contested
            if not pending:
                return unknown
        raise LockError(pending[0], f"its record was changed by others {ATTEMPTS_MAX} times while being written")

    async def get_process(self, process_id: str) -> ProcessRecord | None:
        """Return the record of a process, None if there is none.

        Raises:
            SerializationError: what is stored is no record.
        """
        texts = await self._texts([process_id])
        if process_id not in texts:
            return None
        return with_age(read_record(_data_key(process_id), texts[process_id]), self._now())

    async def get_active_processes(
        self,
        process_type: ProcessType | str | None = None,
        component: str | None = None,
        since_minutes: float = 5,
        include_heartbeat_check: bool = True,
    ) -> list[ProcessRecord]:
        """Return the processes that have not stopped and changed within `since_minutes`.

        With `include_heartbeat_check` their hearts must have beaten within that time, too. To see the dead as
        well, ask without it and for a long time: each record says whether it `is_stale`. Sorted by type and
        component, oldest first. A record that cannot be read is logged and left out.
        """
        now = self._now()
        since = now - timedelta(minutes=since_minutes)
        return [
            record
            for record in await self._not_stopped(process_type, now)
            if (component is None or record["component"] == component)
            and datetime.fromisoformat(record["updated_at"]) >= since
            and (not include_heartbeat_check or datetime.fromisoformat(record["heartbeat"]) >= since)
        ]

    async def stop_process(self, process_id: str, message: str | None = None) -> bool:
        """Record that a process has stopped; False if Redis does not know it. The record stays for 24 h."""
        update = ProcessUpdate(ProcessStatus.STOPPED, message)
        return process_id not in await self.update_processes({process_id: update})

    async def get_component_status(self, component: str) -> ProcessRecord | None:
        """Return the record of the newest process of a component, stopped or not; None if there is none."""
        process_id = await self._component_id(component)
        return await self.get_process(process_id) if process_id is not None else None

    async def get_system_health(self) -> dict[str, Any]:
        """Return whether all is well: nobody silent for more than 5 minutes, nobody in error.

        Keys: `healthy` (bool), `total_processes` and `active_processes`, `active`, `stale` and `error` (counts of
        processes that have not stopped; one can be both stale and in error), `stale_processes` and
        `error_processes` (their ids), `redis_ping_s`, `checked_at`.
        """
        ping_s = await self.ping()
        now = self._now()
        records = await self._not_stopped(None, now)
        stale = [record["process_id"] for record in records if record["is_stale"]]
        failed = [record["process_id"] for record in records if record["status"] == ProcessStatus.ERROR]
        return {
            "healthy": not stale and not failed,
            "total_processes": len(records),
            "active_processes": len(records) - len(stale),
            "active": len(records) - len(stale),
            "stale": len(stale),
            "error": len(failed),
            "stale_processes": stale,
            "error_processes": failed,
            "redis_ping_s": ping_s,
            "checked_at": now.isoformat(),
        }

    async def get_metrics(self) -> dict[str, Any]:
        """Return counts of the processes that have not stopped.

        Keys: `total` and `active`, also as `total_processes` and `active_processes`, `stale`, `by_type` and
        `by_status` (name → count), `components` (how many
        names are known, stopped ones too), `heartbeat_age_max_s` (0 without processes).
        """
        records = await self._not_stopped(None, self._now())
        stale = sum(record["is_stale"] for record in records)
        components = int(await self._run("HLEN", COMPONENTS_KEY))
        return {
            "total": len(records),
            "active": len(records) - stale,
            "total_processes": len(records),
            "active_processes": len(records) - stale,
            "stale": stale,
            "by_type": dict(Counter(record["process_type"] for record in records)),
            "by_status": dict(Counter(record["status"] for record in records)),
            "components": components,
            "heartbeat_age_max_s": max((record["heartbeat_age_s"] for record in records), default=0.0),
        }

    async def cleanup_stale_processes(self, stale_minutes: float = 30) -> int:
        """Take processes silent for `stale_minutes` out of the active ones and return how many.

        Their records stay for 24 h, with status `error` and a message; one that lives after all comes back
        with its next update. Entries whose record has expired go, too.
        """
        now = self._now()
        silent_since = now - timedelta(minutes=stale_minutes)
        update = ProcessUpdate(ProcessStatus.ERROR, f"no heartbeat for {stale_minutes:g} minutes", heartbeat=False)
        removed = 0
        for process_type in ProcessType:
            for ids in _batches(await self._active_ids([process_type])):
                texts = await self._texts(ids)
                silent = [
                    (text, update.applied_to(record, now))
                    for text, record in _readable(texts)
                    if datetime.fromisoformat(record["heartbeat"]) < silent_since
                ]
                # Whoever beat in this very moment is contested, and lives.
                removed += len(silent) - len(await self._replace(silent, is_active=False))
                if expired := [process_id for process_id in ids if process_id not in texts]:
                    removed += int(await self._run("HDEL", _active_key(process_type), *expired))
        return removed

    async def broadcast_message(self, process_type: ProcessType | str, message: Mapping[str, Any] | str) -> int:
        """Publish `message` as JSON to the processes of a type; return how many were listening.

        Raises:
            SerializationError: JSON cannot hold it.
            PubSubError: the server refuses to publish.
        """
        channel = f"process:broadcast:{parse_type(process_type)}"
        text = to_json(channel, message)
        try:
            return int(await self._run("PUBLISH", channel, text))
        except CacheError as error:
            if error.code is None:
                raise
            raise PubSubError(channel, str(error), address=error.address) from error

    async def _not_stopped(self, process_type: ProcessType | str | None, now: datetime) -> list[ProcessRecord]:
        records: list[ProcessRecord] = []
        for ids in _batches(await self._active_ids([parse_type(process_type)] if process_type else ProcessType)):
            records += [with_age(record, now) for _, record in _readable(await self._texts(ids))]
        return sorted(records, key=lambda r: (r["process_type"], r["component"], r["created_at"]))

    async def _active_ids(self, process_types: Iterable[ProcessType]) -> list[str]:
        commands = [("HKEYS", _active_key(process_type)) for process_type in process_types]
        return [name.decode() for names in await self._run_all(commands) for name in names]

    async def _texts(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored records of the ids that have one."""
        if not ids:
            return {}
        texts = await self._run("MGET", *map(_data_key, ids))
        return {process_id: text for process_id, text in zip(ids, texts, strict=True) if text is not None}

    async def _component_id(self, component: str) -> str | None:
        found = await self._run("HGET", COMPONENTS_KEY, component)
        return found.decode() if found is not None else None

    async def _replace(
        self, changes: Sequence[tuple[bytes, ProcessRecord]], *, component: str = "", is_active: bool = True
    ) -> list[str]:
        """Write records over the texts they were made from; return the ids whose text has changed since."""
        if not changes:
            return []
        commands: list[Sequence[Word]] = []
        for expected, record in changes:
            process_id = record["process_id"]
            data_key, active_key = _data_key(process_id), _active_key(record["process_type"])
            is_listed = is_active and record["status"] != ProcessStatus.STOPPED
            changed_at = record["updated_at"] if is_listed else ""
            text = to_json(data_key, record)
            keys = (data_key, active_key, COMPONENTS_KEY)
            commands.append(
                ("EVAL", _REPLACE, len(keys), *keys, expected, text, RECORD_TTL_S, process_id, changed_at, component)
            )
        written = await self._run_all(commands)
        return [record["process_id"] for (_, record), done in zip(changes, written, strict=True) if not done]


def _long_form(
    status: ProcessStatus | str | None = None,
    message: str | None = None,
    params: Mapping[str, Any] | None = None,
    heartbeat: bool = True,
) -> ProcessUpdate:
    return ProcessUpdate(status, message, params, heartbeat)


def _short_form(
    component: str,
    status: ProcessStatus | str,
    *,
    message: str | None = None,
    params: Mapping[str, Any] | None = None,
    heartbeat: bool = True,
) -> tuple[str, ProcessUpdate]:
    return component, ProcessUpdate(status, message, params, heartbeat)


def _names_component(values: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Return whether the first value is a component, as in the short form, rather than a status."""
    if "component" in named:
        return True
    if not values or values[0] is None:
        return False
    return not is_status(values[0]) or (len(values) > 1 and is_status(values[1]))


def _readable(texts: Mapping[str, bytes]) -> Iterator[tuple[bytes, ProcessRecord]]:
    for process_id, text in texts.items():
        try:
            yield text, read_record(_data_key(process_id), text)
        except SerializationError as error:
            log.warning("process record left out", process_id=process_id, reason=error)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), BATCH_MAX):
        yield ids[start : start + BATCH_MAX]


def _data_key(process_id: str) -> str:
    return f"process:data:{process_id}"


def _active_key(process_type: str) -> str:
    return f"process:active:{process_type}"
