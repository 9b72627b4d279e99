"""Say how things are: refresh the board from the ledger, keep the status records alive, log a line per venue."""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from fullon_cache import CacheError, ProcessUpdate
from fullon_cache.process_cache import ProcessStatus, ProcessType
from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.records import Channel
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv_service.gap_order import deadline_us
from fullon_ohlcv_service.health import Stale, describe_health
from fullon_ohlcv_service.ohlcv.coarse_history import describe_coarse
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.status import Phase, SymbolStatus
from fullon_ohlcv_service.wanted_range import find_starts

COMPONENT = "ohlcv_daemon"
_STATUS_OF = {
    Phase.WAITING: ProcessStatus.STARTING,
    Phase.CATCHING_UP: ProcessStatus.PROCESSING,
    Phase.LIVE: ProcessStatus.RUNNING,
    Phase.COMPLETE: ProcessStatus.IDLE,
    Phase.HALTED: ProcessStatus.IDLE,
    Phase.DELISTED: ProcessStatus.IDLE,
    Phase.CLOSED: ProcessStatus.IDLE,
    Phase.REFUSED: ProcessStatus.ERROR,
}


HEALTH_EVERY_S = 1.0
"""How often a change of health is looked for; it is published at once."""


class StatusReporter:
    """Publishes the board and the daemon's health; its failures are said once and never hurt collecting."""

    def __init__(
        self, runtime: Runtime, *, refresh_s: float | None = None, find_reasons: Callable[[], Sequence[Stale]] = list
    ) -> None:
        """Build one; the board is refreshed every `refresh_s` seconds, by default with each heartbeat.

        `find_reasons()` says why the daemon is not ready.
        """
        self._runtime = runtime
        self._find_reasons = find_reasons
        self._published: list[Stale] | None = None
        """The reasons that were published last, without the numbers in them."""
        self._heartbeat_s = runtime.config.health_interval
        self._refresh_s = min(refresh_s or self._heartbeat_s, self._heartbeat_s)
        self._log = get_component_logger("fullon.ohlcv.daemon")
        self._records: dict[str, str] = {}
        self._said = ""

    async def run(self) -> None:
        """Report until cancelled."""
        loop = asyncio.get_running_loop()
        refresh_due_s = heartbeat_due_s = logged_s = loop.time()
        while True:
            try:
                if loop.time() >= refresh_due_s:
                    refresh_due_s = loop.time() + self._refresh_s
                    await self.refresh()
                if loop.time() >= heartbeat_due_s or self._has_news():
                    heartbeat_due_s = loop.time() + self._heartbeat_s
                    await self._heartbeat()
                elif _numberless(self._find_reasons()) != self._published:
                    await self._publish_health()
                self._runtime.board.unreadable = ""
                self._said = ""
            except (TransientStorageError, CacheError) as error:
                self._runtime.board.unreadable = str(error)
                if str(error) != self._said:
                    self._said = str(error)
                    self._log.warning("status not refreshed", why=self._said)
            if loop.time() >= logged_s:
                logged_s = loop.time() + self._heartbeat_s
                self._log_venues()
            await asyncio.sleep(min(HEALTH_EVERY_S, self._refresh_s))

    async def refresh(self) -> None:
        """Bring the board up to date with the ledger."""
        rt = self._runtime
        ranges: dict[Series, Interval] = {}
        lines: dict[Series, SymbolStatus] = {}
        due = {line.wanted: line for line in rt.board.lines() if line.kind and not line.problem}
        channels: tuple[tuple[Channel, str], ...] = (("trades", "trades"), ("candles1m", "candles"))
        for channel, kind in channels:
            ours = [one for one, line in due.items() if line.kind == kind]
            for one, (series, start_us) in (await find_starts(rt, ours, channel)).items():
                ranges[series] = (start_us, max(start_us, floor_minute_us(rt.board.now_us(one.exchange))))
                lines[series] = due[one]
        at_s = asyncio.get_running_loop().time()
        for series, summary in (await rt.store.summaries(ranges)).items():
            lines[series].refresh(summary, rt.claims.end_us(series), rt.board.now_us(series.exchange), at_s)
        await self._find_deadlines(lines, ranges)
        rt.board.note_refreshed()
        streamed = {line.wanted.exchange for line in lines.values() if line.kind == "trades"}
        rt.board.stream_entries = {name: await rt.trades_cache.count_frames(name) for name in sorted(streamed)}

    async def _find_deadlines(self, lines: Mapping[Series, SymbolStatus], ranges: Mapping[Series, Interval]) -> None:
        """Note of everything that is missing when the exchange begins to forget it."""
        rt = self._runtime
        exchanges = rt.exchanges.opened()
        windows: dict[Series, int] = {}
        for series, line in lines.items():
            exchange = exchanges.get(series.exchange)
            window = exchange.traits.candle_window if exchange is not None and line.kind == "candles" else None
            if line.missing_us and window is not None:
                windows[series] = window
        missing = {series: rt.claims.wanted(series, *ranges[series]) for series in windows}
        gaps = await rt.store.gaps(missing) if missing else {}
        # All at once: whoever reads the board meanwhile must not find deadlines missing.
        for series, line in lines.items():
            now_us, window = rt.board.now_us(series.exchange), windows.get(series, 0)
            line.deadline_us = deadline_us(gaps[series], now_us, window, MINUTE_US) if series in gaps else None

    async def stop(self) -> None:
        """Mark every status record stopped."""
        cache = self._runtime.process_cache
        stopped = ProcessUpdate(ProcessStatus.STOPPED, "stopped with the daemon")
        try:
            async with asyncio.timeout(1.5):
                if (daemon := self._records.pop(COMPONENT, None)) is not None:
                    await cache.stop_process(daemon, "stopped")
                await cache.update_processes(dict.fromkeys(self._records.values(), stopped))
        except (TimeoutError, CacheError) as error:
            self._log.warning("status records not marked stopped", why=str(error) or "redis did not answer")
        self._records.clear()

    def _has_news(self) -> bool:
        """Tell whether symbols have come or gone since the last heartbeat."""
        return {str(line.wanted) for line in self._runtime.board.lines()} != self._records.keys() - {COMPONENT}

    async def _heartbeat(self) -> None:
        """Bring every status record up to date; register those that Redis does not know."""
        cache = self._runtime.process_cache
        reasons = self._find_reasons()
        updates = {str(line.wanted): _update_of(line) for line in self._runtime.board.lines()}
        updates[COMPONENT] = _update_of_daemon(len(updates), reasons)
        for component in self._records.keys() - updates.keys():
            await cache.stop_process(self._records.pop(component))
        unknown = await cache.update_processes(
            {record: updates[component] for component, record in self._records.items()}
        )
        for component, update in updates.items():
            if self._records.get(component) is None or self._records[component] in unknown:
                self._records[component] = await cache.register_process(
                    ProcessType.OHLCV,
                    component,
                    params=dict(update.params or {}),
                    message=update.message,
                    status=update.status or ProcessStatus.STARTING,
                )
        self._published = _numberless(reasons)

    async def _publish_health(self) -> None:
        """Bring the daemon's own record up to date between two heartbeats."""
        reasons = self._find_reasons()
        update = _update_of_daemon(len(self._records) - 1, reasons)
        if not await self._runtime.process_cache.update_processes({self._records[COMPONENT]: update}):
            self._published = _numberless(reasons)

    def _log_venues(self) -> None:
        venues: dict[str, list[SymbolStatus]] = {}
        for line in self._runtime.board.lines():
            venues.setdefault(line.wanted.exchange, []).append(line)
        for name, lines in venues.items():
            known = [line.covered_ratio for line in lines if line.covered_ratio is not None]
            etas = [line.eta_s for line in lines if line.eta_s is not None]
            self._log.info(
                "collecting",
                exchange=name,
                symbols=len(lines),
                **{
                    phase.value.replace(" ", "_"): count
                    for phase in Phase
                    if (count := sum(line.phase is phase for line in lines))
                },
                covered=f"{100 * sum(known) / len(known):.2f}%" if known else "unknown",
                rows_s=round(sum(line.rate_rows_s for line in lines)),
                **({"eta_s": round(max(etas))} if etas else {}),
            )


