"""What `docs/add-an-exchange.md` shows is in the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "add-an-exchange.md"
SHOWN = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("path", "code"), SHOWN)
def test_code_on_the_page_stands_in_the_file_it_names(path: str, code: str) -> None:
    assert code.rstrip("\n") in (ROOT / path).read_text()


def test_every_piece_of_code_names_its_file() -> None:
    assert len(SHOWN) == PAGE.read_text().count("```python") > 3


def test_every_file_on_the_page_exists() -> None:
    paths = set(re.findall(r"`(packages/[\w/.]+)`", PAGE.read_text()))
    assert len(paths) > 4
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_class_on_the_page_is_in_the_packages() -> None:
    names = set(re.findall(r"`([A-Z]\w*[a-z]\w*)(?:\.\w+)?`", PAGE.read_text()))
    sources = "\n".join(path.read_text() for path in (ROOT / "packages").glob("fullon_*/src/**/*.py"))
    assert {"CandleSource", "SocketLimits", "Venue"} <= names
    assert not [name for name in names if not re.search(rf"\bclass {name}\b|^{name} = ", sources, re.MULTILINE)]
