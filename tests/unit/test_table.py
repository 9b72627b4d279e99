"""What the daemon draws on a terminal: every symbol there is room for, and every trouble in a sentence."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from fullon_exchange.clock import Clock
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.health import Stale
from fullon_ohlcv_service.status import StatusBoard
from fullon_ohlcv_service.table import build_screen

WIDTH, HEIGHT = 80, 24
CANNOT = "no answer to /time: Cannot connect to host example.org:443 ssl:default [Name or service not known]"


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard(Clock())


def drawn(
    board: StatusBoard,
    failing: dict[str, str] | None = None,
    *,
    height: int = HEIGHT,
    reasons: Sequence[Stale] = (),
) -> list[str]:
    console = Console(file=io.StringIO(), width=WIDTH, height=height, force_terminal=True, color_system=None)
    console.print(build_screen(board, console, failing or {}, reasons))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def text(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_what_is_said_takes_the_width_of_the_terminal_not_of_the_table(board: StatusBoard) -> None:
    lines = drawn(board)
    assert lines[0].endswith("UTC · Ctrl-C ends it")
    assert lines[-1] == "no symbols in the database yet; waiting for some: `fullon-ohlcv symbols add`"


def test_the_screen_is_never_higher_than_the_terminal(board: StatusBoard) -> None:
    venues = [f"venue{number}" for number in range(9)]
    board.want([WantedSymbol(name, f"C{number}/USD", 1) for name in venues for number in range(5)])
    for name in venues:
        board.set_venue_problem(name, f"{name}: {CANNOT}")
    lines = drawn(board)
    assert len(lines) < HEIGHT
    assert f"venue0 cannot be reached, tried again for ever: {CANNOT}" in text(lines)
    assert "and 4 more: fullon-ohlcv status" in text(lines)
    assert "45 waiting; 37 more not shown" in text(lines)


def test_symbols_with_one_trouble_share_a_sentence(board: StatusBoard) -> None:
    board.want([WantedSymbol("bitmex", f"C{number}/USD", 1) for number in range(4)])
    for line in board.lines():
        board.set_problem("bitmex", line.wanted.symbol, "closed: bitmex has closed for good")
    said = text(drawn(board))
    assert "bitmex:C0/USD, bitmex:C1/USD and 2 more: closed: bitmex has closed for good" in said
    assert said.count("for good") == 1


def test_what_fails_in_the_daemon_is_on_the_screen_that_has_taken_the_console_from_the_log(board: StatusBoard) -> None:
    board.unreadable = "PostgreSQL at db.example.org does not answer"
    said = text(drawn(board, {"http": "cannot listen on 127.0.0.1:9464: address in use"}))
    assert "not up to date: PostgreSQL at db.example.org does not answer" in said
    assert "http, tried again: cannot listen on 127.0.0.1:9464: address in use" in said


def test_the_verdict_and_what_is_not_fresh_are_those_of_ready(board: StatusBoard) -> None:
    board.want([WantedSymbol("kraken", f"C{number}/USD", 1) for number in range(3)])
    assert "all is well: 3 waiting" in text(drawn(board))
    reasons = [Stale("kraken", f"C{number}/USD", "nothing is stored yet") for number in range(3)]
    said = text(drawn(board, reasons=reasons))
    assert "3 not fresh: 3 waiting" in said
    assert "kraken:C0/USD, kraken:C1/USD and 1 more: nothing is stored yet" in said
