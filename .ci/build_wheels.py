"""Build the wheel of the whole, which holds every package, and a wheel of each package alone.

python .ci/build_wheels.py dist
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from poetry.core.masonry.api import build_wheel

ROOT = Path(__file__).resolve().parent.parent


def main(directory: str) -> None:
    """Build every wheel into `directory` and print their paths."""
    target = Path(directory).resolve()
    target.mkdir(parents=True, exist_ok=True)
    for project in [ROOT, *sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))]:
        os.chdir(project)  # a build backend works on the current directory
        print(target / build_wheel(str(target)))


if __name__ == "__main__":
    main(sys.argv[1])
