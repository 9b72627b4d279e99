"""Reading candles of any timeframe of one symbol, and what is known of its minutes."""

from typing import TYPE_CHECKING, Literal, get_args, overload

from fullon_ohlcv.accounting import Coverage, as_coverage, read_coverage, read_minutes
from fullon_ohlcv.frames import (
    Library,
    candles_to_pandas,
    candles_to_polars,
    checked_library,
    coverage_to_pandas,
    coverage_to_polars,
)
from fullon_ohlcv.intervals import checked
from fullon_ohlcv.reading import Buckets, Incomplete, Row, Window, read_buckets, read_sources
from fullon_ohlcv.repositories.ohlcv.base_repository import Moment, OHLCVBaseRepository, moment_us
from fullon_ohlcv.store import system_now_us
from fullon_ohlcv.timeframe import Timeframe

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Fill = Literal["none", "flat"] | None
Per = Literal["interval", "minute"]


class TimeseriesRepository(OHLCVBaseRepository):
    """Candles of one symbol, rolled up from the finest that are stored, and their coverage."""

    channel = "candles1m"

    async def fetch_ohlcv(
        self,
        compression: int,
        period: str,
        fromdate: Moment,
        todate: Moment,
        *,
        fill: Fill = None,
        incomplete: Incomplete = "drop",
    ) -> list[Row]:
        """Return candles of `compression` × `period` that open in `[fromdate, todate)`, oldest first.

        Rows are (timestamp, open, high, low, close, volume), the timestamp aware UTC. Periods are minutes, hours,
        days, weeks (from Monday) and months, singular or plural; buckets are cut in UTC. Where 1m candles do not
        cover a bucket, coarser stored candles are used if whole ones make it. [] for an unknown symbol.

        A bucket is complete if each of its minutes is traded or verified empty. One of which a minute is unknown or
        unavailable, that is still running, or that `todate` cuts, is left out (`incomplete="drop"`), returned as far
        as it is known before `todate` (`"keep"`; `fetch_ohlcv_df` marks it), or an error (`"raise"`).

        Empty buckets have no row (`fill="none"`, the same as None). With `fill="flat"` they repeat the last close
        with volume 0, and only where every minute of the bucket is verified empty: a bucket that is unknown or
        unavailable, in part or whole, is not filled, and neither are the empty ones after it up to the next candle,
        whose price nobody can know. Nothing is filled before the first candle. A symbol without any ledger (saved
        by hand, never with `covering`) is taken as complete up to now.

        Raises:
            ValueError: an unknown period, fill or incomplete, a compression below 1, a datetime without time zone.
            IncompleteCandles: with `incomplete="raise"`, a bucket that is not complete.
        """
        wanted = Timeframe.of_period(compression, period)
        return (await self._fetch(wanted, (fromdate, todate), fill, incomplete)).rows

    @overload
    async def fetch_ohlcv_df(
        self,
        compression: int,
        period: str,
        fromdate: Moment,
        todate: Moment,
        *,
        fill: Fill = None,
        incomplete: Incomplete = "drop",
        library: Literal["pandas"] = "pandas",
    ) -> "pd.DataFrame": ...

    @overload
    async def fetch_ohlcv_df(
        self,
        compression: int,
        period: str,
        fromdate: Moment,
        todate: Moment,
        *,
        fill: Fill = None,
        incomplete: Incomplete = "drop",
        library: Literal["polars"],
    ) -> "pl.DataFrame": ...

    async def fetch_ohlcv_df(
        self,
        compression: int,
        period: str,
        fromdate: Moment,
        todate: Moment,
        *,
        fill: Fill = None,
        incomplete: Incomplete = "drop",
        library: Library = "pandas",
    ) -> "pd.DataFrame | pl.DataFrame":
        """Return `fetch_ohlcv` as a DataFrame: timestamp (UTC), open, high, low, close, volume, and what is known.

        `timestamp` is the index in pandas and the first column in Polars. `known_minutes` counts the minutes of the
        bucket that are traded or verified empty, `complete` says whether these are all. With `fill="flat"` there is
        one column more, `filled`: True where the row was filled and not traded.

        Raises:
            ValueError, IncompleteCandles: as `fetch_ohlcv`; ValueError also for another library.
            ModuleNotFoundError: Polars is wanted and not installed; it is the extra `polars` of this package.
        """
        checked_library(library)
        wanted = Timeframe.of_period(compression, period)
        buckets = await self._fetch(wanted, (fromdate, todate), fill, incomplete)
        to_frame = candles_to_polars if library == "polars" else candles_to_pandas
        return to_frame(buckets, with_filled=fill == "flat")

    async def coverage(self, fromdate: Moment, todate: Moment, *, per: Per = "interval") -> list[Coverage]:
        """Return what is known of `[fromdate, todate)`, oldest first and without a hole.

        Rows are (timestamp, end, state, reason). Per interval: runs of `covered` (everything published is stored),
        `unavailable` (with the reason) and `unknown` (a gap). Per minute: every minute that is touched, `covered`
        told apart as `traded` and `verified_empty`. It speaks of 1m candles, whatever they are rolled up to; of an
        unknown symbol everything is unknown.

        Raises:
            ValueError: an unknown `per`, a datetime without time zone, or an end before the start.
        """
        if per not in ("interval", "minute"):
            raise ValueError(f"per is {per!r}; allowed are 'interval' and 'minute'")
        spans = checked([(moment_us(fromdate), moment_us(todate))])
        if not spans:
            return []
        async with self.store.connection("read coverage") as connection:
            if per == "minute":
                return await read_minutes(connection, self.exchange, self.symbol, spans[0])
            return as_coverage(await read_coverage(connection, self.exchange, self.symbol, spans[0]))

    @overload
    async def coverage_df(
        self, fromdate: Moment, todate: Moment, *, per: Per = "interval", library: Literal["pandas"] = "pandas"
    ) -> "pd.DataFrame": ...

    @overload
    async def coverage_df(
        self, fromdate: Moment, todate: Moment, *, per: Per = "interval", library: Literal["polars"]
    ) -> "pl.DataFrame": ...

    async def coverage_df(
        self, fromdate: Moment, todate: Moment, *, per: Per = "interval", library: Library = "pandas"
    ) -> "pd.DataFrame | pl.DataFrame":
        """Return `coverage` as a DataFrame: timestamp (UTC; the index in pandas), end, state, reason.

        Per minute it joins a frame of 1m candles on `timestamp`.

        Raises:
            ValueError, ModuleNotFoundError: as `coverage` and `fetch_ohlcv_df`.
        """
        checked_library(library)
        rows = await self.coverage(fromdate, todate, per=per)
        return coverage_to_polars(rows) if library == "polars" else coverage_to_pandas(rows)

    async def _fetch(
        self, wanted: Timeframe, span: tuple[Moment, Moment], fill: Fill, incomplete: Incomplete
    ) -> Buckets:
        if fill not in (None, "none", "flat"):
            raise ValueError(f"fill is {fill!r}; allowed are 'none' (or None) and 'flat'")
        if incomplete not in get_args(Incomplete):
            raise ValueError(f"incomplete is {incomplete!r}; allowed are 'drop', 'keep' and 'raise'")
        window = Window(wanted, moment_us(span[0]), moment_us(span[1]))
        async with self.store.connection("read candles") as connection:
            sources = await read_sources(connection, self.exchange, self.symbol, wanted)
            now_us = system_now_us()
            return await read_buckets(connection, sources, window, now_us, fill=fill == "flat", incomplete=incomplete)
