"""What a person gets wrong is answered with one sentence: what, where, what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_daemon(cwd: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fullon_ohlcv_service.daemon", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal; exit code 1 and no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("fullon-ohlcv-service: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def environment(fresh_databases: None) -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("OHLCV_COLLECT_TRADES", "some", "'needed' or 'all'"),
        ("OHLCV_HEALTH_INTERVAL", "60", "less than or equal to 30"),
        ("OHLCV_USER_ID", "me", "valid integer"),
        ("OHLCV_TEST_MODE", "perhaps", "valid boolean"),
        ("FULLON_CLOCK", "yesterday", "<exchange epoch s>@<unix epoch s>x<speed>"),
        ("DB_PORT", "five", "65535"),
        ("REDIS_DB", "zero", "REDIS_DB"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_what_is_allowed(
    tmp_path: Path, environment: dict[str, str], variable: str, value: str, allowed: str
) -> None:
    sentence = sentence_of(run_daemon(tmp_path, environment | {variable: value}, "--duration", "5"))
    assert variable in sentence
    assert value in sentence
    assert allowed in sentence


def test_a_broken_env_file_is_named_with_its_line(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / ".env").write_text('LOG_LEVEL=INFO\nDB HOST="x\n')
    sentence = sentence_of(run_daemon(tmp_path, environment))
    assert ".env, line 2" in sentence
    assert "NAME=value" in sentence


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {name: value for name, value in os.environ.items() if name not in ("DB_HOST", "REDIS_HOST")}
    sentence = sentence_of(run_daemon(tmp_path, environment | {"FULLON_DATA_DIR": str(tmp_path / "file" / "data")}))
    assert str(tmp_path / "file") in sentence


def test_a_database_name_that_cannot_be_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    sentence = sentence_of(run_daemon(tmp_path, environment | {"DB_OHLCV_NAME": "x" * 70}))
    assert "DB_OHLCV_NAME" in sentence


def test_a_password_that_redis_refuses_is_named_and_not_shown(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run_daemon(tmp_path, environment | {"REDIS_PASSWORD": "correct-horse"}, "--duration", "5")
    assert "REDIS_PASSWORD is refused" in sentence_of(done)
    assert "correct-horse" not in done.stdout + done.stderr


def test_a_database_that_is_away_is_waited_for_and_said_once(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run_daemon(tmp_path, environment | {"DB_HOST": "127.0.0.1", "DB_PORT": "9"}, "--duration", "7")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    waiting = [line for line in done.stderr.splitlines() if "waiting for a server" in line]
    assert len(waiting) == 1
    assert "127.0.0.1" in waiting[0]


def test_secrets_appear_in_no_output(tmp_path: Path, environment: dict[str, str]) -> None:
    secret = "correct-horse-battery"
    changed = {"DB_HOST": "127.0.0.1", "DB_PORT": "9", "DB_PASSWORD": secret, "REDIS_PASSWORD": secret}
    done = run_daemon(tmp_path, environment | changed | {"LOG_LEVEL": "DEBUG"}, "--duration", "3")
    assert secret not in done.stdout + done.stderr


def test_an_option_that_does_not_exist_is_refused_by_name(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run_daemon(tmp_path, environment, "--durationn", "3x")
    assert done.returncode == 2
    assert "--durationn" in done.stderr
