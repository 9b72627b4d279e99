"""Read again over REST what live has stored, and a sample of what is older; what differs is corrected and kept.

The same pages and the same writes as history's: the store changes only what differs, keeps what it was as a revision,
and counts it. Re-checks come last in a venue's rate budget and take a bounded share of it, so a venue with many symbols
is read through more slowly, never less completely.
"""

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.errors import ExchangeError, NotSupported
from fullon_exchange.interface import Urgency
from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageUnavailable
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.history import DAY_US, HistoricCollector
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.supervisor import Supervisor

SETTLE_US = 10_000_000
"""How long after a minute's end the venue is given to settle it."""
EVERY_MIN_US = MINUTE_US
"""A series is read again at most this often."""
SPAN_MAX_US = 6 * 3600 * 1_000_000
"""How much of a series one re-check reads."""
SAMPLE_SHARE = 0.1
"""Share of the re-checks that read an older stretch instead."""
IDLE_S = 2.0
WHY = "read again over REST"


@dataclass(slots=True)
class _Checked:
    until_us: int
    """Everything live stored before this has been read again."""
    due_us: int


class Rechecker:
    """Reads again what the live streams have stored, for every venue that a historic collector serves."""

    def __init__(self, runtime: Runtime, historic: Collection[HistoricCollector]) -> None:
        self._runtime = runtime
        self._historic = historic
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._checked: dict[Series, _Checked] = {}
        self._log = get_component_logger("fullon.ohlcv.historic")
        self._supervisor: Supervisor[str] = Supervisor("fullon.ohlcv.historic", self._serve_venue)
        self.corrections = 0
        """Candles that a re-check has changed, and trades that it has added."""
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
        exchange, listings = await rt.exchanges.reach(name)
        collector = next((one for one in self._historic if one.serves(exchange)), None)
        if collector is None:
            return
        pause_s = 1 / exchange.traits.rechecks_per_s / rt.clock.speed
        while True:
            due = None
            for one in sorted(self._wanted.get(name, ())):
                if one.symbol not in listings:
                    continue
                series = await rt.store.series(one.exchange, one.symbol, collector.channel)
                interval = self._next_interval(series, one)
                if interval is not None and (due is None or interval[0] < due[1][0]):
                    due = series, interval
            if due is None:
                await rt.clock.sleep(IDLE_S)
                continue
            series, interval = due
            if random.random() < SAMPLE_SHARE:  # noqa: S311
                sample = await self._older(series, interval[0])
                await self._read_again(collector, name, series, sample)
                await asyncio.sleep(pause_s)
            if await self._read_again(collector, name, series, interval):
                self._checked[series] = _Checked(interval[1], rt.clock.now_us() + EVERY_MIN_US)
            await asyncio.sleep(pause_s)

    def _next_interval(self, series: Series, one: WantedSymbol) -> Interval | None:
        """Return what live has stored of a series since the last re-check and the venue has settled, if it is due."""
        rt = self._runtime
        claim_us = rt.claims.end_us(series)
        checked = self._checked.get(series)
        if claim_us is None:
            return None
        if checked is None:
            self._checked[series] = _Checked(claim_us, 0)
            return None
        now_us = rt.clock.now_us()
        end_us = min(claim_us, floor_minute_us(now_us - SETTLE_US), checked.until_us + SPAN_MAX_US)
        if end_us <= checked.until_us or now_us < checked.due_us:
            return None
        return checked.until_us, end_us

    async def _older(self, series: Series, before_us: int) -> Interval:
        """Return an hour of the last month, at random."""
        start_us = floor_minute_us(before_us - random.randrange(MINUTE_US, 30 * DAY_US))  # noqa: S311
        return start_us, min(before_us, start_us + 60 * MINUTE_US)

    async def _read_again(self, collector: HistoricCollector, name: str, series: Series, interval: Interval) -> bool:
        """Read and write what of the interval is covered; False where that was not possible now."""
        rt = self._runtime
        exchange = await rt.exchanges.get(name)
        runs = await rt.store.coverage_intervals(series, interval)
        try:
            for run in runs:
                if run.state != "covered":
                    continue
                changed = await collector.fill_again(exchange, series, run.interval, Urgency.RECHECK, WHY)
                self.rechecked_minutes += (run.interval[1] - run.interval[0]) // MINUTE_US
                if changed:
                    self.corrections += changed
                    self._log.warning(
                        "corrected what was stored",
                        exchange=name,
                        symbol=series.symbol,
                        channel=series.channel,
                        corrections=changed,
                    )
        except NotSupported:
            return True
        except (ExchangeError, StorageUnavailable) as error:
            self._log.debug("not read again now", exchange=name, symbol=series.symbol, why=str(error))
            return False
        return True
