"""Read again over REST what live has stored, and a sample of what is older; what differs is corrected and kept.

The ledger knows what the exchange's history has confirmed; everything else that is covered is due, over restarts too.
The pages and writes are history's own: the store changes only what differs, keeps what it was as a revision, and counts
it. Re-checks come last in a venue's rate budget and take a bounded share of it, so a venue with many symbols is read
through more slowly, never less completely.

What has to be corrected again and again is no accident: then its stream is doubted, and compared anew before more of it
is stored.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import NamedTuple

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.errors import ExchangeError
from fullon_exchange.interface import Urgency
from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageDefect, TransientStorageError
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.history import CONFIRM_AFTER_US, DAY_US, HistoricCollector
from fullon_ohlcv_service.isolation import DefectLog
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.supervisor import Supervisor
from fullon_ohlcv_service.wanted_range import find_starts

EVERY_US = MINUTE_US
"""A series is read again at most this often."""
SPAN_MAX_US = 6 * 3600 * 1_000_000
"""How much of a series one re-check reads."""
SAMPLE_SHARE = 0.1
"""Share of the re-checks that read an older stretch besides, confirmed or not; every other one of the last day."""
SAMPLE_US = 60 * MINUTE_US
IDLE_S = 5.0
SUSPECT_US = 10 * MINUTE_US
"""For how long after a correction nothing of the series is confirmed: history may have been wrong, and right before."""
DOUBT_AFTER = 3
"""So many re-checks in a row that had to correct a series are no accident."""
WHY = "read again over REST"


class _Due(NamedTuple):
    series: Series
    interval: Interval
    since_us: int
    """Where the wanted range begins."""


class Rechecker:
    """Confirms over REST what the live streams have stored, for every venue that a historic collector serves."""

    def __init__(
        self,
        runtime: Runtime,
        historic: Collection[HistoricCollector],
        on_doubt: Callable[[Series], None] = lambda series: None,
    ) -> None:
        """Build one; `on_doubt(series)` is called when a series has been corrected `DOUBT_AFTER` times in a row."""
        self._on_doubt = on_doubt
        self._corrected: Counter[Series] = Counter()
        """Re-checks in a row that had to correct, by series."""
        self._runtime = runtime
        self._historic = historic
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._due_us: dict[Series, int] = {}
        self._suspect_until_us: dict[Series, int] = {}
        self._defects = DefectLog("fullon.ohlcv.historic")
        self._log = get_component_logger("fullon.ohlcv.historic")
        self._supervisor: Supervisor[str] = Supervisor("fullon.ohlcv.historic", self._serve_venue)
        self.corrections = 0
        """Rows that a re-check has changed, added or withdrawn."""
        self.rechecked_minutes = 0

    async def run(self) -> None:
        """Read again until cancelled; what is wanted is told with `want()`."""
        async with self._supervisor:
            await self._supervisor.want(self._wanted.keys())
            await asyncio.get_running_loop().create_future()

    async def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make the symbols that are read again exactly these."""
        self._wanted = by_exchange(wanted)
        await self._supervisor.want(self._wanted.keys())

    async def _serve_venue(self, name: str) -> None:
        rt = self._runtime
        exchange, _ = await rt.exchanges.reach(name)
        collector = next((one for one in self._historic if one.serves(exchange)), None)
        if collector is None:
            return
        pause_s = 1 / exchange.traits.rechecks_per_s / rt.clock.speed
        while True:
            due = await self._due(name, collector)
            if not due:
                await rt.clock.sleep(IDLE_S)
            for series, interval, since_us in due:
                self._due_us[series] = rt.board.now_us(name) + EVERY_US
                self._judge(series, await self._read_again(collector, name, series, interval))
                await asyncio.sleep(pause_s)
                if random.random() < SAMPLE_SHARE:  # noqa: S311 - chance spreads the load, it keeps no secret
                    await self._read_again(collector, name, series, _older(since_us, interval[0]))
                    await asyncio.sleep(pause_s)

    async def _due(self, name: str, collector: HistoricCollector) -> list[_Due]:
        """Return what is unconfirmed and settled, one stretch a series, the oldest first."""
        rt = self._runtime
        now_us = rt.board.now_us(name)
        end_us = floor_minute_us(now_us - CONFIRM_AFTER_US)
        _, listings = await rt.exchanges.reach(name)
        listed = [one for one in self._wanted.get(name, ()) if one.symbol in listings]
        ranges: dict[Series, Interval] = {
            series: (min(end_us, start_us), end_us)
            for series, start_us in (await find_starts(rt, listed, collector.channel)).values()
            if self._due_us.get(series, 0) <= now_us
        }
        unconfirmed = await rt.store.unconfirmed(ranges)
        due = [
            _Due(series, (first_us, min(intervals[-1][1], first_us + SPAN_MAX_US)), ranges[series][0])
            for series, intervals in unconfirmed.items()
            for first_us, _ in intervals[:1]
        ]
        return sorted(due, key=lambda one: one.interval)

    def _judge(self, series: Series, changed: int) -> None:
        self._corrected[series] += 1
        if not changed:
            del self._corrected[series]
        elif self._corrected[series] >= DOUBT_AFTER:
            del self._corrected[series]
            self._log.warning(
                "corrected again and again, its stream is compared with REST anew",
                exchange=series.exchange,
                symbol=series.symbol,
                channel=series.channel,
            )
            self._on_doubt(series)

    async def _read_again(self, collector: HistoricCollector, name: str, series: Series, interval: Interval) -> int:
        """Read and write what of the interval is covered; return the number of rows changed."""
        rt = self._runtime
        corrections = 0
        exchange = await rt.exchanges.get(name)
        try:
            for run in await rt.store.coverage_intervals(series, interval):
                if run.state != "covered":
                    continue
                confirms = self._suspect_until_us.get(series, 0) <= rt.board.now_us(name)
                changed = await collector.fill_again(
                    exchange, series, run.interval, Urgency.RECHECK, WHY, confirms=confirms
                )
                self.rechecked_minutes += (run.interval[1] - run.interval[0]) // MINUTE_US
                if changed:
                    self._suspect_until_us[series] = rt.board.now_us(name) + SUSPECT_US
                    corrections += changed
                    self.corrections += changed
                    self._log.warning(
                        "corrected what was stored",
                        exchange=name,
                        symbol=series.symbol,
                        channel=series.channel,
                        corrections=changed,
                    )
        except StorageDefect as error:
            self._defects.report(series, error)
        except (TransientStorageError, ExchangeError) as error:
            self._log.debug("not read again now", exchange=name, symbol=series.symbol, why=str(error))
        return corrections


def _older(since_us: int, before_us: int) -> Interval:
    """Return an hour before `before_us` at random, every other time one of the last day."""
    span_us = max(SAMPLE_US, before_us - since_us)
    start_us = floor_minute_us(before_us - random.randint(SAMPLE_US, random.choice((span_us, min(span_us, DAY_US)))))  # noqa: S311
    return start_us, start_us + SAMPLE_US
