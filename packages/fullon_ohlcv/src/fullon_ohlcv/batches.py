"""A call's many writes, checked, freed of repetitions and encoded: what one transaction stores. Pure.

The minute of a refused row is taken out of the coverage that came with it. Where nobody can say when a refused row
happened, nothing that came with it is covered: the row may be what any of those minutes is missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fullon_ohlcv.copy_format import candle_bytes, trade_bytes, trades_bytes
from fullon_ohlcv.intervals import checked, subtract
from fullon_ohlcv.records import CandleWrite, Interval, Series, TradeRow, TradeWrite
from fullon_ohlcv.row_checks import CandleCheck, TradeCheck, is_empty_candle, is_void_trade
from fullon_ohlcv.timeframe import CANDLES_1M, MINUTE_US, TRADES

SAME_TRADE_US = 1_000_000
"""A trade id seen again within this time is the same trade, though its timestamp differs (venues round differently)."""
TOGETHER_MIN = 16
"""From so many trades of a series on, it pays to look at them column by column."""


class Hull(NamedTuple):
    """The first and the last timestamp of a series' rows in a batch."""

    series_id: int
    first_us: int
    last_us: int


@dataclass(slots=True)
class Batch:
    """Everything of one call but the rows: which series, what is covered, what is unavailable, what was refused."""

    series: dict[int, Series] = field(default_factory=dict)
    covered: list[tuple[int, int, int]] = field(default_factory=list)
    """(series_id, start_us, end_us)"""
    confirmed: list[tuple[int, int, int]] = field(default_factory=list)
    """(series_id, start_us, end_us)"""
    unavailable: list[tuple[int, str, int, int]] = field(default_factory=list)
    """(series_id, reason, start_us, end_us)"""
    rejected: list[tuple[object, str]] = field(default_factory=list)
    repeated: int = 0
    """Rows that the batch itself holds twice."""
    void: int = 0
    """Trades that say nothing."""

    def _note(
        self,
        series: Series,
        write: CandleWrite | TradeWrite,
        suspect: Sequence[Interval],
    ) -> None:
        for start_us, end_us in subtract(checked(write.covered), suspect):
            self.covered.append((series.series_id, start_us, end_us))
        for start_us, end_us in subtract(checked(write.confirmed), suspect):
            self.confirmed.append((series.series_id, start_us, end_us))
        for interval, reason in write.unavailable:
            for start_us, end_us in checked([interval]):
                self.unavailable.append((series.series_id, checked_reason(reason), start_us, end_us))


@dataclass(slots=True)
class CandleBatch(Batch):
    """Encoded candles by series and timestamp; of two for one bucket the later in the call counts."""

    rows: dict[int, dict[int, bytes]] = field(default_factory=dict)
    empty: dict[int, set[int]] = field(default_factory=dict)
    """Buckets that a row says nothing was traded in."""

    @classmethod
    def of(cls, writes: Iterable[CandleWrite], now_us: int) -> "CandleBatch":
        """Check and encode.

        Raises:
            ValueError: an interval, a reason or a channel that cannot be meant (rows never raise).
        """
        batch = cls()
        for write in writes:
            batch._add(write, now_us)
        return batch

    def _add(self, write: CandleWrite, now_us: int) -> None:
        series = write.series
        timeframe = series.timeframe
        if timeframe is None:
            raise ValueError(f"{series} was given to write_candles; allowed is a candle channel such as candles1m")
        self.series[series.series_id] = series
        rows = self.rows.setdefault(series.series_id, {})
        empty = self.empty.setdefault(series.series_id, set())
        suspect: list[Interval] = []
        check = CandleCheck(timeframe, now_us)
        given = 0
        held = len(rows) + len(empty)
        for row in write.rows:
            fault = check.fault(row)
            if fault is not None:
                self.rejected.append((row, f"{series}: {fault}"))
                start_us = check.placed(row)
                suspect += write.covered if start_us is None else [(start_us, timeframe.next(start_us))]
                continue
            given += 1
            timestamp_us = row[0]
            if not row[6] and is_empty_candle(row):
                rows.pop(timestamp_us, None)
                empty.add(timestamp_us)
                continue
            if empty:
                empty.discard(timestamp_us)
            rows[timestamp_us] = candle_bytes(series.series_id, row)
        self.repeated += given - (len(rows) + len(empty) - held)
        self._note(series, write, suspect)

    def hulls(self) -> list[Hull]:
        """Where in time the rows of each series lie."""
        return [Hull(series_id, min(rows), max(rows)) for series_id, rows in self.rows.items() if rows]


