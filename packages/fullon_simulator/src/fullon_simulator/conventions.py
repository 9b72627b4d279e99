"""What the venues' records differ in: how a trade is named, what a candle opens with, what a volume counts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from fullon_simulator.clock import MINUTE_US
from fullon_simulator.spec import SymbolSpec

_TID_BITS = 50
_TID_MASK = 2**_TID_BITS - 1
_TID_HALF = _TID_BITS // 2
_TID_FACTOR = 0x2545F4914F6CD | 1
"""Odd, so that multiplying by it modulo a power of two loses nothing."""


@dataclass(frozen=True)
class Convention:
    """How one venue keeps its records."""

    symbols: str
    """What its unified symbols look like, as a regular expression, …"""
    examples: str
    """… and in words."""
    time_step_us: int = 1_000
    """How finely the time of a trade is told."""
    trade_id: Callable[[SymbolSpec, int], str] = lambda _, number: str(number)
    """From the trade's number in its market, counted from 1, to the id that the venue gives it."""
    tells_order_types: bool = True
    """False where nobody learns whether the taker's order was a market or a limit order."""
    counts_contracts: bool = False
    """True where a volume is a whole number of contracts, each one unit of the volume's last decimal."""
    opens_at_last_close: bool = False
    """True where a candle opens with the close of the one before it, and not with its own first trade."""
    publishes_aggregates: bool = False
    """True where the trades of one order at one price are published as one."""
    serves_trades: bool = True
    """False where past trades are not served over REST."""
    listing_step_us: int = 1
    """A market is listed at a multiple of it, the last one before the first trade."""

    def check(self, venue: str, symbol: str) -> None:
        """Refuse what the venue does not trade.

        Raises:
            ValueError: it has no such symbols.
        """
        if not re.fullmatch(self.symbols, symbol):
            raise ValueError(f"symbol is {symbol!r}; {venue} has {self.examples}")


def transaction_id(spec: SymbolSpec, number: int) -> str:
    """Return Hyperliquid's `tid`: 50 bits without order, another one for every trade of a market.

    Each step can be undone, so that no two numbers meet.
    """
    bits = (number + _offset(spec.symbol)) * _TID_FACTOR & _TID_MASK
    bits ^= bits >> _TID_HALF
    bits = bits * _TID_FACTOR & _TID_MASK
    return str(bits ^ bits >> _TID_HALF)


@lru_cache(maxsize=4096)
def _offset(symbol: str) -> int:
    return int.from_bytes(blake2b(symbol.encode(), digest_size=6).digest(), "big")


def match_id(spec: SymbolSpec, number: int) -> str:
    """Return BitMEX's `trdMatchID`: a UUID that tells nothing."""
    text = blake2b(f"{spec.symbol}|{number}".encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


CONVENTIONS = {
    "kraken": Convention("[^:]+", "spot markets, for instance BTC/USD", time_step_us=1),
    "binance": Convention("[^:]+", "spot markets, for instance BTC/USDT", publishes_aggregates=True),
    "hyperliquid": Convention(
        "[^/]+/USDC(:USDC)?",
        "perpetuals and spot markets in USDC, for instance BTC/USDC:USDC and PURR/USDC",
        trade_id=transaction_id,
        serves_trades=False,
        tells_order_types=False,
    ),
    "bitmex": Convention(
        "(?P<base>[^/]+)/USD:(?P=base)|[^/]+/USDT:USDT",
        "inverse and linear perpetuals, for instance BTC/USD:BTC and ETH/USDT:USDT",
        trade_id=match_id,
        tells_order_types=False,
        counts_contracts=True,
        opens_at_last_close=True,
        listing_step_us=60 * MINUTE_US,
    ),
}
"""By the venue's name."""
