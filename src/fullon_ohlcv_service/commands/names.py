"""Symbols as people type them, on the command line: the one place where a command reads a name."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from fullon_exchange.names import read_name, unify_pattern
from fullon_ohlcv_service.commands.screen import note
from fullon_ohlcv_service.errors import CommandError

NAMES_SHOWN = 6


def is_glob(symbol: str) -> bool:
    """Tell whether a name stands for several."""
    return any(sign in symbol for sign in "*?[")


def match_glob(pattern: str, symbols: Collection[str]) -> list[str]:
    """Return the symbols that a glob means, in either case and by any code of an asset."""
    patterns = {pattern, pattern.upper(), unify_pattern(pattern)}
    return [symbol for symbol in symbols if any(fnmatchcase(symbol, one) for one in patterns)]


def read_typed(typed: str, markets: Mapping[str, Collection[str]]) -> str | None:
    """Return the symbol that a name means, reported where it is not the name itself; None where it means none.

    `markets` holds the exchange's own names of each symbol.

    Raises:
        CommandError: it can mean several.
    """
    found = read_name(typed, markets)
    if len(found) > 1:
        raise CommandError(f"{typed} can be {' or '.join(found[:NAMES_SHOWN])}: say which")
    if not found:
        return None
    if found[0] != typed:
        note(f"{typed}: read as {found[0]}")
    return found[0]


def shorten(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = sorted(names)[:NAMES_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
