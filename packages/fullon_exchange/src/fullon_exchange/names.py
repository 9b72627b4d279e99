"""Read the names of markets as people type them, and suggest others by what they mean; pure.

A name is read only where it can mean one market: in another case, with another separator or none, with another code of
the same asset, or by the exchange's own name. `USD` is never read as `USDT`: that is another market.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from fullon_exchange.interface import Listing

_ALIASES = {"BCHSV": "BSV", "MIOTA": "IOTA", "XBT": "BTC", "XDG": "DOGE"}
"""Other codes of an asset, which no other asset has."""
_DOLLARS = frozenset({"BUSD", "DAI", "FDUSD", "PYUSD", "RLUSD", "TUSD", "USD", "USDC", "USDD", "USDE", "USDT"})
_SUGGESTED_MAX = 3
_NAMES_KEPT = 20_000
"""Names whose reading is kept: more than any exchange lists, for every unknown one is compared with all of them."""
_SEPARATOR = re.compile(r"[-_./ ]")


class _Parts(NamedTuple):
    """What a symbol consists of; a name without separator is all base."""

    base: str
    quote: str = ""
    settle: str = ""
    expiry: str = ""

    @property
    def kind(self) -> str:
        """How ccxt's symbols tell markets apart: contracts name what they are settled in."""
        if not self.settle:
            return "spot"
        return "inverse" if self.settle == self.base else "linear"


class _Family(NamedTuple):
    """Exchanges that are one to their users and several to ccxt."""

    spot: str
    linear: str
    inverse: str

    def of(self, kind: str) -> str:
        """Return the exchange that has the markets of a kind."""
        return self.spot if kind == "spot" else self.linear if kind == "linear" else self.inverse


_FAMILIES = (
    _Family("binance", "binanceusdm", "binancecoinm"),
    _Family("kraken", "krakenfutures", "krakenfutures"),
    _Family("coinbaseexchange", "coinbaseinternational", "coinbaseinternational"),
    _Family("kucoin", "kucoinfutures", "kucoinfutures"),
)
_LISTS_ALL = frozenset({"coinbaseinternational", "kucoin"})
"""Members of a family that list markets of every kind themselves."""
_KINDS = {"binanceusdm": "USD-M future", "binancecoinm": "COIN-M future"}


def own_names(listings: Mapping[str, Listing]) -> dict[str, frozenset[str]]:
    """Return the exchange's own names of each market, as `read_name` takes them."""
    return {symbol: frozenset(one.wire.values()) for symbol, one in listings.items()}


def read_name(typed: str, markets: Mapping[str, Collection[str]]) -> list[str]:
    """Return the symbols that a name can mean, of `markets` (symbol → the exchange's own names).

    One: that is what was meant. Several: they are equally likely. None: no such market.
    """
    if typed in markets:
        return [typed]
    name = typed.strip()
    slashed = _unify(_SEPARATOR.sub("/", name, count=1))
    joined = "" if _SEPARATOR.search(name) else _join(name)
    readings: tuple[Iterator[str], ...] = (
        (symbol for symbol in markets if _unify(symbol) == _unify(name)),
        (symbol for symbol, own in markets.items() if name in own),
        (symbol for symbol, own in markets.items() if name.upper() in map(str.upper, own)),
        (symbol for symbol in markets if _unify(symbol) == slashed),
        (symbol for symbol in markets if joined and joined in _joined_spellings(symbol)),
    )
    return next((found for each in readings if (found := sorted(set(each)))), [])


def unify_pattern(pattern: str) -> str:
    """Return a glob in the case and codes of unified symbols: `BTC/*` for `xbt/*`."""
    return _unify(pattern)


