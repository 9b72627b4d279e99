"""Check the proof of what is stored as it settles: consecutive trade ids, and trades that add up to their candle.

A page, a frame and a connection each look at their own ids; this looks at the stored rows, whichever way they came,
and so at the seams between all of them. What is newly covered is checked once, a day of what was there before at the
start. Minutes that are refuted become unknown and are read again over REST; what is missing then too is the
exchange's own, and accepted.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fullon_exchange.clock import MINUTE_US, ceil_minute_us, floor_minute_us
from fullon_exchange.interface import Exchange
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.intervals import subtract, union
from fullon_ohlcv.records import Interval, Series, State
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.history import DAY_US, HistoricCollector
from fullon_ohlcv_service.runtime import Runtime

EVERY_S = 15.0
"""Seconds of the clock between two looks at the ledger."""
SETTLE_US = MINUTE_US
"""What is newer is left alone: trades of it may still be on their way."""
SPAN_MAX_US = 6 * 3600 * 1_000_000
"""How much of a series one look checks."""
BEFORE_US = DAY_US
"""How much of what was stored before the start is checked."""
SEAM_US = 3600 * 1_000_000
"""How far around an interval its neighbours are looked for."""
ACCEPTED_MAX = 10_000
"""Refutations of one series that are remembered; the oldest go first."""
SKIPPED_ID, VOLUME = "skipped id", "volume"
REASONS = (SKIPPED_ID, VOLUME)


class ProofChecker:
    """Takes back what stored trades refute, on every exchange that numbers its trades consecutively."""

    def __init__(self, runtime: Runtime, historic: Collection[HistoricCollector]) -> None:
        self._runtime = runtime
        self._historic = historic
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._checked: dict[Series, list[Interval]] = {}
        self._accepted: dict[Series, dict[tuple[str, int, int], None]] = {}
        """What has been refuted once, by reason and place: found again, it is the exchange's own."""
        self.refuted: Counter[tuple[str, str]] = Counter()
        """Minutes that became unknown, by exchange and reason."""
        self._log = get_component_logger("fullon.ohlcv.proof")

    async def run(self) -> None:
        """Check until cancelled; `want()` sets what is wanted."""
        while True:
            await self._runtime.clock.sleep(EVERY_S)
            for name in list(self._wanted):
                try:
                    await self.check(name)
                except TransientStorageError as error:
                    self._log.debug("not checked now", exchange=name, why=str(error))

    async def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make the symbols that are checked exactly these."""
        self._wanted = by_exchange(wanted)

    async def check(self, name: str) -> None:
        """Check what has settled of one exchange since the last look."""
        rt = self._runtime
        exchange = await rt.exchanges.get(name)
        if not exchange.traits.trade_ids_sequential:
            return
        pairs = await self._find_pairs(name)
        covered = await self._read_covered(pairs)
        due = {series: self._take_due(series, covered[series]) for series in pairs}
        refuted: dict[Series, list[Interval]] = {}
        seams = [(series, _with_seams(span, covered[series])) for series, spans in due.items() for span in spans]
        for one in await rt.store.find_skipped_ids(seams) if seams else ():
            if self._is_new(one.series, (SKIPPED_ID, one.earlier_id, one.later_id)):
                early_us, late_us = sorted((one.earlier_us, one.later_us))
                minutes = floor_minute_us(early_us), floor_minute_us(late_us) + MINUTE_US
                refuted.setdefault(one.series, []).append(minutes)
                self._count(one.series, minutes, SKIPPED_ID)
        await self._take_back(refuted)
        differing = False if exchange.traits.candles_from_trades else await self._compare(exchange, pairs, due)
        if refuted or differing:
            for collector in self._historic:
                if collector.serves(exchange):
                    collector.wake(name)

    async def _find_pairs(self, name: str) -> dict[Series, Series]:
        """Return the series of trades that exist, each with the series of 1m candles of its symbol."""
        store = self._runtime.store
        pairs: dict[Series, Series] = {}
        for one in sorted(self._wanted.get(name, ())):
            trades = await store.find_series(one.exchange, one.symbol, "trades")
            if trades is not None:
                pairs[trades] = await store.series(one.exchange, one.symbol, "candles1m")
        return pairs

    async def _read_covered(self, series: Iterable[Series]) -> dict[Series, list[Interval]]:
        """Return what is covered and has settled, from the first instant that is checked at all."""
        board = self._runtime.board
        settled = {one: (0, floor_minute_us(board.now_us(one.exchange) - SETTLE_US)) for one in series}
        maps = await self._runtime.store.coverage_maps(settled)
        return {one: [run.interval for run in runs if run.state is State.COVERED] for one, runs in maps.items()}

    def _take_due(self, series: Series, covered: Sequence[Interval]) -> list[Interval]:
        """Return what is covered and not checked yet, the oldest first and so much at most; it counts as checked."""
        if series not in self._checked:
            now_us = self._runtime.board.now_us(series.exchange)
            self._checked[series] = subtract(covered, [(floor_minute_us(now_us - BEFORE_US), now_us)])
        # What is not covered any more is checked again once it is.
        checked = subtract(self._checked[series], subtract(self._checked[series], covered))
        due: list[Interval] = []
        left_us = SPAN_MAX_US
        for start_us, end_us in subtract(covered, checked):
            if left_us > 0:
                due.append((start_us, min(end_us, start_us + left_us)))
                left_us -= due[-1][1] - start_us
        self._checked[series] = union([*checked, *due])
        return due

    async def _compare(
        self, exchange: Exchange, pairs: dict[Series, Series], due: dict[Series, list[Interval]]
    ) -> bool:
        """Take back, of trades and candles alike, the minutes in which they differ; tell whether any did."""
        whole = {
            series: [(ceil_minute_us(start_us), floor_minute_us(end_us)) for start_us, end_us in spans]
            for series, spans in due.items()
        }
        of_candles = await self._read_covered([pairs[series] for series, spans in whole.items() if spans])
        wanted = [
            (series, span)
            for series, spans in whole.items()
            if spans
            for span in subtract(spans, subtract(spans, of_candles[pairs[series]]))
        ]
        refuted: dict[Series, list[Interval]] = {}
        for series, minute_us in await self._runtime.store.find_unequal_minutes(pairs, wanted) if wanted else ():
            if self._is_new(series, (VOLUME, minute_us, minute_us)):
                minute = minute_us, minute_us + MINUTE_US
                refuted.setdefault(series, []).append(minute)
                refuted.setdefault(pairs[series], []).append(minute)
                self._count(series, minute, VOLUME)
        await self._take_back(refuted)
        return bool(refuted)

    async def _take_back(self, refuted: dict[Series, list[Interval]]) -> None:
        for series, intervals in refuted.items():
            for interval in union(intervals):
                await self._runtime.store.uncover(series, interval, why="refuted")

    def _is_new(self, series: Series, place: tuple[str, int, int]) -> bool:
        accepted = self._accepted.setdefault(series, {})
        if place in accepted:
            return False
        accepted[place] = None
        if len(accepted) > ACCEPTED_MAX:
            del accepted[next(iter(accepted))]
        return True

    def _count(self, series: Series, minutes: Interval, reason: str) -> None:
        self.refuted[series.exchange, reason] += (minutes[1] - minutes[0]) // MINUTE_US
        self._log.warning(
            "what is stored refutes its own proof; it is read again",
            exchange=series.exchange,
            symbol=series.symbol,
            reason=reason,
            start_us=minutes[0],
            end_us=minutes[1],
        )


def _with_seams(span: Interval, covered: Sequence[Interval]) -> Interval:
    """Return a span with what is covered around it without a hole, an hour at most on either side."""
    start_us, end_us = span
    run = next(run for run in covered if run[0] <= start_us and end_us <= run[1])
    return max(run[0], start_us - SEAM_US), min(run[1], end_us + SEAM_US)
