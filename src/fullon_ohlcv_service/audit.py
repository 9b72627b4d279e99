"""Compare what is stored with what a simulated market has published: every candle, every trade, every minute."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fullon_exchange.clock import floor_minute_us
from fullon_ohlcv.records import Interval, State
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service import wanted_range
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_simulator import SimulatedMarket

EXAMPLES_MAX = 10


@dataclass
class Audit:
    """What the comparison found; `sound` where nothing is wrong and every minute is accounted for."""

    symbols: int = 0
    minutes: Counter[str] = field(default_factory=Counter)
    """Minutes of the wanted ranges by state: traded, verified_empty, unavailable, unknown."""
    candles: int = 0
    trades: int = 0
    missing: int = 0
    surplus: int = 0
    different: int = 0
    misclassified: int = 0
    trade_minutes_unknown: int = 0
    """Minutes whose trades are unknown though the market serves past trades."""
    examples: list[str] = field(default_factory=list)

    @property
    def true(self) -> bool:
        """True where everything stored and everything claimed is right."""
        return not self.missing + self.surplus + self.different + self.misclassified

    @property
    def sound(self) -> bool:
        """True where the store equals the market's truth and no minute is unknown."""
        return self.true and not self.minutes["unknown"] and not self.trade_minutes_unknown

    def __str__(self) -> str:
        states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in self.minutes.most_common())
        verdict = "equal to the market's truth" if self.true else "NOT equal to the market's truth"
        if self.true and self.minutes["unknown"]:
            verdict += " wherever known"
        faults = {
            "missing": self.missing,
            "surplus": self.surplus,
            "different": self.different,
            "misclassified": self.misclassified,
        }
        said = ", ".join(f"{count:,} {name}" for name, count in faults.items() if count)
        return (
            f"{self.symbols} symbols, {self.minutes.total():,} minutes ({states}), {self.candles:,} candles, "
            f"{self.trades:,} trades: {verdict}" + (f" ({said})" if said else "")
        )

    def note(self, kind: str, sentence: str) -> None:
        """Count a fault and keep the first few sentences."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{kind}: {sentence}")


async def audit(
    store: TimeseriesStore,
    market: SimulatedMarket,
    wanted: Collection[WantedSymbol],
    *,
    start_us: int | None = None,
    end_us: int,
) -> Audit:
    """Compare the wanted symbols over `[start_us, end_us)`, by default from when on each symbol is wanted."""
    found = Audit()
    for one in sorted(wanted):
        start = start_us
        if start is None:
            series = await store.series(one.exchange, one.symbol, "candles1m")
            since_us = (await store.wanted_since([series])).get(series)
            start = wanted_range.start_us(one, end_us, since_us)
        await _audit_symbol(found, store, market, one, (start, end_us))
    return found


async def _audit_symbol(
    found: Audit, store: TimeseriesStore, market: SimulatedMarket, one: WantedSymbol, interval: Interval
) -> None:
    start_us, end_us = interval
    truth = market.truth(one.exchange, one.symbol)
    found.symbols += 1
    series = await store.series(one.exchange, one.symbol, "candles1m")
    true_candles = {candle.timestamp_us: tuple(candle) for candle in truth.candles(start_us, end_us)}
    unknown: set[int] = set()
    for minute in await store.classify(series, interval):
        found.minutes[minute.state] += 1
        expected = "traded" if minute.timestamp_us in true_candles else "verified_empty"
        if minute.timestamp_us < floor_minute_us(truth.listed_at_us):
            expected = "unavailable"
        if minute.state == "unknown":
            unknown.add(minute.timestamp_us)
        elif minute.state != expected:
            why = f" ({minute.reason})" if minute.reason else ""
            found.note("misclassified", f"{one} minute {minute.timestamp_us} is {minute.state}{why}, not {expected}")
    candles = {row[0]: tuple(row) for row in await store.read_candles(series, interval)}
    found.candles += len(candles)
    _compare(found, f"{one} candle", candles, true_candles, unknown)
    series = await store.series(one.exchange, one.symbol, "trades")
    trades = {str(row[5]): tuple(row) for row in await store.read_trades(series, interval)}
    if trades:
        found.trades += len(trades)
        true_trades = {trade.trade_id: tuple(trade) for trade in truth.published_trades(start_us, end_us)}
        # Trades have a ledger of their own: what it does not cover is not missing.
        known = (State.TRADED, State.VERIFIED_EMPTY)
        minutes = await store.classify(series, interval)
        uncovered = {minute.timestamp_us for minute in minutes if minute.state not in known}
        if truth.serves_trades:
            found.trade_minutes_unknown += sum(minute.state is State.UNKNOWN for minute in minutes)
        _compare(found, f"{one} trade", trades, true_trades, uncovered)


Rows = Mapping[Any, tuple[Any, ...]]
"""By what identifies them; a row begins with its time."""


def _compare(found: Audit, what: str, stored: Rows, true: Rows, unknown: Collection[int]) -> None:
    for key in true.keys() - stored.keys():
        if floor_minute_us(true[key][0]) not in unknown:
            found.note("missing", f"{what} {true[key]}")
    for key in stored.keys() - true.keys():
        found.note("surplus", f"{what} {stored[key]}")
    for key in stored.keys() & true.keys():
        if stored[key] != true[key]:
            found.note("different", f"{what} stored {stored[key]}, true {true[key]}")
