"""Print poetry.lock as a requirements file with hashes, for machines that have pip or uv but no Poetry.

    python .ci/export_requirements.py run > requirements.txt        what the demo and the daemon need
    python .ci/export_requirements.py dev > requirements-dev.txt    what tests, types and pictures need besides
    python .ci/export_requirements.py server                        what a daemon on servers of one's own needs

The lock is complete, so the files are installed with ``--no-deps --require-hashes``.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"run": {"embedded"}, "dev": {"embedded"}, "server": set[str]()}
"""Of each file, the extras that are in it: `make demo` needs servers."""

HEADING = """\
# Made from poetry.lock by `make lock`; a test keeps the two equal.
"""


def requirement(package: dict[str, Any], marker: str) -> str:
    """Return one locked package as pip reads it: name, version, where it is needed, and all its hashes."""
    line = f"{package['name']}=={package['version']}"
    if marker:
        line += f" ; {marker}"
    hashes = sorted({file["hash"] for file in package["files"]})
    return " \\\n".join([line, *(f"    --hash={value}" for value in hashes)])


def marker_of(package: dict[str, Any], group: str, extras: set[str]) -> str | None:
    """Return where a group with some extras needs a package: empty everywhere, None nowhere.

    Raises:
        ValueError: an extra is part of a larger expression.
    """
    if group not in package["groups"]:
        return None
    markers = package.get("markers", "")
    marker: str = markers if isinstance(markers, str) else markers.get(group, "")
    if "extra" not in marker:
        return marker
    named = re.findall(r'extra == "(\S+)"', marker)
    if " or ".join(f'extra == "{extra}"' for extra in named) != marker:
        raise ValueError(f"{package['name']} is needed where {marker}; an extra has to stand alone")
    return None if extras.isdisjoint(named) else ""


def export(lock: dict[str, Any], kind: str) -> str:
    """Return one requirements file for a parsed poetry.lock; `kind` is run, dev or server."""
    chosen = []
    for package in lock["package"]:
        marker = marker_of(package, "main", EXTRAS[kind])
        if kind == "dev":
            marker = marker_of(package, "dev", set()) if marker is None else None
        if marker is not None:
            chosen.append(requirement(package, marker))
    return HEADING + "".join(f"{one}\n" for one in chosen)


if __name__ == "__main__":
    sys.stdout.write(export(tomllib.loads((ROOT / "poetry.lock").read_text()), sys.argv[1]))
