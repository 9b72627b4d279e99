"""The store: rows and the ledger of what they account for, in one PostgreSQL database."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

import asyncpg

from fullon_ohlcv.batches import CandleBatch, TradeBatch, checked_reason
from fullon_ohlcv.bounds import bounds, close_together, moment
from fullon_ohlcv.connection import (
    CONNECT_TIMEOUT_S,
    Target,
    connect_or_create,
    create_pool,
    translated,
)
from fullon_ohlcv.errors import StorageMisconfigured, StorageUnavailable
from fullon_ohlcv.intervals import END_OF_TIME_US, checked
from fullon_ohlcv.ledger import Wanted, read_gaps, read_minutes, read_runs, read_summaries, read_unconfirmed
from fullon_ohlcv.records import (
    CandleRow,
    CandleWrite,
    ClosedMinute,
    CoverageRun,
    CoverageSummary,
    Interval,
    Lifecycle,
    MarketState,
    MinuteState,
    Revision,
    Series,
    SkippedIds,
    TradeRow,
    TradeWrite,
    WriteResult,
)
from fullon_ohlcv.relation_names import TEXT_BYTES_MAX, is_name
from fullon_ohlcv.retention import Keep, find_chunk_end, find_removable, record_removed, remove_span
from fullon_ohlcv.rights import missing_grants
from fullon_ohlcv.schema import migrate
from fullon_ohlcv.statements import statement, timescale
from fullon_ohlcv.tallies import REMOVED, RETENTION, DayDifference, read_differences, tallied_days
from fullon_ohlcv.timeframe import CANDLES_1M, DAY_US, TRADES, timeframe_of_channel
from fullon_ohlcv.timescale import compress_after
from fullon_ohlcv.views import checked_main, create_relations
from fullon_ohlcv.writing import (
    doubt,
    lock_series,
    lock_with_derived,
    mark_spans,
    minutes_around,
    settle_series,
    store_candles,
    store_trades,
    uncover_span,
)

if TYPE_CHECKING:
    from asyncpg import Pool, Record
    from asyncpg.pool import PoolConnectionProxy

CLOSE_TIMEOUT_S = 2.0
ACQUIRE_TIMEOUT_S = 30.0
END_TIMEOUT_S = 2.0
"""How long a failed transaction may take to be rolled back, and a connection to come back to the pool."""
_GONE = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What is raised by a connection that cannot be used any more; asyncpg ends it then."""


def system_now_us() -> int:
    """Return the system's time in microseconds since the epoch."""
    return time.time_ns() // 1000


