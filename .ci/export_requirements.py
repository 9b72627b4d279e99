"""Print poetry.lock as a requirements file with hashes, for machines that have pip but no Poetry.

    python .ci/export_requirements.py > requirements.txt

Every locked package of every group is listed, but the packages of this repository: those are installed editable.
The lock is complete, so the file is installed with ``pip install --no-deps --require-hashes``.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

HEADING = """\
# Made from poetry.lock by `make requirements.txt`; a test keeps the two equal.
"""


def requirement(package: dict[str, Any]) -> str:
    """Return one locked package as pip reads it: name, version, where it is needed, and all its hashes."""
    line = f"{package['name']}=={package['version']}"
    if marker := marker_of(package):
        line += f" ; {marker}"
    hashes = sorted({file["hash"] for file in package["files"]})
    return " \\\n".join([line, *(f"    --hash={value}" for value in hashes)])


def marker_of(package: dict[str, Any]) -> str:
    """Return where a package is needed: by any of its groups; empty where one of them needs it everywhere."""
    markers = package.get("markers", "")
    if isinstance(markers, str):
        return markers
    by_group = [markers.get(group, "") for group in package["groups"]]
    return "" if "" in by_group else " or ".join(f"({marker})" for marker in by_group)


def export(lock: dict[str, Any]) -> str:
    """Return the requirements file for a parsed poetry.lock."""
    outside = [package for package in lock["package"] if "source" not in package and not package["optional"]]
    return HEADING + "".join(f"{requirement(package)}\n" for package in outside)


if __name__ == "__main__":
    sys.stdout.write(export(tomllib.loads((ROOT / "poetry.lock").read_text())))
