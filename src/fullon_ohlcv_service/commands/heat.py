"""How many minutes of each state lie in each column of a heat map."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CoverageRun, Interval, Series, State
from fullon_ohlcv.timeframe import Timeframe, from_us
from fullon_ohlcv_service.commands.session import Ledger
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.errors import CommandError

COLUMNS_MAX = 5000

_TRADED = """
SELECT series_id, us_of(date_bin($4::bigint * interval '1 microsecond', timestamp, $2)) AS start_us, count(*)
FROM candles
WHERE series_id = ANY($1::int[]) AND timestamp >= $2::timestamptz AND timestamp < $3::timestamptz
GROUP BY 1, date_bin($4::bigint * interval '1 microsecond', timestamp, $2)
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """Minutes of one symbol in one column, by state."""

    traded: int
    empty: int
    unavailable: int
    unknown: int

    @property
    def minutes(self) -> int:
        """How many minutes of the column are wanted."""
        return self.traded + self.empty + self.unavailable + self.unknown


@dataclass(frozen=True)
class HeatMap:
    """Cells by symbol, in the order of `starts_us`; None where nothing is wanted."""

    interval: Interval
    step: Timeframe
    starts_us: Sequence[int]
    rows: Mapping[WantedSymbol, Sequence[Cell | None]]


async def read_heat(
    ledger: Ledger, spans: Mapping[WantedSymbol, Interval], whole: Interval, step: Timeframe
) -> HeatMap:
    """Count the minutes of every symbol's span by state, in columns of `step`."""
    width_us = step.width_us or 0
    first_us = step.floor(whole[0])
    starts_us = range(first_us, whole[1], width_us)
    if len(starts_us) > COLUMNS_MAX:
        raise CommandError(f"{len(starts_us):,} columns are too many; take a shorter time, or a longer --per")
    series = {one: await ledger.candles(one.exchange, one.symbol) for one in spans}
    maps = await ledger.store.coverage_maps({series[one]: span for one, span in spans.items()})
    ids = [one.series_id for one in series.values()]
    async with ledger.store.connection("count the candles") as connection:
        counted = await connection.fetch(_TRADED, ids, from_us(first_us), from_us(whole[1]), width_us)
    traded = {(row[0], row[1]): row[2] for row in counted}
    rows = {}
    for one, of in series.items():
        rows[one] = _cells(of, maps[of], spans[one], traded=traded, starts_us=starts_us, width_us=width_us)
    return HeatMap(whole, step, starts_us, rows)


def _cells(
    series: Series,
    runs: Iterable[CoverageRun],
    span: Interval,
    *,
    traded: Mapping[tuple[int, int], int],
    starts_us: range,
    width_us: int,
) -> list[Cell | None]:
    shares = {state: [0] * len(starts_us) for state in (State.COVERED, State.UNAVAILABLE, State.UNKNOWN)}
    for run in runs:
        from_us, to_us = run.interval
        for index in range((from_us - starts_us[0]) // width_us, (to_us - 1 - starts_us[0]) // width_us + 1):
            start_us = starts_us[index]
            shares[run.state][index] += min(to_us, start_us + width_us) - max(from_us, start_us)
    cells: list[Cell | None] = []
    for index, start_us in enumerate(starts_us):
        if start_us + width_us <= span[0] or start_us >= span[1]:
            cells.append(None)
            continue
        covered, lost, unknown = (round(share[index] / MINUTE_US) for share in shares.values())
        busy = min(covered, traded.get((series.series_id, start_us), 0))
        cells.append(Cell(busy, covered - busy, lost, unknown))
    return cells