class TimeseriesStore:
    """Candles, trades and their coverage; `async with TimeseriesStore.open() as store`.

    Any number of tasks may use one store at once; a call waits for one of its connections. Every method raises a
    `TransientStorageError` when the server cannot do it now, `StorageUnavailable` where it cannot even be reached; a
    write that raised, or was cancelled, has either stored everything it was given or nothing.
    """

    def __init__(self, target: Target, pool: "Pool[Record]", now_us: Callable[[], int]) -> None:
        self.target = target
        self._pool = pool
        self._now_us = now_us
        self._series: dict[tuple[str, str, str], Series] = {}
        self._wanted_since: dict[Series, int] = {}
        self._released = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, test: bool = False, pool_max: int = 8, now_us: Callable[[], int] = system_now_us
    ) -> AsyncIterator[Self]:
        """Connect to the database that the environment names; create it and its schema where missing.

        `test` takes `DB_TEST_NAME` instead of `DB_OHLCV_NAME`. Rows may not lie more than a day beyond `now_us`.

        Raises:
            StorageUnavailable: the server cannot be reached; may be tried again.
            StorageMisconfigured: it refuses us, or the environment names no server.
            SchemaMismatch: the database is newer than this code, or something else's.
        """
        target = Target.from_env(test=test)
        if pool_max < 1:
            raise ValueError(f"pool_max is {pool_max}; allowed is from 1")
        with translated(target, "open the time series"):
            connection = await connect_or_create(target)
            try:
                await migrate(connection, target.schema)
            finally:
                await connection.close(timeout=CONNECT_TIMEOUT_S)
            pool = await create_pool(target, pool_max)
        try:
            store = cls(target, pool, now_us)
            # One connection is held from the start: others may take all that the server has left.
            async with store.connection("open the time series"):
                pass
            yield store
        finally:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def connection(self, action: str) -> "AsyncIterator[PoolConnectionProxy[Record]]":
        """Lend a connection; what goes wrong with it is said as `cannot <action>: …`."""
        with translated(self.target, action):
            try:
                async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                    connection = await self._acquire()
            except TimeoutError as error:
                raise StorageUnavailable(
                    f"cannot {action}: {self.target}: none of {self._pool.get_max_size()} connections "
                    f"became free within {ACQUIRE_TIMEOUT_S:g} s"
                ) from error
            try:
                yield connection
            except asyncio.CancelledError:
                # The server would be asked to cancel too, and waited for, though it may say nothing any more.
                connection.terminate()
                raise
            finally:
                with suppress(*_GONE):
                    await self._pool.release(connection, timeout=END_TIMEOUT_S)
                self._released.set()

    async def _acquire(self) -> "PoolConnectionProxy[Record]":
        """Take a connection; where the server grants no more, wait for one of ours."""
        while True:
            self._released.clear()
            try:
                return await self._pool.acquire()
            except asyncpg.TooManyConnectionsError:
                if not self._pool.get_size():
                    raise
                await self._released.wait()

    @asynccontextmanager
    async def _transaction(self, action: str) -> "AsyncIterator[PoolConnectionProxy[Record]]":
        """Lend a connection within a transaction; where its end cannot be said in time, the connection is cut."""
        async with self.connection(action) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except Exception:
                try:
                    async with asyncio.timeout(END_TIMEOUT_S):
                        await transaction.rollback()
                except _GONE:
                    connection.terminate()
                raise
            await transaction.commit()

    async def require_rights(self, exchanges: Collection[str]) -> None:
        """Make sure that this user may write, and create the relations of symbols of `exchanges`.

        Raises:
            StorageMisconfigured: not so; the sentence holds the statements that grant it.
        """
        async with self.connection("ask for the rights") as connection:
            grants = await missing_grants(connection, exchanges)
        if grants:
            raise StorageMisconfigured(
                f"cannot collect: {self.target} lacks rights; let the owner run: {'; '.join(grants)}"
            )

    async def series(self, exchange: str, symbol: str, channel: str) -> Series:
        """Return the series, created where it is new. Channels: `trades`, `candles1m`, `candles1h` …

        Raises:
            ValueError: a name that is empty, too long or not text, or an unknown channel.
        """
        key = (exchange, symbol, channel)
        known = self._series.get(key)
        if known is not None:
            return known
        for name, value in (("exchange", exchange), ("symbol", symbol)):
            _check_name(name, value)
        timeframe_of_channel(channel)
        async with self.connection("name a series") as connection:
            series_id = await connection.fetchval(statement("find_series"), *key)
            if series_id is None:
                await connection.execute(statement("create_series"), *key)
                series_id = await connection.fetchval(statement("find_series"), *key)
        return self._series.setdefault(key, Series(series_id, *key))

    async def find_series(self, exchange: str, symbol: str, channel: str) -> Series | None:
        """Return the series if it exists, None otherwise; nothing is created."""
        key = (exchange, symbol, channel)
        if not (is_name(exchange) and is_name(symbol)):
            return None
        if key not in self._series:
            async with self.connection("find a series") as connection:
                series_id = await connection.fetchval(statement("find_series"), *key)
            if series_id is None:
                return None
            self._series[key] = Series(series_id, *key)
        return self._series[key]

    async def write_candles(self, writes: Sequence[CandleWrite], *, why: str = "") -> WriteResult:
        """Store candles and their coverage, all writes in one transaction.

        Each row is checked on its own: a bad one is reported in `rejected` and its bucket is not covered. A stored
        candle with other values is replaced and kept as a revision, with `why` as the reason: something is read again.
        A reading that corrects anything confirms nothing, until another one agrees with it.

        Raises:
            ValueError: an interval, a reason or a channel that cannot be meant; nothing is stored.
            RowsLost: the server stored less than it was given; nothing is stored.
        """
        batch = CandleBatch.of(writes, self._now_us())
        if not batch.series:
            return WriteResult()
        async with self._transaction("write candles") as connection:
            await _say_why(connection, why)
            result = await store_candles(connection, batch)
            if why and (result.inserted or result.updated):
                await doubt(connection, batch)
            return result

    async def write_trades(self, writes: Sequence[TradeWrite], *, why: str = "") -> WriteResult:
        """Store trades, the candles derived from them and the coverage of both, all writes in one transaction.

        Each row is checked on its own: a bad one is reported in `rejected` and its minute is not covered. A trade
        that is stored already stays as it is.

        Raises:
            ValueError: an interval, a reason or a channel that cannot be meant; nothing is stored.
            RowsLost: the server stored less than it was given; nothing is stored.
        """
        batch = TradeBatch.of(writes, self._now_us())
        if not batch.series:
            return WriteResult()
        async with self._transaction("write trades") as connection:
            await _say_why(connection, why)
            result = await store_trades(connection, batch)
            if why and result.inserted:
                await doubt(connection, batch)
            return result

    async def read_candles(self, series: Series, interval: Interval) -> list[CandleRow]:
        """Return the stored candles of an interval as they would be written, oldest first."""
        async with self.connection("read candles") as connection:
            rows = await connection.fetch(statement("candles_between"), series.series_id, *map(moment, interval))
        return [tuple(row) for row in rows]

    async def read_closed(self, wanted: Sequence[tuple[Series, Interval]]) -> list[ClosedMinute]:
        """Return the minutes of these intervals that are covered, oldest first; series of 1m candles, whole minutes.

        One query for all of them that lie close together. A minute that is not covered (any more) is left out.
        """
        by_id = {series.series_id: series for series, _ in wanted}
        spans = [(series.series_id, *span) for series, span in wanted]
        rows: list[Record] = []
        async with self.connection("read closed minutes") as connection:
            for group in close_together(spans):
                columns = zip(*group, strict=True)
                rows += await connection.fetch(statement("closed_minutes"), *columns, *bounds(group))
        rows.sort(key=lambda row: (row[1], row[0]))
        return [
            ClosedMinute(by_id[row[0]], row[1], None if row[2] is None else (row[1], *tuple(row)[2:])) for row in rows
        ]

    async def find_skipped_ids(self, wanted: Sequence[tuple[Series, Interval]]) -> list[SkippedIds]:
        """Return where ids are missing between the stored trades of intervals, of series that number them one by one.

        One query for all of them that lie close together.
        """
        by_id = {series.series_id: series for series, _ in wanted}
        found: list[SkippedIds] = []
        async with self.connection("check trade ids") as connection:
            for group in close_together((series.series_id, *span) for series, span in wanted):
                ids, starts_us, ends_us = map(list, zip(*group, strict=True))
                rows = await connection.fetch(statement("skipped_ids"), ids, *bounds(group), starts_us, ends_us)
                found += [SkippedIds(by_id[row[0]], *tuple(row)[1:]) for row in rows]
        return found

    async def find_unequal_minutes(
        self, pairs: Mapping[Series, Series], wanted: Sequence[tuple[Series, Interval]]
    ) -> list[tuple[Series, int]]:
        """Return the minutes of intervals in which the trades do not add up to the candle's volume.

        `pairs` names the series of 1m candles of each series of trades. A minute without either counts as volume 0.
        One query for all that lie close together.
        """
        by_id = {series.series_id: series for series, _ in wanted}
        found: list[tuple[Series, int]] = []
        async with self.connection("compare trades with candles") as connection:
            for group in close_together((series.series_id, *span) for series, span in wanted):
                ids, starts_us, ends_us = map(list, zip(*group, strict=True))
                candles = [pairs[by_id[one]].series_id for one in ids]
                query = statement("unequal_minutes")
                rows = await connection.fetch(query, ids, *bounds(group), candles, starts_us, ends_us)
                found += [(by_id[row[0]], row[1]) for row in rows]
        return found

    async def read_trades(self, series: Series, interval: Interval) -> list[TradeRow]:
        """Return the stored trades of an interval as they would be written, in the order of a fold."""
        async with self.connection("read trades") as connection:
            rows = await connection.fetch(statement("trades_between"), series.series_id, *map(moment, interval))
        return [tuple(row) for row in rows]

    async def read_revisions(self, series: Series, interval: Interval) -> list[Revision]:
        """Return what candles of an interval were before they were corrected or withdrawn, oldest change first."""
        async with self.connection("read revisions") as connection:
            rows = await connection.fetch(statement("revisions"), series.series_id, *interval)
        return [
            Revision(
                row[0],
                row[1],
                row[2],
                (row[3], *tuple(row)[4:10]),
                None if row[10] is None else (row[3], *tuple(row)[10:16]),
            )
            for row in rows
        ]

    async def mark_unavailable(self, series: Series, interval: Interval, reason: str) -> None:
        """Record that the exchange does not serve this interval (any more). Covered wins: what is covered stays so.

        Of trades: the minutes of the candles derived from them that the interval touches are unavailable with them.
        An interval has one reason, the last that was given.
        """
        spans = checked([interval])
        checked_reason(reason)
        async with self._transaction("mark an interval unavailable") as connection:
            candles_id = await lock_with_derived(connection, series)
            for start_us, end_us in spans:
                marked = [(series.series_id, start_us, end_us)]
                if candles_id is not None:
                    marked.append((candles_id, *minutes_around(start_us, end_us)))
                await mark_spans(connection, marked, reason)

    async def uncover(self, series: Series, interval: Interval, *, why: str = "suspect") -> None:
        """Take back what is known of a suspect interval: it is a gap again, and rows stay as they are.

        Of trades: the candles derived in the minutes that the interval touches go with it, until the minutes are
        covered again.
        """
        spans = checked([interval])
        async with self._transaction("uncover an interval") as connection:
            await _say_why(connection, why)
            candles_id = await lock_with_derived(connection, series)
            for start_us, end_us in spans:
                await uncover_span(connection, series.series_id, candles_id, start_us, end_us)

    async def all_series(self) -> list[Series]:
        """Return every series of the database, also of symbols that are no longer collected."""
        async with self.connection("list the series") as connection:
            return [Series(*row) for row in await connection.fetch(statement("all_series"))]

    async def remove_old(self, series: Series, keep: Keep) -> int:
        """Remove what need not be kept of a series; return the number of rows removed.

        What was covered becomes unavailable, "removed by retention", in the transaction that removes its rows, a
        bounded number of them at a time. What was removed earlier and is to be kept now is a gap again.
        """
        keep = keep.whole(series)
        async with self.connection("look for old rows") as connection:
            spans = await find_removable(connection, series, keep.rows_from_us)
            await connection.execute(statement("want_again"), series.series_id, max(keep), RETENTION)
        removed = 0
        for span in spans:
            async with self._transaction("remove old rows") as connection:
                await lock_series(connection, [series.series_id])
                removed += await remove_span(connection, series, span)
        async with self._transaction("record what is not kept") as connection:
            await lock_series(connection, [series.series_id])
            await connection.execute(
                statement("mark_missing"), series.series_id, keep.missing_from_us, keep.rows_from_us, RETENTION
            )
        return removed

    async def drop_old_chunks(self, keeps: Mapping[Series, Keep]) -> None:
        """Drop the chunks of hypertables that nothing need be kept of; series that are not in `keeps` keep everything.

        Plain tables have none. `remove_old` removes the rest.
        """
        every = await self.all_series()
        for table in ("candles", "trades"):
            ours = [one for one in every if (one.channel == TRADES) == (table == "trades")]
            kept = {one: keeps[one].whole(one) for one in ours if one in keeps}
            others = [one for one in ours if one not in keeps]
            async with self._transaction("drop old chunks") as connection:
                end_us = await find_chunk_end(connection, table, kept, others)
                if end_us is None:
                    continue
                ids = [one.series_id for one in ours]
                await lock_series(connection, ids)
                if await find_chunk_end(connection, table, kept, others) == end_us:
                    await record_removed(connection, ids, (0, end_us))
                    await connection.execute(timescale("drop_chunks"), table, moment(end_us))

    async def compress_after(self, days: int | None) -> bool:
        """Compress chunks of hypertables after so many days, by default 60 of candles and 14 of trades.

        Return whether that has changed anything: never on plain tables.
        """
        async with self._transaction("set up compression") as connection:
            return await compress_after(connection, days)

    async def tallied(self, series: Series) -> Interval | None:
        """Return the UTC days from the first to the last of which rows were written; None where there are none."""
        async with self.connection("read a tally") as connection:
            return await tallied_days(connection, series)

    async def check_rows(self, series: Series, interval: Interval | None = None) -> list[DayDifference]:
        """Return the days of which something else has removed rows, or added some; the whole series by default.

        Such a day is unknown from then on, so that history fills it again; candles that are derived from trades which
        are all there are made again at once. A day that was lost before, or whose trades are not kept any more, is
        unavailable. Nothing that was derived from lost trades changes.
        """
        async with self.connection("compare rows with their tally") as connection:
            span = await tallied_days(connection, series)
            if span is None:
                return []
            if interval is not None:
                start_us, end_us = interval[0] // DAY_US * DAY_US, -(-interval[1] // DAY_US) * DAY_US
                span = max(span[0], start_us), min(span[1], end_us)
            if span[0] >= span[1] or not await read_differences(connection, series, span):
                return []
        async with self._transaction("settle days that do not add up") as connection:
            await _say_why(connection, REMOVED)
            return await settle_series(connection, series, span)

    async def known_beyond(self, exchange: str, at_us: int) -> dict[Series, int]:
        """Return the series of an exchange of which anything is known after `at_us`, and up to when."""
        async with self.connection("look for what is known too early") as connection:
            rows = await connection.fetch(statement("known_beyond"), exchange, at_us)
        return {Series(row[0], exchange, row[1], row[2]): row[3] for row in rows}

    async def want(self, starts: Mapping[Series, int]) -> dict[Series, int]:
        """Record from when on each series is wanted; return from when on it is.

        A recorded start is only ever moved back: what was wanted once stays wanted.
        """
        checked([(start_us, start_us) for start_us in starts.values()])
        earlier = {
            series: start_us
            for series, start_us in starts.items()
            if start_us < self._wanted_since.get(series, END_OF_TIME_US)
        }
        if earlier:
            ids = [series.series_id for series in earlier]
            async with self._transaction("record what is wanted") as connection:
                await connection.execute(statement("want"), ids, list(earlier.values()))
                rows = await connection.fetch(statement("wanted_since"), ids)
            by_id = {series.series_id: series for series in earlier}
            self._wanted_since |= {by_id[series_id]: start_us for series_id, start_us in rows}
        return {series: self._wanted_since[series] for series in starts}

    async def wanted_since(self, series: Collection[Series]) -> dict[Series, int]:
        """Return from when on each of these series is wanted; those that never were are left out."""
        by_id = {one.series_id: one for one in series}
        async with self.connection("read what is wanted") as connection:
            rows = await connection.fetch(statement("wanted_since"), list(by_id))
        return {by_id[series_id]: start_us for series_id, start_us in rows}

    async def gaps(self, wanted: Mapping[Series, Interval]) -> dict[Series, list[Interval]]:
        """Return wanted − covered − unavailable of every series, oldest first; [] where nothing is missing."""
        async with self.connection("list gaps") as connection:
            return await read_gaps(connection, Wanted(wanted))

    async def unconfirmed(self, wanted: Mapping[Series, Interval]) -> dict[Series, list[Interval]]:
        """Return what of every wanted interval is covered but not confirmed by the exchange's history, oldest first."""
        async with self.connection("list what is unconfirmed") as connection:
            return await read_unconfirmed(connection, Wanted(wanted))

    async def summaries(self, wanted: Mapping[Series, Interval]) -> dict[Series, CoverageSummary]:
        """Return for every series how much of the wanted interval is covered and unavailable."""
        async with self.connection("summarise coverage") as connection:
            return await read_summaries(connection, Wanted(wanted))

    async def classify(self, series: Series, interval: Interval) -> list[MinuteState]:
        """Return the state of every minute that the interval touches, in order.

        traded (covered, a row), verified_empty (covered, no row), unavailable (accounted for, but not all of it
        was ever served) or unknown (a gap). Of coarser candle channels: every bucket of theirs.
        """
        async with self.connection("classify minutes") as connection:
            return await read_minutes(connection, series, interval)

    async def coverage_intervals(self, series: Series, interval: Interval) -> list[CoverageRun]:
        """Return the interval as runs of covered, unavailable and unknown, in order and without a hole."""
        return (await self.coverage_maps({series: interval}))[series]

    async def coverage_maps(self, wanted: Mapping[Series, Interval]) -> dict[Series, list[CoverageRun]]:
        """Return `coverage_intervals` of many series in one query, for heat maps."""
        async with self.connection("map coverage") as connection:
            return await read_runs(connection, Wanted(wanted))

    async def set_state(self, *states: MarketState) -> None:
        """Record the states of markets and venues, each instead of the one before, all or none.

        Raises:
            ValueError: a name or a reason that cannot be stored; a venue's own symbol is empty.
        """
        for one in states:
            _check_name("exchange", one.exchange)
            if one.symbol:
                _check_name("symbol", one.symbol)
            if one.reason:
                checked_reason(one.reason)
            if one.market_id:
                _check_name("market id", one.market_id)
        if not states:
            return
        latest = {(one.exchange, one.symbol): one for one in states}
        # All lock rows in the same order, so that none waits for one that waits for it.
        columns = [list(column) for column in zip(*(latest[key] for key in sorted(latest)), strict=True)]
        async with self.connection("record market states") as connection:
            await connection.execute(statement("set_states"), *columns)

    async def read_states(self, exchange: str | None = None) -> dict[tuple[str, str], MarketState]:
        """Return every recorded state, of one venue or of all, by exchange and symbol."""
        if exchange is not None and not is_name(exchange):
            return {}
        async with self.connection("read market states") as connection:
            rows = await connection.fetch(statement("read_states"), exchange)
        return {(row[0], row[1]): MarketState(row[0], row[1], Lifecycle(row[2]), *row[3:]) for row in map(tuple, rows)}

    async def init_symbol(self, exchange: str, symbol: str, main: str = "view") -> bool:
        """Create the documented relations `<exchange>.<symbol>_trades`, `_candles1m`, `_candles1m_view`, `_ohlcv`.

        `_ohlcv` follows `main`: `view` (stored candles, and trades folded where no ledger of trades says
        otherwise), `candles` or `trades`. May be called again, with another `main` too.
        """
        relation = checked_main(main)
        trades = await self.series(exchange, symbol, TRADES)
        candles = await self.series(exchange, symbol, CANDLES_1M)
        async with (
            self.connection("create the relations of a symbol") as connection,
            connection.transaction(),
        ):
            await create_relations(connection, trades, candles, relation)
        return True


async def _say_why(connection: "PoolConnectionProxy[Record]", why: str) -> None:
    """Name the reason of what this transaction corrects."""
    if why:
        await connection.execute(statement("say_why"), why)


def _check_name(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; allowed is text")
    if not is_name(value):
        raise ValueError(f"{name} is {value[:80]!r}; allowed is text of 1 to {TEXT_BYTES_MAX} bytes")
