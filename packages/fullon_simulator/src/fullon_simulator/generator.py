"""A market out of nothing but a seed: any day of any symbol on demand, the same in every process.

Nothing is stored. How many orders there are before a day is a closed formula, so trade ids, which are one
unbroken sequence, need no counting; everything inside a day comes from a random generator seeded with a hash
of (venue, symbol, seed, day). Prices are value noise at the ends of the days, bridged by a random walk inside.

    orders before day k after listing   1 + floor(orders a day * (k - 1 + rest of the listing day + noise(k)))
    trades before order a               a // PATTERN * trades of a pattern + trades before (a % PATTERN)

An order (one taker, one time, one price) is filled by one or several trades; how many repeats every PATTERN
orders.
"""

import math
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from fullon_simulator.clock import DAY_US, MINUTE_US, SECOND_US
from fullon_simulator.columns import Block, Flags, Ints, TradeColumns
from fullon_simulator.spec import SymbolSpec

_PATTERN = 997
_FILLS = (1, 2, 3, 4, 8)
_FILL_ODDS = (0.72, 0.14, 0.07, 0.05, 0.02)
_OCTAVES = ((180, 0.25), (45, 0.12), (11, 0.06), (3, 0.03), (1, 0.012))
"""Wavelength in days and amplitude of the logarithm of the price."""
_DAY_NOISE = 0.3
_SILENT_SHARE = 0.015
_WALK_SHARE = 0.08
"""How many orders are the continuation of the one before: same taker and time, one tick further."""
_DAY_VOLATILITY = 0.03
_NOTIONAL_MEDIAN = 300.0
_NOTIONAL_MAX = 200_000.0

_MINUTES = np.arange(1440, dtype=np.int64)
_INTRADAY = 1.0 + 0.5 * np.sin((_MINUTES - 600) * (2 * math.pi / 1440)) + 0.25 * np.sin(_MINUTES * (4 * math.pi / 1440))


