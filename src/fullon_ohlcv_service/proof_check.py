"""Check the proof of what is stored as it settles: consecutive trade ids, and trades that add up to their candle.

A page, a frame and a connection each look at their own ids; this looks at the stored rows, whichever way they came,
and so at the seams between all of them. What is newly covered is checked once, a day of what was there before at the
start. Minutes that are refuted become unknown and are read again over REST, at once and once more ten minutes later:
what answers wrongly may do so for minutes. What is missing then too is the exchange's own, and accepted.

Where an exchange does not serve past trades, a candle that its trades do not add up to is read again likewise; if they
still differ, trades were lost on the stream, and those of the minute are unknown from then on.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from fullon_exchange.clock import MINUTE_US, ceil_minute_us, floor_minute_us
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.intervals import intersect, subtract, union
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
PLACES_MAX = 10_000
"""Refuted places of one series that are remembered; the oldest go first."""
READS_MAX = 2
"""How often a refuted place is read again before it is accepted."""
AGAIN_AFTER_US = 10 * MINUTE_US
"""How much later it is read once more."""
COMPARED_MAX, DIFFERING_MAX = 30, 15
"""Trades that cannot be read again are not refuted where so many of the last minutes compared differ: the exchange's
trades and candles then do not count the same."""
SKIPPED_ID, VOLUME = "skipped id", "volume"
REASONS = (SKIPPED_ID, VOLUME)


Place = tuple[str, int, int]
"""What is refuted: the reason, and two ids or the minute."""


class ProofChecker:
    """Takes back what stored trades refute, on every exchange that numbers its trades consecutively."""

    def __init__(
        self, runtime: Runtime, historic: Collection[HistoricCollector], *, again_after_us: int = AGAIN_AFTER_US
    ) -> None:
        self._runtime = runtime
        self._historic = historic
        self._again_after_us = again_after_us
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._checked: dict[tuple[str, Series], list[Interval]] = {}
        """What has been checked for a reason of each series of trades."""
        self._reads: dict[Series, dict[Place, tuple[int, int]]] = {}
        """How often each refuted place was read again, and from when on it may be once more."""
        self._later: dict[tuple[str, Series], list[tuple[int, Interval]]] = {}
        """From when on an interval is checked once more."""
        self._compared: dict[Series, deque[bool]] = {}
        """Whether the newest minutes compared added up, of trades that cannot be read again."""
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
        exchange = await self._runtime.exchanges.get(name)
        traits = exchange.traits
        adds_up = traits.trades_add_up and not traits.candles_from_trades
        if not (traits.trade_ids_sequential or adds_up):
            return
        pairs = await self._find_pairs(name)
        covered = await self._read_covered(pairs)
        refuted = await self._check_ids(covered) if traits.trade_ids_sequential else False
        if adds_up:
            refuted |= await self._check_volumes(pairs, covered, again=traits.trade_history)
        if refuted:
            for collector in self._historic:
                if collector.serves(exchange):
                    collector.wake(name)

    async def _check_ids(self, covered: Mapping[Series, Sequence[Interval]]) -> bool:
        """Take back the minutes around each skipped id; return whether there are any."""
        refuted: dict[Series, list[Interval]] = {}
        seams = [
            (series, _with_seams(span, runs))
            for series, runs in covered.items()
            for span in self._take_due(SKIPPED_ID, series, runs)
        ]
        for one in await self._runtime.store.find_skipped_ids(seams) if seams else ():
            early_us, late_us = sorted((one.earlier_us, one.later_us))
            minutes = floor_minute_us(early_us), floor_minute_us(late_us) + MINUTE_US
            reading = self._count_reading(one.series, (SKIPPED_ID, one.earlier_id, one.later_id), minutes)
            if 1 <= reading <= READS_MAX:
                refuted.setdefault(one.series, []).append(minutes)
                self._count(one.series, minutes, SKIPPED_ID)
        await self._take_back(refuted)
        return bool(refuted)

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

    def _take_due(self, reason: str, series: Series, covered: Sequence[Interval]) -> list[Interval]:
        """Return what is covered and not checked yet, the oldest first and so much at most; it counts as checked."""
        now_us = self._runtime.board.now_us(series.exchange)
        if (reason, series) not in self._checked:
            self._checked[reason, series] = subtract(covered, [(floor_minute_us(now_us - BEFORE_US), now_us)])
        later = self._later.pop((reason, series), [])
        again = [span for at_us, span in later if at_us <= now_us]
        self._later[reason, series] = [(at_us, span) for at_us, span in later if at_us > now_us]
        # What is not covered any more is checked again once it is.
        checked = subtract(intersect(self._checked[reason, series], covered), again)
        due: list[Interval] = []
        left_us = SPAN_MAX_US
        for start_us, end_us in subtract(covered, checked):
            if left_us > 0:
                due.append((start_us, min(end_us, start_us + left_us)))
                left_us -= due[-1][1] - start_us
        self._checked[reason, series] = union([*checked, *due])
        return due

    async def _check_volumes(
        self, pairs: Mapping[Series, Series], covered: Mapping[Series, Sequence[Interval]], *, again: bool
    ) -> bool:
        """Take back the minutes whose trades do not add up to their candle; return whether there are any.

        Of trades and candles alike where trades can be read `again`; else of the candle, and the next time of the
        trades.
        """
        of_candles = await self._read_covered(pairs.values())
        due = [
            (series, span)
            for series, candles in pairs.items()
            for span in self._take_due(VOLUME, series, _whole_minutes(intersect(covered[series], of_candles[candles])))
        ]
        refuted: dict[Series, list[Interval]] = {}
        unequal = set(await self._runtime.store.find_unequal_minutes(pairs, due)) if due else set()
        for series, span in due:
            for minute_us in range(*span, MINUTE_US):
                differs = (series, minute_us) in unequal
                self._compared.setdefault(series, deque(maxlen=COMPARED_MAX)).append(differs)
                suspects = self._suspects(series, pairs[series], minute_us, again=again) if differs else ()
                for one in suspects:
                    refuted.setdefault(one, []).append((minute_us, minute_us + MINUTE_US))
                if suspects:
                    self._count(series, (minute_us, minute_us + MINUTE_US), VOLUME)
        await self._take_back(refuted)
        return bool(refuted)

    def _suspects(self, trades: Series, candles: Series, minute_us: int, *, again: bool) -> tuple[Series, ...]:
        """Return which of trades and candles, that differ in a minute, are not believed."""
        minute = minute_us, minute_us + MINUTE_US
        reading = self._count_reading(trades, (VOLUME, *minute), minute)
        if 1 <= reading <= READS_MAX:
            return (trades, candles) if again else (candles,)
        lost = reading > READS_MAX and not again and sum(self._compared[trades]) <= DIFFERING_MAX
        return (trades,) if lost else ()

    async def _take_back(self, refuted: dict[Series, list[Interval]]) -> None:
        for series, intervals in refuted.items():
            for interval in union(intervals):
                await self._runtime.store.uncover(series, interval, why="refuted")

    def _count_reading(self, series: Series, place: Place, span: Interval) -> int:
        """Return which reading of a refuted place is due; 0 while none is, more than `READS_MAX` after the last."""
        now_us = self._runtime.board.now_us(series.exchange)
        places = self._reads.setdefault(series, {})
        readings, next_us = places.get(place, (0, 0))
        if 0 < readings < READS_MAX and now_us < next_us:
            self._later.setdefault((place[0], series), []).append((next_us, span))
            return 0
        readings += 1
        places[place] = readings, now_us + self._again_after_us
        if readings <= READS_MAX:
            # It may be covered again before the next look, which would not notice.
            self._checked[place[0], series] = subtract(self._checked[place[0], series], [span])
        if len(places) > PLACES_MAX:
            del places[next(iter(places))]
        return readings

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


def _whole_minutes(spans: Iterable[Interval]) -> list[Interval]:
    whole = ((ceil_minute_us(start_us), floor_minute_us(end_us)) for start_us, end_us in spans)
    return [(start_us, end_us) for start_us, end_us in whole if start_us < end_us]
