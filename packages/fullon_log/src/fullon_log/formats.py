"""The six ways to write a record: pure functions from a `Line` to text. Times are UTC."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_RESET = "\x1b[0m"
_LEVEL_COLORS = {
    "TRACE": "\x1b[2m",
    "DEBUG": "\x1b[34m",
    "INFO": "\x1b[32m",
    "SUCCESS": "\x1b[1;32m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;41m",
}
_DIM, _CYAN, _BOLD, _MAGENTA = "\x1b[2m", "\x1b[36m", "\x1b[1m", "\x1b[35m"
_TRADING_FIELDS = ("exchange", "symbol", "side", "price", "volume")
_JSON_KEYS = frozenset({"timestamp", "level", "component", "message", "exception"})
_BARE = re.compile(r"[^\s\"'=\\]+")


@dataclass(frozen=True, slots=True)
class Line:
    """One record, ready to be written.

    `time` is aware UTC, `fields` are plain and masked, `origin` is `module:function:line`.
    """

    time: datetime
    level: str
    component: str
    message: str
    fields: Mapping[str, object]
    origin: str
    process_id: int
    thread: str
    traceback: str


Paint = Callable[[str, str], str]
Format = Callable[[Line, Paint], str]


def render(line: Line, format_name: str, *, colors: bool) -> str:
    """Return `line` in one of the `FORMATS`, ending in a newline.

    Control characters are escaped and further lines of a message are indented, so that no message of an
    exchange can forge a record or drive the terminal.
    """
    return FORMATS[format_name](line, _paint if colors else _plain) + "\n"


def _paint(color: str, text: str) -> str:
    return f"{color}{text}{_RESET}"


def _plain(_color: str, text: str) -> str:
    return text


def _beautiful(line: Line, paint: Paint) -> str:
    component = paint(_CYAN, line.component)
    return f"{paint(_DIM, _time(line))} │ {_level(line, paint)} │ {component} │ {_content(line, paint)}"


def _minimal(line: Line, paint: Paint) -> str:
    return f"{_level(line, paint, width=0)} {_content(line, paint)}"


def _development(line: Line, paint: Paint) -> str:
    where = f"{paint(_CYAN, line.component)} {paint(_DIM, line.origin)}"
    return f"{line.time:%H:%M:%S.%f} {_level(line, paint)} {where} - {_content(line, paint)}"


def _detailed(line: Line, paint: Paint) -> str:
    who = f"{line.process_id} | {line.thread} | {paint(_CYAN, line.component)} | {paint(_DIM, line.origin)}"
    return f"{_time(line, 'microseconds')} | {_level(line, paint)} | {who} | {_content(line, paint)}"


def _trading(line: Line, paint: Paint) -> str:
    market = [_value(line.fields[name]) for name in _TRADING_FIELDS if name in line.fields]
    where = paint(_MAGENTA, " ".join(market) or line.component)
    return f"{paint(_DIM, _time(line))} {_level(line, paint)} {where} | {_content(line, paint)}"


def _json(line: Line, _paint: Paint) -> str:
    document: dict[str, Any] = {
        "timestamp": _time(line, "microseconds"),
        "level": line.level,
        "component": line.component,
        "message": line.message,
    }
    for name, value in line.fields.items():
        document[f"field_{name}" if name in _JSON_KEYS else name] = value
    if line.traceback:
        document["exception"] = line.traceback
    return json.dumps(document, ensure_ascii=False, default=str)


FORMATS: dict[str, Format] = {
    "beautiful": _beautiful,
    "minimal": _minimal,
    "development": _development,
    "detailed": _detailed,
    "trading": _trading,
    "json": _json,
}


def _time(line: Line, precision: str = "milliseconds") -> str:
    return line.time.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _level(line: Line, paint: Paint, width: int = 8) -> str:
    return paint(_LEVEL_COLORS.get(line.level, _DIM), f"{line.level:<{width}}")


def _content(line: Line, paint: Paint) -> str:
    text = paint(_BOLD, _one_line(line.message)) + _fields(line.fields, paint)
    return f"{text}\n    {_one_line(line.traceback)}" if line.traceback else text


def _fields(fields: Mapping[str, object], paint: Paint) -> str:
    return "".join(f" {paint(_DIM, name + '=')}{_value(value)}" for name, value in fields.items())


def _value(value: object) -> str:
    """Write a value bare where it reads as one word, else as JSON, so that `key=value` can be split again."""
    if isinstance(value, str):
        if value.isprintable() and _BARE.fullmatch(value):
            return value
        return json.dumps(value, ensure_ascii=not value.isprintable())
    return json.dumps(value, ensure_ascii=False, default=str)


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    kept = "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)
    return kept.replace("\n", "\n    ")
