"""The SQL of this package as text: named statements, and numbered migrations."""

from functools import cache
from importlib.resources import files


@cache
def statements(file: str = "queries.sql") -> dict[str, str]:
    """Return every statement of a file by its name, `{fold}` written out."""
    blocks = _text(file).split("-- name: ")[1:]
    bodies = {name.strip(): body.strip() for name, _, body in (block.partition("\n") for block in blocks)}
    return {name: body.replace("{fold}", bodies.get("fold", "")) for name, body in bodies.items()}


def statement(name: str) -> str:
    """Return one statement of `queries.sql`."""
    return statements()[name]


@cache
def _names() -> dict[str, str]:
    return {body: name for name, body in statements().items()}


def name_of(query: str | None) -> str:
    """Return the name of a statement of `queries.sql`, of any other its first words."""
    text = (query or "").strip()
    return _names().get(text) or " ".join(text.split()[:3]) or "of the driver"


@cache
def migrations() -> dict[int, str]:
    """Return the migrations by version, ascending from 1 without a hole."""
    scripts = {
        int(entry.name[:4]): entry.read_text(encoding="utf-8")
        for entry in files("fullon_ohlcv").joinpath("migrations").iterdir()
        if entry.name.endswith(".sql")
    }
    return dict(sorted(scripts.items()))


def timescale(name: str) -> str:
    """Return one statement of `timescale.sql`."""
    return statements("timescale.sql")[name]


def _text(file: str) -> str:
    return files("fullon_ohlcv").joinpath(file).read_text(encoding="utf-8")
