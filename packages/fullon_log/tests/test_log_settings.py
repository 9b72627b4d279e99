"""Where settings come from, and what is refused."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from fullon_log import configure_logger, get_component_logger
from fullon_log.files import Retention, Rotation

log = get_component_logger("fullon.ohlcv.daemon")

SCRIPT = "from fullon_log import get_component_logger; get_component_logger('fullon.x').info('hello', rows=5)"


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOG_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_first_record_reads_the_environment() -> None:
    result = run(SCRIPT, LOG_FORMAT="minimal")
    assert (result.stdout, result.stderr, result.returncode) == ("", "INFO hello rows=5\n", 0)
    assert run(SCRIPT, LOG_LEVEL="error").stderr == ""
    assert run(SCRIPT, LOG_CONSOLE="no").stderr == ""


def test_a_library_that_set_up_its_own_console_is_not_heard_twice() -> None:
    result = run(
        "import logging, fullon_log\n"
        "logging.basicConfig(level='DEBUG')\n"
        "fullon_log.configure_logger()\n"
        "logging.getLogger('aiohttp').error('wrong %d %d arguments', 'x')\n"
        "logging.getLogger('aiohttp').info('not seen')",
        LOG_FORMAT="minimal",
    )
    assert result.stderr == 'ERROR wrong %d %d arguments args=["x"]\n'


def test_a_bad_variable_does_not_make_a_record_raise() -> None:
    result = run(SCRIPT, LOG_LEVEL="LOUD")
    assert result.returncode == 0
    assert "LOG_LEVEL is 'LOUD'" in result.stderr
    assert "hello rows=5" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("level", "LOUD", "WARNING"),
        ("format", "pretty", "trading"),
        ("console", "perhaps", "true"),
        ("colors", "red", "false"),
        ("rotation", "often", "10 MB"),
        ("rotation", "0 MB", "10 MB"),
        ("retention", "long", "7 days"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=f"{name} is '{value}'; allowed is .*{allowed}"):
        configure_logger(**{name: value})
    monkeypatch.setenv(f"LOG_{name.upper()}", value)
    with pytest.raises(ValueError, match=f"LOG_{name.upper()} is '{value}'; allowed is .*{allowed}"):
        configure_logger()


def test_configuring_again_starts_afresh_from_arguments_then_environment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "minimal")
    configure_logger(level="ERROR")
    log.warning("hidden")
    configure_logger()
    log.warning("shown")
    configure_logger(console=False)
    log.warning("nowhere")
    configure_logger(level="DEBUG")
    log.debug("detail")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "WARNING shown\nDEBUG detail\n")


def test_a_sink_takes_the_console_and_can_be_swapped(capfd: pytest.CaptureFixture[str]) -> None:
    first: list[str] = []
    second: list[str] = []
    configure_logger(format="minimal", sink=first.append)
    log.info("one")
    configure_logger(format="minimal", sink=second.append)
    log.info("two")
    assert (first, second) == (["INFO one\n"], ["INFO two\n"])
    assert capfd.readouterr() == ("", "")


def test_a_sink_that_raises_stops_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_text: str) -> None:
        raise RuntimeError("table is gone")

    configure_logger(sink=broken)
    log.info("x")
    assert "table is gone" in capfd.readouterr().err


@pytest.mark.parametrize(("colors", "painted"), [("true", True), ("false", False)])
def test_colors_are_for_terminals(colors: str, painted: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        environment = os.environ | {"LOG_COLORS": colors, "LOG_FORMAT": "beautiful"}
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, stderr=theirs, timeout=30, check=True)
        shown = os.read(ours, 4_096)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"hello" in shown
    assert (b"\x1b[32mINFO" in shown) is painted
    assert "\x1b" not in run(SCRIPT, LOG_COLORS="true").stderr


def test_a_closed_console_stops_nobody() -> None:
    script = f"import sys; sys.stderr.close(); {SCRIPT}; print('alive')"
    assert run(script).stdout == "alive\n"


def test_rotations_and_retentions_are_read() -> None:
    assert Rotation.parse("10 MB") == Rotation.parse("10mb") == Rotation(size_max=10_000_000)
    assert Rotation.parse("512") == Rotation(size_max=512)
    assert Rotation.parse("daily") == Rotation.parse("1 day") == Rotation(period_s=86_400)
    assert Rotation.parse("06:30") == Rotation(period_s=86_400, offset_s=23_400)
    assert Retention.parse("10") == Retention(files_max=10)
    assert Retention.parse("7 days") == Retention(age_max_s=604_800)


def test_a_period_ends_at_its_boundary_in_utc() -> None:
    monday_s = 1_767_571_200  # 2026-01-05T00:00:00Z
    weekly, at_six = Rotation.parse("1 week"), Rotation.parse("06:00")
    assert weekly.is_due(1, monday_s - 1, 1, monday_s)
    assert not weekly.is_due(1, monday_s, 1, monday_s + 604_799)
    assert at_six.is_due(1, monday_s + 21_599, 1, monday_s + 21_600)
    assert not at_six.is_due(0, monday_s + 21_599, 1, monday_s + 21_600)


def test_the_readme_example_runs() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    example = readme.read_text().split("```python\n")[1].split("```")[0]
    result = run(example)
    assert result.returncode == 0, result.stderr
    assert "candles saved rows=720" in result.stderr
    assert "hunter2" not in result.stderr