class GeneratedHistory:
    """The trades of one symbol of one venue under one seed, from its listing to the end of time."""

    def __init__(self, seed: int, venue: str, spec: SymbolSpec, *, time_step_us: int) -> None:
        self._spec = spec
        self._key = f"{venue}|{spec.symbol}|{seed}|"
        self._step_us = time_step_us
        self._listed_us = -(-spec.listed_at_us // time_step_us) * time_step_us
        self.first_day = self._listed_us // DAY_US
        self._listing_day_share = 1 - self._listed_us % DAY_US / DAY_US
        sizes = self._random("fills").choice(_FILLS, size=_PATTERN, p=_FILL_ODDS)
        self._sizes: Ints = sizes.astype(np.int64)
        self._trades_before_order: Ints = np.concatenate(([0], np.cumsum(self._sizes)))
        self._pattern_trades = int(self._trades_before_order[-1])
        self._orders_a_day = spec.rate * _PATTERN / self._pattern_trades

    def aggregates_before(self, day: int) -> int:
        """Return how many orders, each one aggregate, there are before `day`."""
        days = day - self.first_day
        if days <= 0:
            return 0
        noise = 1 + _DAY_NOISE * self._uniform(f"count{day}")
        passed = self._listing_day_share * noise if days == 1 else days - 2 + self._listing_day_share + noise
        return 1 + math.floor(self._orders_a_day * passed)

    def trades_before(self, day: int) -> int:
        """Return how many trades there are before `day`."""
        return self._position(self.aggregates_before(day))

    def position_of_id(self, trade_id: int) -> int:
        """Return how many trades have a smaller id; ids count from 1."""
        return max(0, trade_id - 1)

    def block(self, day: int) -> Block:
        """Make the trades of `day`, at or after the first one."""
        spec = self._spec
        first_order = self.aggregates_before(day)
        orders = self.aggregates_before(day + 1) - first_order
        position = self._position(first_order)
        random = self._random(f"day{day}")
        time_us = self._order_times(day, orders, random)
        price = self._order_prices(day, orders, random)
        buy = random.random(orders) < 0.5
        leader = _leaders(random.random(orders) < _WALK_SHARE)
        time_us, buy = time_us[leader], buy[leader]
        steps = np.arange(orders) - leader
        price = np.maximum(price[leader] + buy + np.where(buy, steps, -steps), 1) * spec.price_step

        sizes = self._sizes[np.arange(first_order, first_order + orders) % _PATTERN]
        first = np.concatenate(([0], np.cumsum(sizes)))
        trades = int(first[-1])
        price = np.repeat(price, sizes)
        notional = np.minimum(_NOTIONAL_MEDIAN * np.exp(random.standard_normal(trades) * 1.4), _NOTIONAL_MAX)
        if spec.inverse:
            volume = notional * 10.0**spec.volume_digits
        else:
            volume = notional * 10.0 ** (spec.price_digits + spec.volume_digits) / price
        lots = np.rint(volume / spec.volume_step).astype(np.int64)
        rows = TradeColumns(
            trade_id=np.arange(position + 1, position + 1 + trades),
            time_us=np.repeat(time_us, sizes),
            price=price,
            volume=np.maximum(lots, 1) * spec.volume_step,
            buy=np.repeat(buy, sizes),
            market=random.random(trades) < 0.4,
        )
        return Block(position, first_order, rows, first)

    def _position(self, order: int) -> int:
        """Return how many trades there are before order number `order`."""
        patterns, rest = divmod(order, _PATTERN)
        return patterns * self._pattern_trades + int(self._trades_before_order[rest])

    def _order_times(self, day: int, orders: int, random: np.random.Generator) -> Ints:
        """Draw sorted times: many in busy minutes, none in silent ones, a share of them in one second."""
        start_us = max(day * DAY_US, self._listed_us)
        end_us = (day + 1) * DAY_US
        weights = _INTRADAY * np.exp(0.7 * random.standard_normal(1440)) * (random.random(1440) > _SILENT_SHARE)
        from_minute = (start_us - day * DAY_US) // MINUTE_US
        weights = weights[from_minute:] + 1e-12
        edges = np.concatenate(([start_us], day * DAY_US + (_MINUTES[from_minute:] + 1) * MINUTE_US)) - start_us
        odds = np.concatenate(([0.0], np.cumsum(weights)))
        offsets = np.interp(random.random(orders) * odds[-1], odds, edges)
        crowd = int(orders * self._spec.burst_share)
        if crowd:
            offsets[:crowd] = random.random() * edges[-1] + random.random(crowd) * SECOND_US
        offsets = np.clip(np.sort(offsets), 0, end_us - start_us - 1).astype(np.int64)
        if orders and start_us == self._listed_us:
            offsets[0] = 0
        time_us: Ints = start_us + offsets
        return time_us - time_us % self._step_us

    def _order_prices(self, day: int, orders: int, random: np.random.Generator) -> Ints:
        """Draw a walk of the logarithm from this day's anchor to the next one's, in steps of the price."""
        start, end = self._anchor(day), self._anchor(day + 1)
        walk = np.cumsum(random.standard_normal(orders)) * (_DAY_VOLATILITY / math.sqrt(max(orders, 1)))
        share = np.arange(1, orders + 1) / max(orders, 1)
        drift = end - start - (walk[-1] if orders else 0.0)
        ticks = np.exp(start + walk + share * drift) * 10.0**self._spec.price_digits / self._spec.price_step
        return np.maximum(np.rint(ticks), 1).astype(np.int64)

    def _anchor(self, day: int) -> float:
        """Return the logarithm of the price at the start of `day`: smooth noise of several wavelengths."""
        level = math.log(self._spec.price)
        for days, amplitude in _OCTAVES:
            node, rest = divmod(day, days)
            at = rest / days
            smooth = at * at * (3 - 2 * at)
            left, right = self._uniform(f"price{days}|{node}"), self._uniform(f"price{days}|{node + 1}")
            level += amplitude * (2 * (left + (right - left) * smooth) - 1)
        return level

    def _uniform(self, name: str) -> float:
        return _digest(self._key + name) / 2**128

    def _random(self, name: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(_digest(self._key + name)))


@lru_cache(maxsize=65_536)
def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")


def _leaders(follows: Flags) -> Ints:
    """Return for each order the latest one at or before it that follows nobody; the first never follows."""
    own = np.arange(len(follows))
    return np.maximum.accumulate(np.where(follows, 0, own))
