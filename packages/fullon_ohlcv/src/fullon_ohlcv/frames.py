"""Rows as DataFrames of pandas or Polars; each library is imported when a frame of it is made."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from fullon_ohlcv.reading import Buckets
from fullon_ohlcv.records import State

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Library = Literal["pandas", "polars"]

NUMBERS = ("open", "high", "low", "close", "volume")
STATES = [state.value for state in State]

CoverageRow = tuple[datetime, datetime, str, str | None]
"""timestamp and end (aware UTC), state, reason."""


def checked_library(library: str) -> None:
    """Refuse a library that frames cannot be made for.

    Raises:
        ValueError: neither pandas nor polars.
        ModuleNotFoundError: it is not installed.
    """
    if library not in ("pandas", "polars"):
        raise ValueError(f"library is {library!r}; allowed are 'pandas' and 'polars'")
    if library == "polars":
        try:
            import polars  # noqa: F401, PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "frames of Polars need the package polars, which is not installed: pip install 'fullon-ohlcv[polars]'",
                name="polars",
            ) from error


def candles_to_pandas(buckets: Buckets, *, with_filled: bool) -> "pd.DataFrame":
    """Return candles with the index `timestamp`, and what is known of each bucket."""
    import pandas as pd  # noqa: PLC0415 - half a second that only frames need

    frame = pd.DataFrame(buckets.rows, columns=["timestamp", *NUMBERS]).astype(dict.fromkeys(NUMBERS, "float64"))
    frame["known_minutes"] = pd.Series(buckets.known_minutes, dtype="int64")
    frame["complete"] = pd.Series(buckets.complete, dtype="bool")
    if with_filled:
        frame["filled"] = pd.Series(buckets.filled, dtype="bool")
    return _with_aware_index(frame)


def candles_to_polars(buckets: Buckets, *, with_filled: bool) -> "pl.DataFrame":
    """Return candles with the column `timestamp` first, and what is known of each bucket."""
    import polars as pl  # noqa: PLC0415 - an extra

    schema = {"timestamp": pl.Datetime("us", "UTC"), **dict.fromkeys(NUMBERS, pl.Float64())}
    marks = [
        pl.Series("known_minutes", buckets.known_minutes, dtype=pl.Int64),
        pl.Series("complete", buckets.complete, dtype=pl.Boolean),
    ]
    if with_filled:
        marks.append(pl.Series("filled", buckets.filled, dtype=pl.Boolean))
    return pl.DataFrame(buckets.rows, schema=schema, orient="row").with_columns(marks)


def coverage_to_pandas(rows: Sequence[CoverageRow]) -> "pd.DataFrame":
    """Return states with the index `timestamp` and the columns end, state (a category) and reason."""
    import pandas as pd  # noqa: PLC0415 - half a second that only frames need

    frame = pd.DataFrame(rows, columns=["timestamp", "end", "state", "reason"])
    frame["end"] = pd.to_datetime(frame["end"], utc=True).dt.as_unit("us")
    frame["state"] = pd.Categorical(frame["state"], categories=STATES)
    frame["reason"] = frame["reason"].astype("string")
    return _with_aware_index(frame)


def coverage_to_polars(rows: Sequence[CoverageRow]) -> "pl.DataFrame":
    """Return states with the columns timestamp, end, state (an enumeration) and reason."""
    import polars as pl  # noqa: PLC0415 - an extra

    time = pl.Datetime("us", "UTC")
    schema = {"timestamp": time, "end": time, "state": pl.Enum(STATES), "reason": pl.String()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _with_aware_index(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - half a second that only frames need

    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).dt.as_unit("us")
    return frame.set_index("timestamp")
