"""Fill the gaps of the ledger over REST: first start, restart, reconnect and repair are this one path."""

import asyncio
import math
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from msgspec.structs import replace

from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.errors import ExchangeError, UnknownSymbol
from fullon_exchange.interface import Exchange, Urgency
from fullon_exchange.records import Channel, Page
from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageDefect, StorageError, TransientStorageError
from fullon_ohlcv.records import Interval, Series, WriteResult
from fullon_ohlcv.timeframe import Timeframe
from fullon_ohlcv_service.by_hand import choose_symbols, status_records
from fullon_ohlcv_service.config.database_config import WantedSymbol, by_exchange
from fullon_ohlcv_service.gap_order import in_order, is_repair, most_urgent_first
from fullon_ohlcv_service.isolation import DefectLog
from fullon_ohlcv_service.markets import UNKNOWN
from fullon_ohlcv_service.retrying import delay_s
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.supervisor import Supervisor
from fullon_ohlcv_service.wanted_range import find_starts
from fullon_orm.models import Symbol

DAY_US = 86_400_000_000
CONCURRENT_SERIES_MAX = 32
"""Series of one venue that are filled side by side; they share the venue's rate budget page by page."""
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 300.0
CONFIRM_AFTER_US = 120_000_000
"""How long after its end a minute's history may still change; younger minutes are read again later."""
UNUSABLE = "unusable row"
"""How the reason begins where a row was read and refused, twice."""
SETTLE_S = 1.0
"""How long after a minute's end a venue's REST side is given to know all of it."""
MINUTE = Timeframe(1, "minute")
FILL_MAX_S = 30.0
"""After this long a fill gives way, so that the order of all gaps is decided anew."""


@dataclass(slots=True)
class _Attempts:
    """How often a series' gaps have been tried in vain, and when they may be tried again."""

    failed: int = 0
    not_before_s: float = 0.0
    rejected: dict[int, int] = field(default_factory=dict)


