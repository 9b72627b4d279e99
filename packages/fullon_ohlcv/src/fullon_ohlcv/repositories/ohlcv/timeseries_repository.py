"""Reading candles of any timeframe of one symbol."""

from typing import TYPE_CHECKING, Literal

from fullon_ohlcv.reading import Row, Window, read_candles, read_filled, read_sources
from fullon_ohlcv.repositories.ohlcv.base_repository import Moment, OHLCVBaseRepository, moment_us
from fullon_ohlcv.store import system_now_us
from fullon_ohlcv.timeframe import Timeframe

if TYPE_CHECKING:
    import pandas as pd

Fill = Literal["flat"] | None


class TimeseriesRepository(OHLCVBaseRepository):
    """Candles of one symbol, rolled up from the finest that are stored."""

    channel = "candles1m"

    async def fetch_ohlcv(
        self, compression: int, period: str, fromdate: Moment, todate: Moment, *, fill: Fill = None
    ) -> list[Row]:
        """Return candles of `compression` × `period` that open in `[fromdate, todate)`, oldest first.

        Rows are (timestamp, open, high, low, close, volume), the timestamp aware UTC. Periods are minutes, hours,
        days, weeks (from Monday) and months, singular or plural; buckets are cut in UTC. A bucket that `todate`
        cuts is made of what lies before `todate`. Where 1m candles do not reach back, coarser stored candles are
        used if whole ones make the bucket. Empty buckets have no row; with `fill="flat"` they repeat the last
        close with volume 0, as far as the ledger says that they are empty. [] for an unknown symbol.

        Raises:
            ValueError: an unknown period or fill, a compression below 1, a datetime without time zone.
        """
        wanted = Timeframe.of_period(compression, period)
        if fill not in (None, "flat"):
            raise ValueError(f"fill is {fill!r}; allowed are None and 'flat'")
        window = Window(wanted, moment_us(fromdate), moment_us(todate))
        async with self.store.connection("read candles") as connection:
            sources = await read_sources(connection, self.exchange, self.symbol, wanted)
            if fill is None:
                return await read_candles(connection, sources, window)
            return await read_filled(connection, sources, window, system_now_us())

    async def fetch_ohlcv_df(
        self, compression: int, period: str, fromdate: Moment, todate: Moment, *, fill: Fill = None
    ) -> "pd.DataFrame":
        """Return `fetch_ohlcv` as a DataFrame: columns open, high, low, close, volume; index timestamp, UTC."""
        import pandas as pd  # noqa: PLC0415 - half a second that only this method needs

        rows = await self.fetch_ohlcv(compression, period, fromdate, todate, fill=fill)
        frame = pd.DataFrame(rows, columns=["timestamp", "open", "high", "low", "close", "volume"])
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True)
        return frame.set_index("timestamp")
