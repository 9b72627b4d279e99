"""Every benchmark runs, at its smallest size, and says its figures beside what they are measured against."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LINE = re.compile(r"(collected|  our session|back-fill|requests|delay|footprint|reading)\b.* \| load \d")
LIMIT = re.compile(r"\d of |\d × the bare|a core")


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("program", sorted(path.name for path in BENCHMARKS.glob("bench_*.py")))
def test_each_figure_is_one_line_with_its_bare_limit_under_a_header_with_command_and_machine(program: str) -> None:
    finished = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), "--smoke"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    header = [line for line in finished.stdout.splitlines() if line.startswith("#")]
    figures = [line for line in finished.stdout.splitlines() if not line.startswith("#")]
    assert f"{program} --smoke" in header[0]
    assert "cores" in header[1]
    assert figures
    for line in figures:
        assert LINE.match(line), line
        assert LIMIT.search(line), line


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0, 1))
def test_a_quantile_is_the_smallest_value_that_its_share_does_not_exceed(values: list[float], share: float) -> None:
    found = load_once().quantile(values, share)
    below = sum(value < found for value in values)
    upto = sum(value <= found for value in values)
    assert found in values
    assert upto >= share * len(values) - 1e-6 * len(values)
    assert below <= share * len(values) + 1e-6 * len(values)


def load_once(modules: dict[str, ModuleType] = {}) -> ModuleType:  # noqa: B006 - one for all examples
    if not modules:
        modules["measuring"] = load("measuring")
    return modules["measuring"]


@pytest.mark.parametrize(
    ("number", "words"), [(1_234_567, "1.23M"), (45_678, "46k"), (1_500, "1.50k"), (250, "250"), (7.84, "7.8")]
)
def test_numbers_are_said_with_about_three_digits(number: float, words: str) -> None:
    assert load_once().short(number) == words
