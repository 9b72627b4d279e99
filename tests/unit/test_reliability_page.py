"""docs/reliability.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_on_the_page_exists_and_every_failure_mode_has_its_line() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    written = {
        name
        for path in [*ROOT.glob("packages/*/tests/**/*.py"), *ROOT.glob("tests/**/*.py")]
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named - written == set()
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.M)] == list(range(1, 59))
