"""Fixtures of more than one module."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of every package, built as a publisher would, once for all workers of a run; by package name."""
    projects = [ROOT, *sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))]
    base = tmp_path_factory.getbasetemp()
    # A worker's directory lies in that of the run; without workers, what lies around it is of other runs.
    target = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheels"
    target.mkdir(exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(target.glob("*.whl")):
            options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target))
            command = [sys.executable, "-m", "pip", "wheel", *options, *map(str, projects)]
            subprocess.run(command, check=True, timeout=100)
    return {path.name.split("-")[0]: path for path in target.glob("*.whl")}
