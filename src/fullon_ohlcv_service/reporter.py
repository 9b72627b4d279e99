"""Say how things are: refresh the board from the ledger, keep the status records alive, log a line per venue."""

import asyncio
import os
import sys
from collections.abc import Mapping

from fullon_cache import CacheError, ProcessUpdate
from fullon_cache.process_cache import ProcessStatus, ProcessType
from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_log import get_component_logger
from fullon_ohlcv.errors import TransientStorageError
from fullon_ohlcv.records import Interval, Series
from fullon_ohlcv_service.gap_order import deadline_us
from fullon_ohlcv_service.history import DAY_US
from fullon_ohlcv_service.ohlcv.coarse_history import describe_coarse
from fullon_ohlcv_service.runtime import Runtime
from fullon_ohlcv_service.status import Phase, SymbolStatus

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


class StatusReporter:
    """Publishes the board; its failures are said once and never hurt collecting."""

    def __init__(self, runtime: Runtime, *, refresh_s: float | None = None) -> None:
        """Build one; the board is refreshed every `refresh_s` seconds, by default with each heartbeat."""
        self._runtime = runtime
        self._heartbeat_s = runtime.config.health_interval
        self._refresh_s = min(refresh_s or self._heartbeat_s, self._heartbeat_s)
        self._log = get_component_logger("fullon.ohlcv.daemon")
        self._records: dict[str, str] = {}
        self._said = ""

    async def run(self) -> None:
        """Report until cancelled."""
        loop = asyncio.get_running_loop()
        heartbeat_due_s = logged_s = loop.time()
        while True:
            try:
                await self.refresh()
                self._runtime.board.unreadable = ""
                if loop.time() >= heartbeat_due_s or self._has_news():
                    heartbeat_due_s = loop.time() + self._heartbeat_s
                    await self._heartbeat()
                self._said = ""
            except (TransientStorageError, CacheError) as error:
                self._runtime.board.unreadable = str(error)
                if str(error) != self._said:
                    self._said = str(error)
                    self._log.warning("status not refreshed", why=self._said)
            if loop.time() >= logged_s:
                logged_s = loop.time() + self._heartbeat_s
                self._log_venues()
            await asyncio.sleep(self._refresh_s)

    async def refresh(self) -> None:
        """Bring the board up to date with the ledger."""
        rt = self._runtime
        now_us = rt.clock.now_us()
        closed_us = floor_minute_us(now_us)
        ranges: dict[Series, Interval] = {}
        lines: dict[Series, SymbolStatus] = {}
        for line in rt.board.lines():
            if line.problem or not line.kind:
                continue
            channel = "trades" if line.kind == "trades" else "candles1m"
            series = await rt.store.series(line.wanted.exchange, line.wanted.symbol, channel)
            start_us = floor_minute_us(now_us - line.wanted.backtest_days * DAY_US)
            ranges[series] = (start_us, max(start_us, closed_us))
            lines[series] = line
        at_s = asyncio.get_running_loop().time()
        for series, summary in (await rt.store.summaries(ranges)).items():
            lines[series].refresh(summary, rt.claims.end_us(series), now_us, at_s)
        await self._find_deadlines(lines, ranges, now_us)
        rt.board.note_refreshed()
        streamed = {line.wanted.exchange for line in lines.values() if line.kind == "trades"}
        rt.board.stream_entries = {name: await rt.trades_cache.count_frames(name) for name in sorted(streamed)}

    async def _find_deadlines(
        self, lines: Mapping[Series, SymbolStatus], ranges: Mapping[Series, Interval], now_us: int
    ) -> None:
        """Note of everything that is missing when the exchange begins to forget it."""
        rt = self._runtime
        exchanges = rt.exchanges.opened()
        windows: dict[Series, int] = {}
        for series, line in lines.items():
            line.deadline_us = None
            exchange = exchanges.get(series.exchange)
            window = exchange.traits.candle_window if exchange is not None and line.kind == "candles" else None
            if line.missing_us and window is not None:
                windows[series] = window
        missing = {series: rt.claims.wanted(series, *ranges[series]) for series in windows}
        for series, gaps in (await rt.store.gaps(missing)).items() if missing else ():
            lines[series].deadline_us = deadline_us(gaps, now_us, windows[series], MINUTE_US)

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
        updates = {str(line.wanted): _update_of(line) for line in self._runtime.board.lines()}
        updates[COMPONENT] = ProcessUpdate(
            ProcessStatus.RUNNING, f"{len(updates)} symbols", {"type": "daemon", "pid": os.getpid(), "args": sys.argv}
        )
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
