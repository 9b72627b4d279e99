"""What must not be seen in a log, and the plain shape that values take there.

A field is masked when its *name* says that it is a secret; text is masked where it *contains* one: the
password of a URL, `password=…`, an Authorization header. When in doubt too much is masked rather than too
little.
"""

import datetime
import math
import re
import traceback
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from itertools import islice

MASK = "***"
TEXT_CHARS_MAX = 4_000
ITEMS_MAX = 100
DEPTH_MAX = 5
INT_BITS_MAX = 1_024

# `token` is not a secret where it is counted: a rate budget has tokens too.
_CONFIDENTIAL = (
    r"passw(?:or)?d|passphrase|pwd|secret|private[_-]?key|secret[_-]?key|access[_-]?key|api[_-]?key|api[_-]?sign"
    r"|authorization|credentials?|cookie|signature|session[_-]?id|token(?!s|iz|[_-](?:count|bucket))"
)
_CONFIDENTIAL_NAME = re.compile(rf"{_CONFIDENTIAL}|\b(?:auth|otp|f2a|pin)\b", re.IGNORECASE)

# A port is not a password: Binance writes wss://host:9443/ws/btcusdt@trade.
_URL_PASSWORD = re.compile(r"(://[^\s:/@?#]*):(?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]*@")
_URL_USER = re.compile(r"://[^\s:/@?#\"'<>]+@")
_ASSIGNMENT = re.compile(
    rf"((?:{_CONFIDENTIAL})[\"']?\s?[=:]\s?)((?:Bearer|Basic)\s+\S+|\"[^\"]*\"|'[^']*'|[^\s,;&)}}\]\"']+)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{8,}")


@lru_cache(maxsize=1_024)
def is_secret_name(name: str) -> bool:
    """Tell whether a field of this name holds a secret: `password`, `api_key`, `X-Auth-Token`, …"""
    return _CONFIDENTIAL_NAME.search(name) is not None


def mask_text(text: str) -> str:
    """Return `text` with `***` for passwords in URLs, `secret=value` pairs and authorization headers."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
        text = _URL_USER.sub(f"://{MASK}@", text)
    if "=" in text or ":" in text:
        text = _ASSIGNMENT.sub(rf"\1{MASK}", text)
    if "Bearer" in text or "Basic" in text:
        text = _SCHEME.sub(rf"\1 {MASK}", text)
    return text


def to_text(value: object) -> str:
    """Return `str(value)`; a value whose `__str__` fails is named instead, for a log call must not raise."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - foreign code behind __str__ may raise anything
        return f"<unprintable {type(value).__name__}>"


def plain_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return `fields` as values that JSON can hold, secrets masked, long texts and collections cut."""
    return {name: _plain_field(name, value, 0) for name, value in fields.items()}


def traceback_text(exception: BaseException) -> str:
    """Return the masked traceback of `exception`, its causes included, without the last newline."""
    try:
        lines = traceback.format_exception(exception)
    except Exception:  # noqa: BLE001 - foreign code behind __str__ or __repr__ may raise anything
        lines = [f"<unprintable {type(exception).__name__}>"]
    return mask_text("".join(lines)).rstrip("\n")


def _plain_field(name: str, value: object, depth: int) -> object:
    if value is not None and not isinstance(value, bool) and is_secret_name(name):
        return MASK
    return _plain(value, depth)


def _plain(value: object, depth: int) -> object:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= INT_BITS_MAX else f"<int of {value.bit_length()} bits>"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, bytes | bytearray):
        return _bounded(bytes(value[: TEXT_CHARS_MAX + 1]).decode(errors="backslashreplace"))
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, BaseException):
        return _bounded(f"{type(value).__name__}: {to_text(value)}")
    if depth < DEPTH_MAX:
        if isinstance(value, Mapping):
            return {
                (key := to_text(name)): _plain_field(key, item, depth + 1)
                for name, item in islice(value.items(), ITEMS_MAX)
            }
        if isinstance(value, list | tuple | set | frozenset):
            return _items(value, len(value), depth)
    return _bounded(to_text(value))


def _items(values: Iterable[object], count: int, depth: int) -> list[object]:
    items = [_plain(item, depth + 1) for item in islice(values, ITEMS_MAX)]
    if count > ITEMS_MAX:
        items.append(f"… {count - ITEMS_MAX} more")
    return items


def _bounded(text: str) -> str:
    if len(text) > TEXT_CHARS_MAX:
        text = f"{text[:TEXT_CHARS_MAX]}… {len(text) - TEXT_CHARS_MAX} more characters"
    return mask_text(text)
