"""What `LOG_*` says, checked."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fullon_log.files import Retention, Rotation
from fullon_log.formats import FORMATS

LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class LogSettings:
    """One checked configuration; the defaults are those of an empty environment."""

    level: str = "INFO"
    format: str = "beautiful"
    console: bool = True
    colors: bool = True
    file_path: str | None = None
    rotation: Rotation | None = None
    retention: Retention | None = None

    @classmethod
    def read(
        cls,
        *,
        level: str | None = None,
        file_path: str | os.PathLike[str] | None = None,
        console: bool | None = None,
        colors: bool | None = None,
        format: str | None = None,
        rotation: str | int | None = None,
        retention: str | int | None = None,
    ) -> "LogSettings":
        """Take each setting from its argument, else from its variable, else from the default.

        Raises:
            ValueError: one does not parse; the sentence names it, its value and what is allowed.
        """
        return cls(
            level=_setting("level", level, _level, cls.level),
            format=_setting("format", format, _format, cls.format),
            console=_setting("console", console, _boolean, cls.console),
            colors=_setting("colors", colors, _boolean, cls.colors),
            file_path=_setting("file_path", file_path, str, None),
            rotation=_setting("rotation", rotation, Rotation.parse, None),
            retention=_setting("retention", retention, Retention.parse, None),
        )


def _setting(name: str, argument: object, parse: Callable[[str], _Value], default: _Value) -> _Value:
    label, text = name, argument
    if argument is None:
        label = f"LOG_{name.upper()}"
        text = os.environ.get(label, "").strip()
        if not text:
            return default
    try:
        return parse(str(text))
    except ValueError as error:
        raise ValueError(f"{label} is {str(text)!r}; allowed is {error}") from None


def _level(text: str) -> str:
    return _one_of(LEVELS, text.upper())


def _format(text: str) -> str:
    return _one_of(FORMATS, text.lower())


def _boolean(text: str) -> bool:
    return _BOOLEANS[_one_of(_BOOLEANS, text.lower())]


def _one_of(allowed: dict[str, _Value], text: str) -> str:
    if text not in allowed:
        raise ValueError(", ".join(allowed))
    return text
