"""docs/configuration.md is what the programs say of their settings, and leaves none out."""

import ast
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
NAME = re.compile(r"(DB|REDIS|CACHE|LOG|OHLCV|FULLON|ADMIN)(_[A-Z]+)+")
NOT_FOR_PEOPLE = {"FULLON_TEST_SERVERS_DIR"}
"""What the workers of one test run tell each other."""


def test_the_page_is_the_one_that_is_made_now() -> None:
    path = ROOT / "docs" / "make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.make_page() == PAGE, "run .venv/bin/python docs/make_configuration.py"


def test_every_variable_that_stands_in_the_code_stands_on_the_page() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *ROOT.glob("packages/*/src/**/*.py")]
    named = {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value)
    }
    assert len(named) > 15
    assert {name for name in named - NOT_FOR_PEOPLE if f"`{name}`" not in PAGE} == set()
