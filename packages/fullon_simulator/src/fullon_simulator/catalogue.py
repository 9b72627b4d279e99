"""Plausible markets of each venue: famous coins, then made-up ones, a mix of busy, quiet and dead."""

from collections.abc import Iterator
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
_QUOTES = {"kraken": ("USD", "EUR"), "binance": ("USDT", "USDC")}
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
    if venue not in _QUOTES:
        raise ValueError(f"venue is {venue!r}; allowed are {', '.join(_QUOTES)}")
    if number < 0:
        raise ValueError(f"number of markets is {number}; allowed is 0 or more")
    specs = list(islice(_markets(venue), number))
    if recent_listing_us is not None:
        specs = [
            replace(spec, listed_at_us=recent_listing_us) if at % 5 == 2 else spec for at, spec in enumerate(specs)
        ]
    return [replace(spec, trades_per_day=spec.rate * activity) for spec in specs]


def _markets(venue: str) -> Iterator[SymbolSpec]:
    main, second = _QUOTES[venue]
    for base, price, kind in _FAMOUS:
        spec = SymbolSpec(f"{base}/{main}", price=price, kind=kind, listed_at_us=_listed(len(base) * 131 % 900))
        yield replace(spec, trades_per_day=spec.rate * _BUSIEST) if base == "BTC" else spec
    for base, price, _ in _FAMOUS[:5]:
        yield SymbolSpec(f"{base}/{second}", price=price * 0.97, kind="quiet", listed_at_us=_listed(1_400))
    for number in count(1):
        yield SymbolSpec(
            f"SIM{number}/{main}",
            price=round(0.003 * 7.3 ** (number * 5 % 7), 4),
            kind=_COIN_KINDS[number % len(_COIN_KINDS)],
            listed_at_us=_listed(1_000 + number * 37 % 2_000),
        )


def _listed(days: int) -> int:
    return LISTED_LONG_AGO_US + days * DAY_US
