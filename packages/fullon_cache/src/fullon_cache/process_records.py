"""The record of a running process: its shape, how an update changes it, when it is stale. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Required, TypedDict, TypeVar

import msgspec

from fullon_cache.errors import SerializationError

STALE_AFTER = timedelta(minutes=5)


class ProcessType(StrEnum):
    """What a process does."""

    TICK = "tick"
    OHLCV = "ohlcv"
    BOT = "bot"
    ACCOUNT = "account"
    ORDER = "order"
    BOT_STATUS_SERVICE = "bot_status_service"
    CRAWLER = "crawler"
    USER_TRADES_SERVICE = "user_trades_service"


class ProcessStatus(StrEnum):
    """How a process is, by its own account."""

    STARTING = "starting"
    RUNNING = "running"
    PROCESSING = "processing"
    IDLE = "idle"
    ERROR = "error"
    STOPPED = "stopped"


class ProcessRecord(TypedDict, total=False):
    """What is known of a process; times are ISO 8601 text in UTC.

    `heartbeat_age_s` and `is_stale` (not stopped, and silent for more than 5 minutes) are worked out when the
    record is read; the rest is what is stored.
    """

    process_id: Required[str]
    process_type: Required[str]
    component: Required[str]
    params: Required[dict[str, Any]]
    status: Required[str]
    message: Required[str | None]
    created_at: Required[str]
    updated_at: Required[str]
    heartbeat: Required[str]
    heartbeat_age_s: float
    is_stale: bool


@dataclass(frozen=True, slots=True)
class ProcessUpdate:
    """A change of a record. None keeps what was; `params` are merged into those that are there."""

    status: ProcessStatus | str | None = None
    message: str | None = None
    params: Mapping[str, Any] | None = None
    heartbeat: bool = True

    def applied_to(self, record: ProcessRecord, now: datetime) -> ProcessRecord:
        """Return the changed record.

        Raises:
            ValueError: `status` is none of `ProcessStatus`.
        """
        changed = record.copy()
        if self.status is not None:
            changed["status"] = parse_status(self.status)
        if self.message is not None:
            changed["message"] = self.message
        if self.params is not None:
            changed["params"] = {**record["params"], **self.params}
        changed["updated_at"] = now.isoformat()
        if self.heartbeat:
            changed["heartbeat"] = now.isoformat()
        return changed


def new_record(
    process_id: str, process_type: ProcessType, component: str, update: ProcessUpdate, now: datetime
) -> ProcessRecord:
    """Return the first record of a process."""
    record = ProcessRecord(
        process_id=process_id,
        process_type=process_type,
        component=component,
        params={},
        status=ProcessStatus.STARTING,
        message=None,
        created_at=now.isoformat(),
        updated_at=now.isoformat(),
        heartbeat=now.isoformat(),
    )
    return update.applied_to(record, now)


def read_record(key: str, text: bytes) -> ProcessRecord:
    """Return the record stored as JSON `text`.

    Raises:
        SerializationError: it is no such record; names `key`.
    """
    try:
        record = msgspec.json.decode(text, type=ProcessRecord)
        datetime.fromisoformat(record["heartbeat"])
    except (msgspec.DecodeError, ValueError) as error:
        raise SerializationError(key, f"is not the record of a process: {error}") from error
    return record


def with_age(record: ProcessRecord, now: datetime) -> ProcessRecord:
    """Return the record with `heartbeat_age_s` and `is_stale` as of `now`."""
    age = now - datetime.fromisoformat(record["heartbeat"])
    is_stale = record["status"] != ProcessStatus.STOPPED and age > STALE_AFTER
    return {**record, "heartbeat_age_s": age.total_seconds(), "is_stale": is_stale}


def parse_type(value: str) -> ProcessType:
    """Return the process type named, also in the form `ohlcv_service`.

    Raises:
        ValueError: there is none; says what is allowed.
    """
    text = str(value)
    known = set(ProcessType)
    return _parse(ProcessType, text if text in known else text.removesuffix("_service"), "process type", text)


_WORDS_FOR_RUNNING = frozenset(
    ("collecting", "streaming", "fetching", "backfilling", "syncing", "connected", "active", "live")
)
"""What programs of this ecosystem report while they run."""


def parse_status(value: str) -> ProcessStatus:
    """Return the status named, `running` also for a word that means it, such as `collecting`.

    Raises:
        ValueError: there is none; says what is allowed.
    """
    if str(value) in _WORDS_FOR_RUNNING:
        return ProcessStatus.RUNNING
    return _parse(ProcessStatus, str(value), "status", str(value))


def is_status(value: object) -> bool:
    """Return whether `parse_status` knows the value."""
    return str(value) in _WORDS_FOR_RUNNING or str(value) in set(ProcessStatus)


_Kind = TypeVar("_Kind", ProcessType, ProcessStatus)


def _parse(kind: type[_Kind], text: str, what: str, given: str) -> _Kind:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{what} is {given!r}; allowed is {', '.join(kind)}") from None
