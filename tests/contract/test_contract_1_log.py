"""Contract, section 1: fullon_log."""

import json
from pathlib import Path

import pytest

import fullon_log
from fullon_log import configure_logger, get_component_logger


@pytest.mark.parametrize("method", ["debug", "info", "warning", "error", "critical", "exception"])
def test_a_component_logger_has_the_method_and_takes_a_message_and_fields(method: str, lines: list[str]) -> None:
    configure_logger(level="DEBUG", format="minimal", sink=lines.append)
    getattr(get_component_logger("fullon.ohlcv.daemon"), method)("collected", symbol="BTC/USD", rows=3)
    assert len(lines) == 1
    assert "collected symbol=BTC/USD rows=3" in lines[0]


def test_fields_show_as_json_keys(lines: list[str]) -> None:
    configure_logger(format="json", sink=lines.append)
    get_component_logger("fullon.trade.batcher").info("stored", rows=3)
    record = json.loads(lines[0])
    assert (record["message"], record["rows"], record["component"]) == ("stored", 3, "fullon.trade.batcher")


def test_exc_info_means_a_traceback(lines: list[str]) -> None:
    configure_logger(sink=lines.append)
    log = get_component_logger("fullon.ohlcv.daemon")
    try:
        {}["no such row"]
    except KeyError:
        log.error("failed", exc_info=True)
        log.error("failed, and said short")  # noqa: TRY400
    assert "Traceback" in lines[0]
    assert "KeyError: 'no such row'" in lines[0]
    assert "Traceback" not in lines[1]


@pytest.mark.parametrize("text", ["{", "}", "{0}", "%", "%s", "{x!r:>{y}}"])
def test_braces_and_percent_in_message_or_value_never_raise(text: str, lines: list[str]) -> None:
    configure_logger(format="minimal", sink=lines.append)
    get_component_logger("fullon").info(text, value=text)
    assert lines[0].count(text) >= 2


def test_non_strings_are_accepted(lines: list[str]) -> None:
    configure_logger(format="minimal", sink=lines.append)
    get_component_logger("fullon").info(12.5, value=None, path=Path("somewhere"))
    assert "12.5" in lines[0]
    assert "somewhere" in lines[0]


def test_field_values_that_look_like_secrets_are_masked(lines: list[str]) -> None:
    configure_logger(sink=lines.append)
    log = get_component_logger("fullon")
    log.info("connecting", password="correct-horse", api_key="battery", url="postgresql://me:staple@host/db")
    assert not [secret for secret in ("correct-horse", "battery", "staple") if secret in lines[0]]


def test_configure_logger_has_only_optional_arguments_and_is_callable_again(tmp_path: Path) -> None:
    configure_logger()
    for number in (1, 2):
        configure_logger(
            level="INFO",
            file_path=str(tmp_path / f"{number}.log"),
            console=False,
            colors=False,
            format="detailed",
            rotation="10 MB",
            retention="7 days",
        )
        get_component_logger("fullon").info("written", number=number)
    configure_logger()
    assert "number=1" in (tmp_path / "1.log").read_text()
    assert "number=2" not in (tmp_path / "1.log").read_text()
    assert "number=2" in (tmp_path / "2.log").read_text()


def test_there_is_a_module_level_logger(lines: list[str]) -> None:
    configure_logger(format="minimal", sink=lines.append)
    fullon_log.logger.info("hello", n=1)
    assert "hello n=1" in lines[0]


def test_a_log_file_that_cannot_be_opened_warns_and_does_not_stop_the_program(
    tmp_path: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    configure_logger(file_path=str(tmp_path / "file" / "log"), format="minimal", sink=lines.append)
    get_component_logger("fullon").info("still here")
    assert f"WARNING log file {tmp_path / 'file' / 'log'}" in capsys.readouterr().err
    assert any("still here" in line for line in lines)
