"""What BitMEX called a market, and what everybody else called it: `XBTUSD` is `BTC/USD:BTC`.

Unified symbols follow what ccxt made of `instrument/active`: base, quote and, of contracts, the settlement currency;
dated contracts carry their expiry (`BTC/USD:BTC-210924`); what is neither spot nor contract keeps its name.
Source: ccxt 4.5.83 `bitmex.py`, the last release that knew BitMEX.
"""

from datetime import UTC, datetime

_UNIFIED = {"BCHSV": "BSV", "GWEI": "ETH", "LAMP": "SOL", "XBT": "BTC"}
_PERPETUAL = frozenset({"FFWCSX", "FFSCSX"})
_DATED = frozenset({"FFCCSX", "FFMCSX"})
_PREDICTION = "FFICSX"
_SPOT = "IFXXXP"


def unified_code(currency: str) -> str:
    """Return the unified code of a currency: `BTC` for `XBT`, and for `XBt`, the hundred millionth of it."""
    return _UNIFIED.get(currency.upper(), currency.upper())


def unified_symbol(
    name: str, typ: str, *, underlying: str, root: str, quote: str, settle: str, expiry: datetime | None
) -> tuple[str, str, str]:
    """Return the unified symbol, base and quote of the instrument `name`; `typ` is BitMEX's own classification."""
    if typ == _PREDICTION:
        underlying, quote = root, underlying
    base, quote, settle = unified_code(underlying), unified_code(quote), unified_code(settle)
    symbol = name
    if typ == _SPOT:
        symbol = f"{base}/{quote}"
    elif typ in _PERPETUAL:
        symbol = f"{base}/{quote}:{settle}"
    elif typ in _DATED or typ == _PREDICTION:
        symbol = f"{base}/{quote}:{settle}" + (f"-{expiry.astimezone(UTC):%y%m%d}" if expiry else "")
    return symbol, base, quote
