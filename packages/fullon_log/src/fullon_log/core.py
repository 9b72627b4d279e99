"""Component loggers, and where their records go.

Nothing happens at import. The first record configures logging from the environment, unless
`configure_logger` came before. A record below the level costs one comparison.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Final

from loguru import logger as _loguru

from fullon_log.files import LogFile
from fullon_log.formats import Line, render
from fullon_log.intercept import LibraryHandler, install
from fullon_log.masking import mask_text, plain_fields, to_text, traceback_text
from fullon_log.settings import LEVELS, LogSettings

if TYPE_CHECKING:
    from loguru import Record

Sink = Callable[[str], None]

_EVERYTHING: Final = 0


class _Outlet:
    """Where records leave this process: the threshold and the handlers that loguru got from us."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Everything passes until the first configuration, for the first record must bring it about.
        self.level_no = _EVERYTHING
        self.handler_ids: list[int] = []
        self.is_configured = False


_outlet = _Outlet()


class ComponentLogger:
    """Log under one component name; get it from `get_component_logger`.

    Each method takes a message, of any type and never interpreted (`{}` and `%` are plain text), and
    fields. Secrets are masked by field name and by content. `exc_info=True` adds the traceback of the
    exception being handled; an exception in its place adds that one's. No call raises.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"ComponentLogger({self.name!r})"

    def debug(self, message: object, /, **fields: object) -> None:
        """Log what only a developer wants to see."""
        if _outlet.level_no <= 10:
            _emit(self.name, "DEBUG", message, fields)

    def info(self, message: object, /, **fields: object) -> None:
        """Log what an operator wants to see."""
        if _outlet.level_no <= 20:
            _emit(self.name, "INFO", message, fields)

    def warning(self, message: object, /, **fields: object) -> None:
        """Log what went wrong and is being dealt with."""
        if _outlet.level_no <= 30:
            _emit(self.name, "WARNING", message, fields)

    def error(self, message: object, /, **fields: object) -> None:
        """Log what went wrong and stays wrong."""
        if _outlet.level_no <= 40:
            _emit(self.name, "ERROR", message, fields)

    def critical(self, message: object, /, **fields: object) -> None:
        """Log what ends the program or needs somebody now."""
        if _outlet.level_no <= 50:
            _emit(self.name, "CRITICAL", message, fields)

    def exception(self, message: object, /, **fields: object) -> None:
        """Log an error with the traceback of the exception being handled."""
        if _outlet.level_no <= 40:
            _emit(self.name, "ERROR", message, {"exc_info": True, **fields})


def get_component_logger(name: str) -> ComponentLogger:
    """Return a logger for the component `name`, such as `fullon.ohlcv.daemon`."""
    return ComponentLogger(name)


def configure_logger(
    *,
    level: str | None = None,
    file_path: str | os.PathLike[str] | None = None,
    console: bool | None = None,
    colors: bool | None = None,
    format: str | None = None,
    rotation: str | int | None = None,
    retention: str | int | None = None,
    sink: Sink | None = None,
) -> None:
    """Decide what is logged, how and where to; may be called again at any time and then starts afresh.

    What is not given comes from `LOG_LEVEL`, `LOG_FILE_PATH`, `LOG_CONSOLE`, `LOG_COLORS`, `LOG_FORMAT`,
    `LOG_ROTATION` and `LOG_RETENTION`, read now. The console is stderr, coloured only where it is a
    terminal; `sink` takes its place: it is called with each rendered record, newline included. A program
    that draws on the terminal passes `console=False` or its own `sink`. Warnings and errors of libraries
    that use `logging` go the same way.

    Args:
        level: TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL.
        file_path: a file to append to; one that cannot be opened is reported and does not stop the program.
        format: beautiful, minimal, development, detailed, trading or json.
        rotation: a size (`10 MB`), a period (`1 day`) or a time of day in UTC (`00:00`).
        retention: how many rotated files to keep (`10`), or for how long (`7 days`).

    Raises:
        ValueError: a setting does not parse; names the argument or variable, its value and what is allowed.
    """
    settings = LogSettings.read(
        level=level,
        file_path=file_path,
        console=console,
        colors=colors,
        format=format,
        rotation=rotation,
        retention=retention,
    )
    _apply(settings, sink)


def _apply(settings: LogSettings, sink: Sink | None) -> None:
    with _outlet.lock:
        if not _outlet.is_configured:
            # loguru comes with a handler on stderr, which somebody may have removed already.
            with contextlib.suppress(ValueError):
                _loguru.remove(0)
        for handler_id in _outlet.handler_ids:
            _loguru.remove(handler_id)
        _outlet.handler_ids = []
        if settings.console:
            _add_handler(settings, sink or _write_console, colors=settings.colors and sink is None)
        if settings.file_path:
            log_file = LogFile(settings.file_path, settings.rotation, settings.retention)
            log_file.open()
            _add_handler(settings, log_file, colors=False)
        _outlet.level_no = LEVELS[settings.level]
        _outlet.is_configured = True
        install(LibraryHandler(_emit))


def _add_handler(settings: LogSettings, target: Sink | LogFile, *, colors: bool) -> None:
    def rendered(record: "Record") -> str:
        # loguru takes the returned text for a template with colour marks; the text itself must not be read
        # as one.
        painted = colors and _console_is_terminal()
        record["extra"]["rendered"] = render(_line(record), settings.format, colors=painted)
        return "{extra[rendered]}"

    handler_id = _loguru.add(target, level=settings.level, format=rendered, colorize=False, catch=True)
    _outlet.handler_ids.append(handler_id)


def _console_is_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _write_console(text: str) -> None:
    # Looked up at each record: a live terminal table or a test puts its own stream there.
    if sys.stderr is not None:
        # A console that has gone away (closed pipe) has nobody left to tell.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _emit(component: str, level: str, message: object, fields: Mapping[str, object], origin: str | None = None) -> None:
    if not _outlet.is_configured:
        _configure_on_demand()
    if _outlet.level_no > LEVELS[level]:
        return
    exception = _exception(fields.get("exc_info"))
    extra = {
        "component": component,
        "fields": plain_fields({name: value for name, value in fields.items() if name != "exc_info"}),
        "traceback": traceback_text(exception) if exception is not None else "",
        "origin": origin,
    }
    _loguru.bind(**extra).opt(depth=2).log(level, mask_text(to_text(message)))


def _exception(exc_info: object) -> BaseException | None:
    """Return the exception meant: itself, the one in a `sys.exc_info()` triple, or else the current one."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if exc_info else None


