"""The log as people read it: kept where a table takes the console, coloured where colours can be seen."""

import os
import re
import sys
from pathlib import Path

import pexpect
import pytest
from cli_process import run_cli

PATIENCE_S = 30
LINES = {
    "INFO": "reached exchange=kraken markets=2",
    "WARNING": "stale stream exchange=kraken symbol=BTC/USD",
    "ERROR": "not collected exchange=kraken symbol=BTC/USDX",
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log with one entry of each level."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "service.log"
    path.write_text("".join(f"2026-11-20T12:30:00.000Z │ {level:8} │ fullon │ {LINES[level]}\n" for level in LINES))
    return path


def shown(module: str, *arguments: str) -> tuple[str, int | None]:
    """What a program writes to a terminal, and its exit code."""
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", module, *arguments],
        env=os.environ | {"TERM": "xterm-256color", "NO_COLOR": ""},
        encoding="utf-8",
        timeout=PATIENCE_S,
        dimensions=(24, 80),
    )
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.before or "", terminal.exitstatus


def test_on_a_terminal_each_level_has_its_colour(log: Path) -> None:
    said, code = shown("fullon_ohlcv_service.cli", "logs", "kraken", "--file", str(log))
    assert code == 0
    colours = {level: re.search(rf"\x1b\[(\d+)m[^\n]*{re.escape(line)}", said) for level, line in LINES.items()}
    assert {level: found[1] for level, found in colours.items() if found} == {"WARNING": "33", "ERROR": "31"}
    assert LINES["INFO"] in said


async def test_in_a_pipe_the_lines_are_those_of_the_file(log: Path) -> None:
    assert (await run_cli("logs", "kraken", "--file", str(log))).out == log.read_text()


def test_a_log_that_is_followed_is_followed_into_the_file_that_takes_its_place(log: Path) -> None:
    following = pexpect.spawn(
        sys.executable,
        ["-m", "fullon_ohlcv_service.cli", "logs", "--follow", "--file", str(log)],
        encoding="utf-8",
        timeout=PATIENCE_S,
    )
    following.expect_exact(LINES["ERROR"])
    log.rename(log.with_suffix(".1"))
    with log.with_suffix(".1").open("a") as old:
        old.write("2026-11-20T12:31:00.000Z │ INFO     │ fullon │ the last of the old\n")
    log.write_text("2026-11-20T12:32:00.000Z │ INFO     │ fullon │ the first of the new\n")
    following.expect_exact("the last of the old")
    following.expect_exact("the first of the new")
    following.sendintr()
    following.expect(pexpect.EOF)


@pytest.mark.timeout(240)
def test_a_daemon_with_a_table_logs_into_the_file_that_logs_shows(
    fresh_databases: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_FILE_PATH", raising=False)
    monkeypatch.setenv("FULLON_DATA_DIR", str(tmp_path / "servers"))
    said, code = shown("fullon_ohlcv_service.daemon", "--duration", "2")
    assert code == 0, said
    assert "no symbols in the database yet" in said
    said, code = shown("fullon_ohlcv_service.cli", "logs")
    assert code == 0, said
    assert "collecting symbols" in said


async def test_the_remedies_of_the_demo_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_FILE_PATH", raising=False)
    demo = ("--demo", "--data-dir", "nowhere")
    assert (await run_cli(*demo, "status")).sentence.endswith("yet: `fullon-ohlcv demo` begins it")
    assert "`fullon-ohlcv demo` writes one" in (await run_cli(*demo, "logs")).sentence
    (checked,) = [one for one in (await run_cli(*demo, "doctor", "--json")).json["checks"] if one["name"] == "servers"]
    assert checked["remedy"] == "run `fullon-ohlcv demo`"
