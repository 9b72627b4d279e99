"""Each package, installed from its wheel with what it declares and no more, imports and runs its README's example."""

import asyncio
import importlib.metadata
import os
import re
import venv
import zipfile
from collections.abc import Iterable
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fullon_simulator import SimulatedMarket

ROOT = Path(__file__).parents[2]
PROJECTS = {path.parent.name: path.parent for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
PROJECTS["fullon_ohlcv_service"] = ROOT
USED_BY_EXAMPLE = {"fullon_embedded": ("asyncpg",)}
"""What an example shows its package together with."""
NOT_IMPORTED = {
    "fullon_embedded": ("fullon_embedded.__main__", "fullon_embedded.testing"),  # a program; a plugin of pytest
    "fullon_orm": ("fullon_orm.migrations.env",),  # run by Alembic
    "fullon_simulator": ("fullon_simulator.__main__",),
}
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    if module.name not in sys.argv:
        importlib.import_module(module.name)
"""


def required(lines: Iterable[str], extras: Iterable[str] = ("",)) -> list[Requirement]:
    """Return the requirements that hold on this interpreter."""
    every = [Requirement(line) for line in lines]
    return [one for one in every if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras)]


class Alone:
    """An environment that holds one package, what it declares, and what that declares."""

    def __init__(self, place: Path, wheels: dict[str, Path]) -> None:
        self._wheels = {canonicalize_name(name): path for name, path in wheels.items()}
        self._seen: set[tuple[str, frozenset[str]]] = set()
        venv.create(place, symlinks=True)
        self.python = place / "bin/python"
        (self._site,) = place.glob("lib/python*/site-packages")

    def add(self, requirement: Requirement) -> None:
        """Put in a distribution and everything it requires."""
        name, extras = canonicalize_name(requirement.name), frozenset({"", *requirement.extras})
        if (name, extras) in self._seen:
            return
        self._seen.add((name, extras))
        if name in self._wheels:
            with zipfile.ZipFile(self._wheels[name]) as archive:
                archive.extractall(self._site)
                (described,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
                lines = message_from_string(archive.read(described).decode()).get_all("Requires-Dist") or []
        else:
            distribution = importlib.metadata.distribution(name)
            for top in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                if not (link := self._site / top).exists():
                    link.symlink_to(distribution.locate_file(top))
            lines = distribution.requires or []
        for each in required(lines, extras):
            self.add(each)

    async def run(self, program: str, *arguments: str, environment: dict[str, str]) -> None:
        """Run a program in it; it has to end well."""
        process = await asyncio.create_subprocess_exec(
            *(self.python, "-W", "error", "-c", program, *arguments),
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(90):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, said.decode()[-3000:]


def example(project: Path) -> str:
    return re.findall(r"```python\n(.*?)```", (project / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]


@pytest.mark.parametrize("name", PROJECTS)
async def test_a_package_alone_imports_and_its_example_runs(
    name: str, wheels: dict[str, Path], market: SimulatedMarket, tmp_path: Path
) -> None:
    alone = Alone(tmp_path / "alone", wheels)
    alone.add(Requirement(name))
    await alone.run(IMPORT_ALL, name, *NOT_IMPORTED.get(name, ()), environment={})
    for other in USED_BY_EXAMPLE.get(name, ()):
        alone.add(Requirement(other))
    await alone.run(example(PROJECTS[name]), environment={"HOME": str(tmp_path)})
