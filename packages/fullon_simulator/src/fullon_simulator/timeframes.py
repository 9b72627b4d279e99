"""Where the candles of a timeframe begin: multiples of its length since the epoch, Mondays, or months."""

from dataclasses import dataclass

import numpy as np

from fullon_simulator.clock import DAY_US, MINUTE_US, SECOND_US
from fullon_simulator.columns import Ints


@dataclass(frozen=True)
class Timeframe:
    """A candle's length; `length_us` 0 means calendar months (UTC)."""

    length_us: int
    offset_us: int = 0

    def floor(self, time_us: int) -> int:
        """Return the open time of the candle that `time_us` lies in."""
        if self.length_us:
            return time_us - (time_us - self.offset_us) % self.length_us
        return int(_month_start(np.int64(time_us), 0))

    def next(self, open_us: int) -> int:
        """Return the open time of the candle after the one that opens at `open_us`."""
        return open_us + self.length_us if self.length_us else int(_month_start(np.int64(open_us), 1))

    def floor_all(self, time_us: Ints) -> Ints:
        """Return the open times of the candles that the times lie in."""
        if self.length_us:
            return time_us - (time_us - self.offset_us) % self.length_us
        return _month_start(time_us, 0)

    def back(self, open_us: int, candles: int) -> int:
        """Return the open time `candles` candles before `open_us`."""
        if self.length_us:
            return open_us - candles * self.length_us
        return int(_month_start(np.int64(open_us), -candles))


def _month_start(time_us: Ints | np.int64, later: int) -> Ints:
    months = np.asarray(time_us).astype("datetime64[us]").astype("datetime64[M]") + later
    starts: Ints = months.astype("datetime64[us]").astype(np.int64)
    return starts


MINUTE = Timeframe(MINUTE_US)

BINANCE = {
    "1s": Timeframe(SECOND_US),
    **{f"{n}m": Timeframe(n * MINUTE_US) for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": Timeframe(n * 60 * MINUTE_US) for n in (1, 2, 4, 6, 8, 12)},
    **{f"{n}d": Timeframe(n * DAY_US) for n in (1, 3)},
    "1w": Timeframe(7 * DAY_US, offset_us=4 * DAY_US),  # 1970-01-05 was a Monday
    "1M": Timeframe(0),
}
"""Kline intervals by name. Source: binance-spot-api-docs, enums."""

KRAKEN = {n: Timeframe(n * MINUTE_US) for n in (1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600)}
"""OHLC intervals by minutes. Source: docs.kraken.com, get-ohlc-data."""