class HistoricCollector(ABC):
    """Keeps the gaps of one channel filled, for every wanted symbol of every venue that has it as its feed."""

    channel: ClassVar[Channel]
    log_name: ClassVar[str]
    record_type: ClassVar[str]
    """`params["type"]` of the status records of a run by hand."""

    def __init__(self, symbols: Collection[Symbol] | None = None, *, runtime: Runtime | None = None) -> None:
        self._symbols = symbols
        self._runtime = runtime
        self._wanted: dict[str, set[WantedSymbol]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._attempts: dict[Series, _Attempts] = {}
        self._defects = DefectLog(self.log_name)
        self._log = get_component_logger(self.log_name)
        self._supervisor: Supervisor[str] = Supervisor(self.log_name, self._serve_venue)
        self._rows: dict[str, int] = {}

    # what a channel knows -----------------------------------------------------------------------------

    @abstractmethod
    def serves(self, exchange: Exchange) -> bool:
        """Tell whether this collector fills the venue's history."""

    def _reach_us(self, exchange: Exchange, series: Series) -> int | None:
        """Return how far back the venue serves a series; None where nothing is ever forgotten."""
        return None

    @abstractmethod
    def _pages(
        self, exchange: Exchange, series: Series, interval: Interval, urgency: Urgency
    ) -> AsyncIterator[Page[Any]]: ...

    @abstractmethod
    async def _write(
        self, exchange: Exchange, series: Series, page: Page[Any], covered: Sequence[Interval], why: str = ""
    ) -> WriteResult: ...

    # for the daemon -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fill gaps until cancelled; what is wanted is told with `want()`."""
        async with self._supervisor:
            await self._supervisor.want(self._wanted.keys())
            await asyncio.get_running_loop().create_future()

    async def want(self, wanted: Collection[WantedSymbol]) -> None:
        """Make the symbols to keep complete exactly these; what is surplus has stopped on return."""
        self._wanted = by_exchange(wanted)
        keys = {(one.exchange, one.symbol) for one in wanted}
        self._attempts = {one: each for one, each in self._attempts.items() if (one.exchange, one.symbol) in keys}
        await self._supervisor.want(self._wanted.keys())
        self.wake()

    def wake(self, exchange: str | None = None) -> None:
        """Look for gaps now rather than at the next interval."""
        for name, wake in self._wakes.items():
            if exchange in (None, name):
                wake.set()

    async def fill_again(
        self, exchange: Exchange, series: Series, interval: Interval, urgency: Urgency, why: str, *, confirms: bool
    ) -> int:
        """Read an interval again and correct what differs, for the reason `why`; return the number of rows changed.

        What is the same as before is confirmed by that, where the reading `confirms`.
        """
        changed = 0
        async for read in self._pages(exchange, series, interval, urgency):
            page = replace(read, doubtful=not confirms)
            covered = [page.interval] if page.interval[0] < page.interval[1] else []
            result = await self._write(exchange, series, page, covered, why)
            changed += result.inserted + result.updated
        return changed

    # for one run by hand ------------------------------------------------------------------------------

    async def start_collection(self) -> dict[str, int]:
        """Fill every gap there is now and return the rows stored, by `exchange:symbol`.

        A symbol that cannot be collected is logged with its reason and counts 0.
        """
        async with AsyncExitStack() as stack:
            alone = self._runtime is None
            if alone:
                self._runtime = await stack.enter_async_context(open_runtime())
                stack.callback(setattr, self, "_runtime", None)
            wanted = await choose_symbols(self._symbols, self._rt.config)
            self._wanted = by_exchange(wanted)
            self._rows = {str(one): 0 for one in wanted}
            if alone:
                self._rt.board.want(wanted)
                health_s = self._rt.config.health_interval
                await stack.enter_async_context(
                    status_records(self._rt.process_cache, lambda: wanted, self.record_type, health_s)
                )
            async with asyncio.TaskGroup() as group:
                for name in self._wanted:
                    group.create_task(self._fill_venue_once(name))
            return self._rows

    async def start_symbol(self, symbol: Symbol) -> int:
        """Fill every gap of one symbol and return the rows stored."""
        one = type(self)([symbol], runtime=self._runtime)
        return sum((await one.start_collection()).values())

    async def _fill_venue_once(self, name: str) -> None:
        try:
            exchange = await self._rt.exchanges.get(name)
            if self.serves(exchange):
                gaps = await self._find_gaps(exchange)
                await self._fill_all_once(exchange, gaps)
                # What turned out to be out of reach may be there in another series.
                others = await self._find_gaps(exchange)
                await self._fill_all_once(exchange, {one: others[one] for one in others.keys() - gaps.keys()})
        except ExchangeError as error:
            self._log.error("cannot collect", exchange=name, why=str(error))

    async def _fill_all_once(self, exchange: Exchange, gaps: Mapping[Series, Sequence[Interval]]) -> None:
        slots = asyncio.Semaphore(CONCURRENT_SERIES_MAX)
        async with asyncio.TaskGroup() as group:
            for series, intervals in gaps.items():
                group.create_task(self._fill_once(exchange, series, intervals, slots))

    async def _fill_once(
        self, exchange: Exchange, series: Series, gaps: Sequence[Interval], slots: asyncio.Semaphore
    ) -> None:
        async with slots:
            try:
                await self._fill(exchange, series, gaps)
            except ExchangeError as error:
                self._log.error("cannot collect", exchange=exchange.name, symbol=series.symbol, why=str(error))

    # one venue ----------------------------------------------------------------------------------------

    @property
    def _rt(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("the collector has no runtime: call start_collection(), or pass one")
        return self._runtime

    async def _serve_venue(self, name: str) -> None:
        exchange = await self._rt.exchanges.get(name)
        if not self.serves(exchange):
            return
        wake = self._wakes.setdefault(name, asyncio.Event())
        running: dict[Series, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                wake.clear()
                now_s = asyncio.get_running_loop().time()
                gaps = await self._find_gaps(exchange)
                for series in [one for one in running if running[one].done()]:
                    del running[series]
                wanted = {one.symbol for one in self._wanted.get(name, ())}
                for series, task in running.items():
                    if series.symbol not in wanted:
                        task.cancel()
                order = most_urgent_first(gaps, exchange.clock.now_us(), partial(self._reach_us, exchange))
                due = [
                    series for series in order if series not in running and self._attempt(series).not_before_s <= now_s
                ]
                for series in due[: CONCURRENT_SERIES_MAX - len(running)]:
                    running[series] = group.create_task(self._fill_and_report(exchange, series, gaps[series], wake))
                await self._wait(name, wake, gaps.keys() - running.keys(), now_s)

    async def _wait(self, name: str, wake: asyncio.Event, resting: Iterable[Series], now_s: float) -> None:
        """Wait for a wake, the interval, a minute that live leaves to history, or a series that may be tried again."""
        clock = self._rt.board.clocks.get(name, self._rt.clock)
        interval_s = self._rt.config.collection_interval / clock.speed
        for series in resting:
            if (left_s := self._attempt(series).not_before_s - now_s) > 0:
                interval_s = min(interval_s, left_s)
        now_us = clock.now_us()
        wanted = self._wanted.get(name, ())
        if self._rt.config.enable_streaming and len(self._rt.claims.of(name, self.channel)) < len(wanted):
            # Something that should be streamed is not: poll it, a minute at a time.
            left_s = (MINUTE_US - now_us % MINUTE_US) / 1e6 + SETTLE_S
            interval_s = min(interval_s, left_s / clock.speed)
        if (begins_us := self._rt.claims.next_beginning_us(self.channel, now_us)) is not None:
            left_s = (begins_us - now_us) / 1e6 + SETTLE_S
            interval_s = min(interval_s, left_s / clock.speed)
        try:
            async with asyncio.timeout(max(0.05, interval_s)):
                await wake.wait()
        except TimeoutError:
            pass

    async def _find_gaps(self, exchange: Exchange) -> dict[Series, list[Interval]]:
        ranges = dict((await self._ranges(exchange)).values())
        gaps = await self._rt.store.gaps(ranges)
        if self._must_not_backfill():
            now_us = self._rt.clock.now_us()
            gaps = {one: [gap for gap in intervals if is_repair(gap, now_us)] for one, intervals in gaps.items()}
        return {series: intervals for series, intervals in gaps.items() if intervals}

    def _must_not_backfill(self) -> bool:
        """Tell whether what room the disk has left is for live data and repairs."""
        return self._rt.disk is not None and self._rt.disk.is_short

    async def _ranges(self, exchange: Exchange) -> dict[WantedSymbol, tuple[Series, Interval]]:
        """Return the series of each wanted symbol, and what history has to fill of it."""
        rt = self._rt
        _, listings = await rt.exchanges.reach(exchange.name)
        closed_us = floor_minute_us(exchange.clock.now_us() - round(SETTLE_S * 1e6))
        listed = []
        for one in self._wanted.get(exchange.name, ()):
            if one.symbol in listings:
                listed.append(one)
            else:
                rt.board.refuse_unlisted(exchange, one.symbol, listings)
        ranges: dict[WantedSymbol, tuple[Series, Interval]] = {}
        for one, (series, start_us) in (await find_starts(rt, listed, self.channel)).items():
            until_us = rt.markets.history_until_us(one.exchange, one.symbol)
            end_us = closed_us if until_us is None else min(closed_us, floor_minute_us(until_us))
            ranges[one] = (series, rt.claims.wanted(series, start_us, end_us))
        return ranges

    async def _fill_and_report(
        self, exchange: Exchange, series: Series, gaps: Sequence[Interval], wake: asyncio.Event
    ) -> None:
        attempt = self._attempt(series)
        loop = asyncio.get_running_loop()
        try:
            rows, covered_us = await self._fill(exchange, series, gaps, loop.time() + FILL_MAX_S)
            self._defects.forget(series)
            if rows or covered_us:
                attempt.failed = 0
                attempt.not_before_s = 0.0
            else:
                self._rest(attempt, loop.time())
        except UnknownSymbol as error:
            self._rt.board.refuse(series.exchange, series.symbol, f"{UNKNOWN}: {error}")
            self._rt.markets.doubt(series.exchange)
            attempt.not_before_s = loop.time() + RETRY_MAX_S
        except ExchangeError as error:
            self._rest(attempt, loop.time(), getattr(error, "retry_after_s", None))
            self._log.warning(
                "history interrupted, will go on",
                exchange=series.exchange,
                symbol=series.symbol,
                why=str(error),
                again_in_s=round(attempt.not_before_s - loop.time(), 1),
            )
        except StorageDefect as error:
            self._defects.report(series, error)
            attempt.not_before_s = loop.time() + RETRY_MAX_S
        except StorageError as error:
            self._rest(attempt, loop.time(), error.retry_after_s)
            self._log.warning(
                "history interrupted, will go on", exchange=series.exchange, symbol=series.symbol, why=str(error)
            )
        except Exception:  # noqa: BLE001 - one series whose data surprises us never stops its siblings
            self._rest(attempt, loop.time())
            self._log.exception("history failed, will go on", exchange=series.exchange, symbol=series.symbol)
        finally:
            wake.set()

    def _rest(self, attempt: _Attempts, now_s: float, asked_s: float | None = None) -> None:
        attempt.failed += 1
        limit_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2**attempt.failed)
        attempt.not_before_s = now_s + (asked_s or random.uniform(RETRY_FIRST_S, limit_s))  # noqa: S311 - jitter

    def _attempt(self, series: Series) -> _Attempts:
        return self._attempts.setdefault(series, _Attempts())

    async def _fill(
        self, exchange: Exchange, series: Series, gaps: Sequence[Interval], until_s: float = math.inf
    ) -> tuple[int, int]:
        """Store the pages of `gaps`, the most urgent first; return the rows stored and the microseconds settled.

        Ends with the first page after `until_s` (of the loop's clock); what it has not come to are gaps still.
        """
        loop = asyncio.get_running_loop()
        rows = settled_us = 0
        for gap in in_order(gaps, exchange.clock.now_us(), self._reach_us(exchange, series)):
            urgency = Urgency.REPAIR if is_repair(gap, exchange.clock.now_us()) else Urgency.BACKFILL
            pages = self._pages(exchange, series, gap, urgency)
            async with aclosing(pages) as open_pages:  # type: ignore[type-var]  # a generator, declared as an iterator
                async for page in open_pages:
                    stored, page_us = await self._take_page(exchange, series, page)
                    rows += stored
                    settled_us += page_us
                    if loop.time() > until_s or (urgency is Urgency.BACKFILL and self._must_not_backfill()):
                        return rows, settled_us
        return rows, settled_us

    async def _take_page(self, exchange: Exchange, series: Series, page: Page[Any]) -> tuple[int, int]:
        """Store one page; return the rows stored and the microseconds settled."""
        covered = [page.interval] if page.interval[0] < page.interval[1] else []
        result = await self._store(exchange, series, page, covered)
        stored = result.inserted + result.updated
        self._rt.board.add_rows(series.exchange, series.symbol, stored)
        key = f"{series.exchange}:{series.symbol}"
        self._rows[key] = self._rows.get(key, 0) + stored
        if result.rejected:
            await self._settle_rejected(series, result)
        settled = [*covered, *(interval for interval, _ in page.unavailable)]
        return stored, sum(end_us - start_us for start_us, end_us in settled)

    async def _store(
        self, exchange: Exchange, series: Series, page: Page[Any], covered: Sequence[Interval]
    ) -> WriteResult:
        """Write a page, waiting for the database as long as it cannot take it."""
        failed = 0
        while True:
            try:
                return await self._write(exchange, series, page, covered)
            except TransientStorageError as error:
                self._log.warning(
                    "a page waits for the database",
                    exchange=series.exchange,
                    symbol=series.symbol,
                    why=str(error),
                )
                await asyncio.sleep(delay_s(error, failed, 30.0))
                failed += 1

    def _confirmed(self, exchange: Exchange, page: Page[Any], covered: Sequence[Interval]) -> list[Interval]:
        """Return what of a page is old enough to be the exchange's last word; nothing of a doubtful one."""
        if page.doubtful:
            return []
        settled_us = floor_minute_us(exchange.clock.now_us() - CONFIRM_AFTER_US)
        return [(start_us, min(end_us, settled_us)) for start_us, end_us in covered if start_us < settled_us]

    async def _settle_rejected(self, series: Series, result: WriteResult) -> None:
        """A row that is refused twice is what the exchange serves: its minute or bucket is unavailable, and said so."""
        attempt = self._attempt(series)
        for row, reason in result.rejected:
            self._log.warning("row refused", exchange=series.exchange, symbol=series.symbol, row=row, why=reason)
            if not (isinstance(row, tuple) and isinstance(row[0], int)):
                continue
            bucket = series.timeframe or MINUTE
            start_us = bucket.floor(row[0])
            attempt.rejected[start_us] = attempt.rejected.get(start_us, 0) + 1
            if attempt.rejected[start_us] > 1:
                interval = (start_us, bucket.next(start_us))
                await self._rt.store.mark_unavailable(series, interval, f"{UNUSABLE}: {reason}")
                del attempt.rejected[start_us]