def suggest(typed: str, symbols: Collection[str], *, describe: Callable[[str], str] = str) -> str:
    """Return what may have been meant by a name that means none of `symbols`, as a clause; empty where nothing may.

    The same base in other quotes; where the base is unknown, others in the same quote. What is quoted in more ways, or
    quotes more, comes first: listings have no volumes, and on every exchange those are the markets most traded.
    `describe` returns how a symbol is to be written.
    """
    parts = {symbol: _parse(symbol) for symbol in sorted(symbols)}
    quotes, bases = Counter(one.quote for one in parts.values()), Counter(one.base for one in parts.values())
    meant = _parse_typed(typed, quotes, bases)

    def is_like(one: _Parts) -> tuple[bool, bool]:
        return bool(one.settle) != bool(meant.settle), bool(one.expiry)

    def by_quote(symbol: str) -> tuple[object, ...]:
        one = parts[symbol]
        is_other = meant.quote not in (one.quote, one.base)
        return is_other and not {meant.quote, one.quote} <= _DOLLARS, is_other, *is_like(one), -quotes[one.quote]

    def by_base(symbol: str) -> tuple[object, ...]:
        return *is_like(parts[symbol]), -bases[parts[symbol].base]

    same_base = [
        symbol
        for symbol, one in parts.items()
        if one.base == meant.base or (one.quote, one.base) == (meant.base, meant.quote)
    ]
    if same_base:
        near = " or ".join(map(describe, sorted(same_base, key=by_quote)[:_SUGGESTED_MAX]))
        return f"did you mean {near}?"
    same_quote = [symbol for symbol, one in parts.items() if meant.quote and one.quote == meant.quote]
    if same_quote:
        near = ", ".join(map(describe, sorted(same_quote, key=by_base)[:_SUGGESTED_MAX]))
        return f"there is no {meant.base}; in {meant.quote} there is {near}"
    return ""


def found_elsewhere(exchange: str, typed: str) -> str:
    """Return where the markets of a symbol's kind are to be had, as a clause: spot and contracts may be two exchanges.

    Empty where they belong to this one, or there is no telling.
    """
    symbol = _unify(typed.strip())
    parts = _parse(symbol)
    family = next((one for one in _FAMILIES if exchange in one), None)
    if family is None or not parts.quote or exchange in _LISTS_ALL or (other := family.of(parts.kind)) == exchange:
        return ""
    kind = "spot market" if parts.kind == "spot" else _KINDS.get(other, "future")
    return f"that is a {kind}: `{other}:{symbol}`"


def describe_unlisted(exchange: str, typed: str, listings: Mapping[str, Listing]) -> str:
    """Return what helps where an exchange does not list a symbol: never empty."""
    if elsewhere := found_elsewhere(exchange, typed):
        return elsewhere
    if meant := read_name(typed, own_names(listings)):
        return f"did you mean {' or '.join(meant[:_SUGGESTED_MAX])}?"
    return suggest(typed, listings) or f"it lists {len(listings)} symbols"


@lru_cache(_NAMES_KEPT)
def _unify(name: str) -> str:
    return re.sub(r"[A-Z0-9]+", lambda code: _ALIASES.get(code[0], code[0]), name.upper())


@lru_cache(_NAMES_KEPT)
def _parse(symbol: str) -> _Parts:
    pair, _, rest = symbol.partition(":")
    base, _, quote = pair.partition("/")
    settle, _, expiry = rest.partition("-")
    return _Parts(base, quote, settle, expiry)


def _parse_typed(typed: str, quotes: Iterable[str], bases: Iterable[str]) -> _Parts:
    """Take a name apart, also one without a separator: at a quote that is known, else at a base."""
    name = _unify(_SEPARATOR.sub("/", typed.strip(), count=1))
    if "/" in name:
        return _parse(name)
    name = name.partition(":")[0]
    if name in bases:
        return _Parts(name)
    for quote in sorted(filter(None, quotes), key=len, reverse=True):
        if name.endswith(quote) and name != quote:
            return _Parts(_unify(name.removesuffix(quote)), quote)
    for base in sorted(filter(None, bases), key=len, reverse=True):
        for spelling in _spellings(base):
            if name.startswith(spelling):
                return _Parts(base, name.removeprefix(spelling))
    return _Parts(name)


def _join(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def _joined_spellings(symbol: str) -> Iterator[str]:
    """Yield the ways to write a symbol without separators."""
    one = _parse(symbol)
    for base in _spellings(one.base):
        for quote in _spellings(one.quote):
            for settle in _spellings(one.settle):
                yield _join(base + quote + settle + one.expiry)


def _spellings(code: str) -> list[str]:
    return [code, *(alias for alias, unified in _ALIASES.items() if unified == code)]
