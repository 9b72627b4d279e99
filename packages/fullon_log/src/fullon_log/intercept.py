"""Warnings and errors of libraries that log through the standard library."""

import logging
import sys
from collections.abc import Callable, Mapping

Emit = Callable[[str, str, object, Mapping[str, object], str | None], None]

_LEVELS_DOWN = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"))


class LibraryHandler(logging.Handler):
    """Hand records of WARNING and above to `emit`, under the library's logger name."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(level=logging.WARNING)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record; its own `%` arguments are applied, and if they do not fit, shown."""
        level = next(name for number, name in _LEVELS_DOWN if record.levelno >= number)
        fields: dict[str, object] = {}
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - foreign arguments may raise anything when formatted
            message, fields["args"] = str(record.msg), record.args
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._emit(record.name, level, message, fields, f"{record.module}:{record.funcName}:{record.lineno}")


def install(handler: LibraryHandler) -> None:
    """Make `handler` the one of its kind on the root logger, and no other there writes to the console."""
    root = logging.getLogger()
    for other in root.handlers[:]:
        if isinstance(other, LibraryHandler) or _writes_to_console(other):
            root.removeHandler(other)
    root.addHandler(handler)


def _writes_to_console(handler: logging.Handler) -> bool:
    consoles = (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)
    return type(handler) is logging.StreamHandler and any(handler.stream is console for console in consoles)
