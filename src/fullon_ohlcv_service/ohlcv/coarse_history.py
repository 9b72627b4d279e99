"""Coarser candles where an exchange no longer serves those of 1 minute.

Hyperliquid serves the newest 5,000 candles of each timeframe: 83 hours of 1m, 17 days of 5m, 52 of 15m, 208 of 1h.
What the ledger of `candles1m` calls unavailable for that reason is filled with the finest timeframe that still
reaches, part by part, into series of their own (`candles5m` …) with their own coverage: the channel's name is the
mark. Each timeframe divides the next, so that readers can roll any of them up.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from fullon_exchange.history.reasons import RETENTION, START_IGNORED
from fullon_exchange.interface import Exchange
from fullon_ohlcv.intervals import intersect, subtract, union
from fullon_ohlcv.records import CoverageRun, Interval, Series, State
from fullon_ohlcv.tallies import REMOVED
from fullon_ohlcv.timeframe import DAY_US, Timeframe
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.gap_order import reach_us
from fullon_ohlcv_service.runtime import Runtime

LADDER = ("5m", "15m", "1h", "4h", "1d")
"""The timeframes that take the place of 1m, finest first."""
OUT_OF_REACH = (RETENTION, START_IGNORED, REMOVED)
"""How the reasons begin for which a coarser candle may still be there."""


class Step(NamedTuple):
    """One rung of the ladder: what to fetch, what is there, and what is left for the next one."""

    gaps: list[Interval]
    held: list[Interval]
    left: list[Interval]


def take_step(
    lost: Sequence[Interval], runs: Iterable[CoverageRun], timeframe: Timeframe, reaches_us: int | None
) -> Step:
    """Share `lost` between this timeframe and coarser ones (pure).

    `runs` are this timeframe's ledger around it, and the exchange serves its candles from `reaches_us` on (None: as
    far back as it says). Gaps are whole buckets.
    """
    by_state: dict[str, list[Interval]] = {"covered": [], "out of reach": [], "settled": []}
    for run in runs:
        if run.state is State.COVERED:
            by_state["covered"].append(run.interval)
        elif run.state is State.UNAVAILABLE:
            gone = (run.reason or "").startswith(OUT_OF_REACH)
            by_state["out of reach" if gone else "settled"].append(run.interval)
    reachable = [(max(start_us, reaches_us or 0), end_us) for start_us, end_us in lost if end_us > (reaches_us or 0)]
    asked = union((timeframe.floor(start_us), timeframe.ceil(end_us)) for start_us, end_us in reachable)
    known = [interval for intervals in by_state.values() for interval in intervals]
    gaps = subtract(asked, known)
    left = subtract(lost, [*gaps, *by_state["covered"], *by_state["settled"]])
    held = intersect(lost, by_state["covered"])
    return Step(gaps, held, left)


class CoarseHistory:
    """Finds what coarser candles can take the place of."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def find_gaps(
        self, exchange: Exchange, ranges: Mapping[WantedSymbol, tuple[Series, Interval]]
    ) -> dict[Series, list[Interval]]:
        """Return the gaps of coarser series, given the `candles1m` series and the wanted range of each symbol.

        What is there already is shown on the board.
        """
        rt = self._runtime
        maps = await rt.store.coverage_maps(dict(ranges.values()))
        lost = {one: _lost(maps[series]) for one, (series, _) in ranges.items()}
        held: dict[WantedSymbol, dict[str, int]] = {one: {} for one in ranges}
        gaps: dict[Series, list[Interval]] = {}
        for name in (name for name in LADDER if name in exchange.traits.timeframes):
            lost = {one: intervals for one, intervals in lost.items() if intervals}
            timeframe = Timeframe.parse(name)
            reaches_us = reach_us(exchange.clock.now_us(), exchange.traits.candle_window, timeframe.width_us or DAY_US)
            coarse = await self._series_of(lost, name, reaches_us)
            runs = await rt.store.coverage_maps(
                {series: _around(lost[one], timeframe) for one, series in coarse.items()}
            )
            for one, series in coarse.items():
                step = take_step(lost[one], runs[series], timeframe, reaches_us)
                lost[one] = step.left
                if step.gaps:
                    gaps[series] = step.gaps
                if step.held:
                    held[one][name] = sum(end_us - start_us for start_us, end_us in step.held)
        for one, amounts in held.items():
            rt.board.set_coarse(one.exchange, one.symbol, amounts)
        return gaps

    async def _series_of(
        self, lost: Mapping[WantedSymbol, Sequence[Interval]], timeframe: str, reaches_us: int | None
    ) -> dict[WantedSymbol, Series]:
        """Return the series of a timeframe: new ones only where the exchange still serves some of what is lost."""
        store, channel = self._runtime.store, f"candles{timeframe}"
        found: dict[WantedSymbol, Series] = {}
        for one, intervals in lost.items():
            series = await store.find_series(one.exchange, one.symbol, channel)
            if series is None and intervals[-1][1] > (reaches_us or 0):
                series = await store.series(one.exchange, one.symbol, channel)
            if series is not None:
                found[one] = series
        return found


def describe_coarse(amounts: Mapping[str, int]) -> str:
    """Return how much is there in which timeframe: `5m 13.9 d, 15m 34.7 d`."""
    return ", ".join(f"{name} {amount / DAY_US:.1f} d" for name, amount in amounts.items())


def _lost(runs: Collection[CoverageRun]) -> list[Interval]:
    return union(
        run.interval for run in runs if run.state is State.UNAVAILABLE and (run.reason or "").startswith(OUT_OF_REACH)
    )


def _around(lost: Sequence[Interval], timeframe: Timeframe) -> Interval:
    return timeframe.floor(lost[0][0]), timeframe.ceil(lost[-1][1])
