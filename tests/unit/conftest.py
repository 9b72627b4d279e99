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
    """The wheels that `make wheels` makes, built once for all workers of a run; by package name."""
    base = tmp_path_factory.getbasetemp()
    # A worker's directory lies in that of the run; without workers, what lies around it is of other runs.
    target = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheels"
    target.mkdir(exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(target.glob("*.whl")):
            subprocess.run([sys.executable, str(ROOT / ".ci/build_wheels.py"), str(target)], check=True, timeout=100)
    return {path.name.split("-")[0]: path for path in target.glob("*.whl")}