def _configure_on_demand() -> None:
    """Configure from the environment; a bad value, refused by `configure_logger`, is here only reported."""
    with _outlet.lock:
        if _outlet.is_configured:
            return
        try:
            configure_logger()
        except ValueError as error:
            _apply(LogSettings(), None)
            _emit("fullon.log", "WARNING", "logging goes on with the defaults", {"reason": error})


def _line(record: "Record") -> Line:
    extra = record["extra"]
    is_ours = "component" in extra and "fields" in extra
    return Line(
        time=record["time"].astimezone(UTC),
        level=record["level"].name,
        component=extra["component"] if is_ours else record["name"] or "",
        message=record["message"] if is_ours else mask_text(record["message"]),
        fields=extra["fields"] if is_ours else _foreign_fields(extra),
        origin=extra.get("origin") or f"{record['name']}:{record['function']}:{record['line']}",
        process_id=record["process"].id,
        thread=record["thread"].name,
        traceback=extra["traceback"] if is_ours else _foreign_traceback(record),
    )


def _foreign_fields(extra: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a record that came through loguru itself."""
    return plain_fields({name: value for name, value in extra.items() if name != "rendered"})


def _foreign_traceback(record: "Record") -> str:
    exception = record["exception"]
    return traceback_text(exception.value) if exception is not None and exception.value is not None else ""


logger: Final = get_component_logger("fullon")
