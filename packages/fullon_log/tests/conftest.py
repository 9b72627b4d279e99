import logging
from collections.abc import Callable, Iterator

import pytest

from fullon_log import configure_logger
from fullon_log.intercept import LibraryHandler


@pytest.fixture(autouse=True)
def logging_left_as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LEVEL", "FORMAT", "CONSOLE", "COLORS", "FILE_PATH", "ROTATION", "RETENTION"):
        monkeypatch.delenv(f"LOG_{name}", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    monkeypatch.undo()
    configure_logger()
    root.handlers = [handler for handler in handlers if not isinstance(handler, LibraryHandler)]
    root.setLevel(level)


@pytest.fixture
def records() -> list[str]:
    """What a sink was given, one rendered record each."""
    return []


@pytest.fixture
def configure(records: list[str]) -> Callable[..., None]:
    """Configure logging into `records`."""

    def _configure(**settings: object) -> None:
        configure_logger(sink=records.append, **settings)

    return _configure
