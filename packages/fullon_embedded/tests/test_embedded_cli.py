"""``python -m fullon_embedded`` as people use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullon_embedded import start_servers


def run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fullon_embedded", "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_status_tells_running_from_not_running(data_dir: Path) -> None:
    assert run(data_dir, "status").returncode == 3
    with start_servers(data_dir, durable=False) as servers:
        finished = run(data_dir, "status")
        assert finished.returncode == 0
        assert f"running, process {servers.pids()['PostgreSQL']}" in finished.stdout
        assert "in use          yes" in finished.stdout


def test_env_starts_the_servers_and_can_be_evaluated_by_a_shell(data_dir: Path) -> None:
    odd = data_dir / "it's mine"
    finished = run(odd, "env")
    assert run(odd, "status").returncode == 0
    assert run(odd, "stop").returncode == 0
    evaluated = subprocess.run(
        ["/bin/sh", "-c", f'{finished.stdout}\nprintf "%s" "$DB_HOST"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert evaluated.stdout == start_servers(odd).environment()["DB_HOST"]


def test_psql_starts_postgresql_for_as_long_as_it_is_open(data_dir: Path) -> None:
    finished = run(data_dir, "psql", "-d", "postgres", "-Atc", "SELECT 6 * 7")
    assert (finished.returncode, finished.stdout) == (0, "42\n")
    assert run(data_dir, "status").returncode == 3


def test_stop_ends_what_a_killed_client_left(data_dir: Path, join) -> None:
    client = join(data_dir)
    client.pids()
    busy = run(data_dir, "stop")
    assert busy.returncode == 1
    assert "are in use" in busy.stderr
    client.kill()
    assert run(data_dir, "stop").returncode == 0
    assert run(data_dir, "status").returncode == 3


@pytest.mark.parametrize("arguments", [("status", "--frobnicate"), ("dance",), ()])
def test_wrong_use_is_refused(new_data_dir: Path, arguments: tuple[str, ...]) -> None:
    assert run(new_data_dir, *arguments).returncode == 2
