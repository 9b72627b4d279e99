"""Plausible markets of each venue: famous coins, then made-up ones, a mix of busy, quiet and dead."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice

from fullon_simulator.clock import DAY_US
from fullon_simulator.spec import LISTED_LONG_AGO_US, Kind, SymbolSpec

_FAMOUS: tuple[tuple[str, float, Kind], ...] = (
    ("BTC", 100_000.0, "busy"),
    ("ETH", 3_500.0, "busy"),
    ("DOGE", 0.18, "normal"),
    ("ZEC", 55.0, "quiet"),
    ("STORJ", 0.24, "dead"),
    ("SOL", 180.0, "busy"),
    ("XRP", 2.3, "normal"),
    ("ADA", 0.75, "normal"),
    ("LTC", 95.0, "normal"),
    ("ETC", 21.0, "quiet"),
    ("LINK", 17.0, "normal"),
    ("DOT", 4.4, "normal"),
    ("XLM", 0.31, "quiet"),
    ("AVAX", 26.0, "normal"),
    ("BAT", 0.16, "quiet"),
    ("ATOM", 4.6, "normal"),
    ("UNI", 8.1, "normal"),
    ("ALGO", 0.21, "quiet"),
    ("CRV", 0.62, "normal"),
    ("KNC", 0.34, "dead"),
)
_SPOT = {"kraken": ("USD", "EUR"), "binance": ("USDT", "USDC")}
"""First and second quote of the venues that have spot markets."""
_CONTRACTS = ("hyperliquid", "bitmex")
_SPOT_IN_USDC: tuple[tuple[str, float, Kind], ...] = (
    ("PURR", 0.2, "quiet"),
    ("BTC", 100_000.0, "quiet"),
    ("HYPE", 38.0, "normal"),
)
_LOT = 1_000
_INVERSE_LOT = 100
_COIN_KINDS: tuple[Kind, ...] = ("normal", "quiet", "normal", "quiet", "quiet", "dead")
_BUSIEST = 2.0
"""How much busier the first market of a venue is than other busy ones."""


def default_symbols(
    venue: str, number: int, *, activity: float = 1.0, recent_listing_us: int | None = None
) -> list[SymbolSpec]:
    """Return the first `number` markets of `venue`, always the same ones.

    `activity` multiplies how often they trade. With `recent_listing_us` every fifth market, beginning with
    the third, is listed only then; else all are years old.

    Raises:
        ValueError: the venue is unknown or the number negative.
    """
    if venue not in (*_SPOT, *_CONTRACTS):
        raise ValueError(f"venue is {venue!r}; allowed are {', '.join((*_SPOT, *_CONTRACTS))}")
    if number < 0:
        raise ValueError(f"number of markets is {number}; allowed is 0 or more")
    specs = list(islice(_markets(venue), number))
    if recent_listing_us is not None:
        specs = [
            replace(spec, listed_at_us=recent_listing_us) if at % 5 == 2 else spec for at, spec in enumerate(specs)
        ]
    return [replace(spec, trades_per_day=spec.rate * activity) for spec in specs]


def _markets(venue: str) -> Iterator[SymbolSpec]:
    if venue == "hyperliquid":
        yield from _hyperliquid()
    elif venue == "bitmex":
        yield from _bitmex()
    else:
        yield from _spot(*_SPOT[venue])


def _spot(main: str, second: str) -> Iterator[SymbolSpec]:
    yield from _famous(lambda base: f"{base}/{main}")
    for base, price, _ in _FAMOUS[:5]:
        yield SymbolSpec(f"{base}/{second}", price=price * 0.97, kind="quiet", listed_at_us=_listed(1_400))
    yield from _made_up(main)


def _hyperliquid() -> Iterator[SymbolSpec]:
    """Yield perpetuals, with a few spot markets in fourth place: prices of five digits, sizes of a few dollars."""
    perpetuals = _famous(lambda base: f"{base}/USDC:USDC")
    spot = [
        SymbolSpec(f"{base}/USDC", price=price, kind=kind, listed_at_us=_listed(3_400))
        for base, price, kind in _SPOT_IN_USDC
    ]
    for spec in (*islice(perpetuals, 3), *spot, *perpetuals):
        yield _five_digits(spec)
    yield from map(_five_digits, _made_up("USDC:USDC"))


def _five_digits(spec: SymbolSpec) -> SymbolSpec:
    sizes = min(5, max(0, _magnitude(spec.price)))
    return replace(spec, price_decimals=min(6 - sizes, max(0, 4 - _magnitude(spec.price))), volume_decimals=sizes)


def _bitmex() -> Iterator[SymbolSpec]:
    """Yield the inverse XBTUSD, then linear perpetuals."""
    bitcoin, price, kind = _FAMOUS[0]
    inverse = SymbolSpec(f"{bitcoin}/USD:{bitcoin}", price=price, kind=kind, listed_at_us=_listed(267))
    yield replace(
        inverse,
        trades_per_day=inverse.rate * _BUSIEST,
        price_decimals=1,
        price_step=5,
        volume_decimals=0,
        volume_step=_INVERSE_LOT,
    )
    for spec in _famous(lambda base: f"{base}/USDT:USDT"):
        yield _in_lots(spec)
    yield from map(_in_lots, _made_up("USDT:USDT"))


def _in_lots(spec: SymbolSpec) -> SymbolSpec:
    """Make a lot of a thousand contracts worth some ten to a hundred dollars."""
    magnitude = _magnitude(spec.price)
    return replace(
        spec,
        price_decimals=1 if magnitude > 3 else max(0, 4 - magnitude),
        price_step=5 if magnitude > 2 else 1,
        volume_decimals=max(0, magnitude + 1),
        volume_step=_LOT,
    )


def _famous(symbol: Callable[[str], str]) -> Iterator[SymbolSpec]:
    for base, price, kind in _FAMOUS:
        spec = SymbolSpec(symbol(base), price=price, kind=kind, listed_at_us=_listed(len(base) * 131 % 900))
        yield replace(spec, trades_per_day=spec.rate * _BUSIEST) if base == "BTC" else spec


def _made_up(quote: str) -> Iterator[SymbolSpec]:
    for number in count(1):
        yield SymbolSpec(
            f"SIM{number}/{quote}",
            price=round(0.003 * 7.3 ** (number * 5 % 7), 4),
            kind=_COIN_KINDS[number % len(_COIN_KINDS)],
            listed_at_us=_listed(1_000 + number * 37 % 2_000),
        )


def _magnitude(price: float) -> int:
    """Return 5 of 100,000, 0 of 1 and -1 of 0.18."""
    return math.floor(math.log10(price))


def _listed(days: int) -> int:
    return LISTED_LONG_AGO_US + days * DAY_US
