"""What one symbol of the simulated market is like."""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["busy", "normal", "quiet", "dead"]

TRADES_PER_DAY: dict[Kind, float] = {"busy": 6_000.0, "normal": 800.0, "quiet": 40.0, "dead": 0.5}
"""About how many trades a day each kind has, unless its spec says otherwise."""

LISTED_LONG_AGO_US = 1_420_070_400_000_000
"""2015-01-01 UTC."""

_DECIMALS_MAX = 10
# A price times a volume is summed exactly in 64-bit integers; with at most ten decimals together even a
# million trades of a thousand each stay below 2**63.


@dataclass(frozen=True)
class SymbolSpec:
    """One market: its unified symbol, how often it trades, since when, at about which price, how finely.

    `trades_per_day` may be a fraction (0.2: a trade every five days); None means what `kind` usually has.
    The first trade of a market happens at `listed_at_us`. Prices have `price_decimals`, volumes
    `volume_decimals` decimals, together at most ten; None chooses them by the price. `burst_share` of a day's
    orders fall into one single second of it.
    """

    symbol: str
    trades_per_day: float | None = None
    listed_at_us: int = LISTED_LONG_AGO_US
    price: float = 100.0
    price_decimals: int | None = None
    volume_decimals: int | None = None
    kind: Kind = "normal"
    burst_share: float = 0.01

    def __post_init__(self) -> None:
        base, slash, quote = self.symbol.partition("/")
        if not (slash and base.isalnum() and quote.isalnum() and self.symbol == self.symbol.upper()):
            raise ValueError(
                f"symbol is {self.symbol!r}; allowed is BASE/QUOTE in capitals and digits, for instance BTC/USDT"
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

    @property
    def base(self) -> str:
        """The asset that is bought and sold."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """The asset it is paid with."""
        return self.symbol.partition("/")[2]

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