@dataclass(slots=True)
class TradeBatch(Batch):
    """Encoded trades by series, in the order they came; of one trade id given twice the first counts."""

    rows: dict[int, list[bytes]] = field(default_factory=dict)
    times_us: dict[int, list[int]] = field(default_factory=dict)
    """When each of these rows happened."""
    candles: dict[int, int] = field(default_factory=dict)
    """Trade series → the candle series that is derived from it."""
    _ids: dict[int, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    """Series → trade id → when."""
    _equal: dict[int, dict[tuple[int, str], int]] = field(default_factory=dict)
    """Series → instant and content → how many, where the venue gives no ids."""

    @classmethod
    def of(cls, writes: Iterable[TradeWrite], now_us: int) -> "TradeBatch":
        """Check and encode.

        Raises:
            ValueError: an interval, a reason or a channel that cannot be meant (rows never raise).
        """
        batch = cls()
        for write in writes:
            batch._add(write, now_us)
        return batch

    def _add(self, write: TradeWrite, now_us: int) -> None:
        series = write.series
        if series.channel != TRADES:
            raise ValueError(f"{series} was given to write_trades; allowed is the channel 'trades'")
        self.series[series.series_id] = series
        if write.candles is not None:
            self._derive(series, write.candles)
        check = TradeCheck(now_us)
        suspect: list[Interval] = []
        if not self._add_together(series.series_id, write.rows, check):
            suspect = self._add_singly(series, write, check)
        self._note(series, write, suspect)

    def _add_together(self, series_id: int, rows: Sequence[TradeRow], check: TradeCheck) -> bool:
        """Add all rows if each is plainly good and new; False, and none added, where each takes a closer look."""
        if len(rows) < TOGETHER_MIN:
            return False
        try:
            columns = tuple(zip(*rows, strict=True))
        except (TypeError, ValueError):
            return False  # not all are rows
        if not check.plain(columns):
            return False
        times_us, ids = columns[0], columns[5]
        known = self._ids.setdefault(series_id, {})
        told = dict(zip(ids, zip(times_us, strict=True), strict=True))
        if len(told) < len(ids) or not known.keys().isdisjoint(told):
            return False
        known |= told
        self.rows.setdefault(series_id, []).extend(trades_bytes(series_id, columns))
        self.times_us.setdefault(series_id, []).extend(times_us)
        return True

    def _add_singly(self, series: Series, write: TradeWrite, check: TradeCheck) -> list[Interval]:
        """Add rows one by one; return what the refused ones make suspect."""
        series_id = series.series_id
        rows = self.rows.setdefault(series_id, [])
        times_us = self.times_us.setdefault(series_id, [])
        ids = self._ids.setdefault(series_id, {})
        equal = self._equal.setdefault(series_id, {})
        suspect: list[Interval] = []
        for row in write.rows:
            fault = check.fault(row)
            if fault is not None and is_void_trade(row):
                self.void += 1
                continue
            if fault is not None:
                self.rejected.append((row, f"{series}: {fault}"))
                at_us = check.placed(row)
                suspect += write.covered if at_us is None else [_minute_of(at_us)]
                continue
            timestamp_us, price, volume, side, order_type, trade_id = stored = row
            occurrence = 0
            if trade_id:
                kept_us = ids.get(trade_id)
                if kept_us is None:
                    ids[trade_id] = (timestamp_us,)
                elif any(abs(timestamp_us - at_us) <= SAME_TRADE_US for at_us in kept_us):
                    self.repeated += 1
                    continue
                else:
                    ids[trade_id] = (*kept_us, timestamp_us)
            else:
                trade_id = content_identity(price, volume, side, order_type)
                occurrence = equal[timestamp_us, trade_id] = equal.get((timestamp_us, trade_id), 0) + 1
                stored = (timestamp_us, price, volume, side, order_type, trade_id)
            rows.append(trade_bytes(series_id, stored, occurrence))
            times_us.append(timestamp_us)
        return suspect

    def _derive(self, trades: Series, candles: Series) -> None:
        if candles.channel != CANDLES_1M:
            raise ValueError(f"candles is {candles}; allowed is a candles1m series")
        if self.candles.setdefault(trades.series_id, candles.series_id) != candles.series_id:
            raise ValueError(f"{trades} is to derive two candle series, {candles} and another; allowed is one")

    def hulls(self) -> list[Hull]:
        """Where in time a stored trade could be one of the batch's."""
        return [
            Hull(series_id, min(times_us) - SAME_TRADE_US, max(times_us) + SAME_TRADE_US)
            for series_id, times_us in self.times_us.items()
            if times_us
        ]


def content_identity(price: float, volume: float, side: str, order_type: str) -> str:
    """Return what identifies, within its instant, a trade of a venue that gives no ids."""
    return f"{float(price)!r} {float(volume)!r} {side} {order_type}"


def checked_reason(reason: str) -> str:
    """Return the reason.

    Raises:
        ValueError: it is empty, longer than 500 characters, or not text that can be stored.
    """
    if isinstance(reason, str) and 0 < len(reason) <= 500 and "\0" not in reason:
        return reason
    raise ValueError(f"reason is {reason!r}; allowed is text of 1 to 500 characters")


def _minute_of(timestamp_us: int) -> Interval:
    start_us = timestamp_us - timestamp_us % MINUTE_US
    return start_us, start_us + MINUTE_US
