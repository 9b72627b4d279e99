"""Imports point down, as [tool.importlinter] in pyproject.toml says it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(config_filename=sys.argv[1]))"


def lint(configuration: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, str(configuration)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_packages_keep_their_directions() -> None:
    finished = lint(ROOT / "pyproject.toml")
    assert finished.returncode == 0, finished.stdout
    assert "0 broken" in finished.stdout


def test_every_package_is_watched() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}
    assert set(configuration["root_packages"]) == packages | {"fullon_ohlcv_service"}


def test_the_check_sees_an_import_that_is_there(tmp_path: Path) -> None:
    """A contract against an import that exists must break: the check is not blind."""
    configuration = tmp_path / "contracts.toml"
    configuration.write_text(
        """
        [tool.importlinter]
        root_packages = ["fullon_ohlcv_service", "fullon_embedded"]
        [[tool.importlinter.contracts]]
        name = "broken on purpose"
        type = "forbidden"
        source_modules = ["fullon_ohlcv_service"]
        forbidden_modules = ["fullon_embedded"]
        """
    )
    finished = lint(configuration)
    assert finished.returncode == 1
    assert "1 broken" in finished.stdout
