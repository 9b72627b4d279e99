"""Which exchanges there are, and how to open one.

What speaks to an exchange is imported when one is opened: it costs a fifth of a second, ccxt half a second and 90 MB.
"""

import difflib
import importlib
from typing import Any, Literal, cast

from fullon_exchange.clock import Clock
from fullon_exchange.errors import UnknownExchange
from fullon_exchange.interface import Exchange

_NATIVE = {
    "binance": "Binance",
    "bitmex": "Bitmex",
    "hyperliquid": "Hyperliquid",
    "kraken": "Kraken",
}
"""The class of each, in the module `rest` of the package of its name."""

NATIVE_EXCHANGES = tuple(sorted(_NATIVE))
"""Names of the exchanges that are spoken to without ccxt."""


def open_exchange(
    name: str,
    *,
    clock: Clock | None = None,
    page_rows: int | None = None,
    via: Literal["native", "ccxt"] | None = None,
) -> Exchange:
    """Return the exchange called `name` (ccxt's spelling, either case); enter it to use it.

    Those that are not spoken natively are spoken by way of ccxt; `via` asks for one of the two. `clock` defaults to
    what the environment says (`FULLON_CLOCK`); `page_rows` bounds the rows of one answer where the venue lets one ask
    for fewer than its most.

    Raises:
        UnknownExchange: no exchange of this name; lists near names.
        NotSupported: ccxt gets neither candles nor public trades from it.
    """
    key = name.strip().lower()
    if key in _NATIVE and via != "ccxt":
        from fullon_exchange.native import NativeExchange  # noqa: PLC0415 - only a native venue needs it

        venue = getattr(importlib.import_module(f"fullon_exchange.{key}.rest"), _NATIVE[key])
        return NativeExchange(venue(page_rows), clock=clock)
    known = _ccxt_names()
    if key in known and via != "native":
        adapter: Any = importlib.import_module("fullon_exchange.ccxt_adapter.exchange")
        return cast(Exchange, adapter.CcxtExchange(key, clock=clock, page_rows=page_rows))
    near = difflib.get_close_matches(key, sorted({*_NATIVE, *known}), n=5, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"native are {', '.join(NATIVE_EXCHANGES)}"
    raise UnknownExchange(f"no exchange is called {name!r}; {hint}", near=near)


def _ccxt_names() -> frozenset[str]:
    """Return the names ccxt knows."""
    ccxt: Any = importlib.import_module("ccxt")
    return frozenset(ccxt.exchanges)