def _numberless(reasons: Sequence[Stale]) -> list[Stale]:
    """Return reasons without the numbers in them, which change all the time."""
    return [one._replace(reason=re.sub(r"\d+", "", one.reason)) for one in reasons]


def _update_of_daemon(symbols: int, reasons: Sequence[Stale]) -> ProcessUpdate:
    params = {"type": "daemon", "pid": os.getpid(), "args": sys.argv, "health": describe_health(reasons)}
    return ProcessUpdate(ProcessStatus.RUNNING, f"{symbols} symbols", params)


def _update_of(line: SymbolStatus) -> ProcessUpdate:
    return ProcessUpdate(_STATUS_OF[line.phase], _message(line), _params(line))


def _params(line: SymbolStatus) -> dict[str, object]:
    historic = line.phase is not Phase.LIVE
    kinds = {
        ("candles", True): "historic",
        ("trades", True): "historic_trade",
        ("candles", False): "live_ohlcv",
        ("trades", False): "live_trade",
    }
    return {
        "type": kinds.get((line.kind, historic), "historic"),
        "exchange": line.wanted.exchange,
        "symbol": line.wanted.symbol,
        "phase": line.phase.value,
        "problem": line.problem,
        "covered": line.covered_ratio,
        "lag_s": line.lag_s,
        "eta_s": line.eta_s,
        "rows": line.rows,
        "rows_s": round(line.rate_rows_s, 1),
        "coarse_s": {name: amount_us // 1_000_000 for name, amount_us in line.coarse_us.items()},
    }


def _message(line: SymbolStatus) -> str:
    if line.problem:
        return line.problem
    if line.covered_ratio is None:
        return line.phase.value
    coarse = f"; older part in {describe_coarse(line.coarse_us)}" if line.coarse_us else ""
    return f"{line.phase.value}, {100 * line.covered_ratio:.2f}% covered{coarse}"
