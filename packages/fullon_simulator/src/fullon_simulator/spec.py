"""What one symbol of the simulated market is like."""

import math
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["busy", "normal", "quiet", "dead"]

TRADES_PER_DAY: dict[Kind, float] = {"busy": 6_000.0, "normal": 800.0, "quiet": 40.0, "dead": 0.5}
"""About how many trades a day each kind has, unless its spec says otherwise."""

LISTED_LONG_AGO_US = 1_420_070_400_000_000
"""2015-01-01 UTC."""

_SYMBOL = re.compile(r"(?P<base>[A-Z0-9]+)/(?P<quote>[A-Z0-9]+)(:(?P<settle>[A-Z0-9]+))?")
_DECIMALS_MAX = 10
# A price times a volume is summed exactly in 64-bit integers; with at most ten decimals together even a
# million trades of a thousand each stay below 2**63.


@dataclass(frozen=True)
class SymbolSpec:
    """One market: its unified symbol, how often it trades, since when, at about which price, how finely.

    `BASE/QUOTE` is a spot market, `BASE/QUOTE:SETTLE` a perpetual contract settled in SETTLE.
    `trades_per_day` may be a fraction (0.2: a trade every five days); None means what `kind` usually has.
    The first trade of a market happens at `listed_at_us`. Prices have `price_decimals`, volumes
    `volume_decimals` decimals, together at most ten; None chooses them by the price. `burst_share` of a day's
    orders fall into one single second of it. Prices are multiples of `price_step`, volumes of `volume_step`
    units of their last decimal.
    """

    symbol: str
    trades_per_day: float | None = None
    listed_at_us: int = LISTED_LONG_AGO_US
    price: float = 100.0
    price_decimals: int | None = None
    volume_decimals: int | None = None
    kind: Kind = "normal"
    burst_share: float = 0.01
    price_step: int = 1
    volume_step: int = 1

    def __post_init__(self) -> None:
        if not _SYMBOL.fullmatch(self.symbol):
            raise ValueError(
                f"symbol is {self.symbol!r}; allowed is BASE/QUOTE or BASE/QUOTE:SETTLE in capitals and digits, "
                "for instance BTC/USDT or BTC/USDC:USDC"
            )
        if self.kind not in TRADES_PER_DAY:
            raise ValueError(f"kind of {self.symbol} is {self.kind!r}; allowed are {', '.join(TRADES_PER_DAY)}")
        if not 0 <= self.rate <= 5_000_000:
            raise ValueError(f"trades_per_day of {self.symbol} is {self.rate}; allowed is 0 to 5000000")
        if not 1e-7 <= self.price <= 1e7:
            raise ValueError(f"price of {self.symbol} is {self.price}; allowed is 0.0000001 to 10000000")
        if not (
            0 <= self.price_digits <= 8
            and 0 <= self.volume_digits <= 8
            and self.price_digits + self.volume_digits <= _DECIMALS_MAX
        ):
            raise ValueError(
                f"decimals of {self.symbol} are {self.price_digits} and {self.volume_digits}; "
                f"allowed are 0 to 8 each and {_DECIMALS_MAX} together"
            )
        if not 0 <= self.burst_share <= 1:
            raise ValueError(f"burst_share of {self.symbol} is {self.burst_share}; allowed is 0 to 1")
        if self.price_step < 1 or self.volume_step < 1:
            raise ValueError(
                f"steps of {self.symbol} are {self.price_step} and {self.volume_step}; allowed is 1 or more"
            )

    @property
    def base(self) -> str:
        """The asset that is bought and sold."""
        return self._part("base")

    @property
    def quote(self) -> str:
        """The asset it is priced in."""
        return self._part("quote")

    @property
    def settle(self) -> str:
        """The asset a contract is paid in; nothing on a spot market."""
        return self._part("settle")

    @property
    def inverse(self) -> bool:
        """True where a contract is worth so much of the quote asset and paid in the base; volume counts the quote."""
        return self.settle == self.base

    def _part(self, name: str) -> str:
        match = _SYMBOL.fullmatch(self.symbol)
        return (match[name] or "") if match else ""

    @property
    def rate(self) -> float:
        """About how many trades a day."""
        return TRADES_PER_DAY[self.kind] if self.trades_per_day is None else self.trades_per_day

    @property
    def price_digits(self) -> int:
        """Decimals of a price; seven significant digits where the spec leaves it open."""
        if self.price_decimals is not None:
            return self.price_decimals
        return min(8, max(0, 6 - math.floor(math.log10(self.price))))

    @property
    def volume_digits(self) -> int:
        """Decimals of a volume; as many as are left where the spec leaves it open."""
        if self.volume_decimals is not None:
            return self.volume_decimals
        return min(8, _DECIMALS_MAX - self.price_digits)
