"""How collecting goes, put together from the ledger, the writer's lock and the status records."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fullon_cache import CacheError, ProcessCache
from fullon_cache.process_cache import ProcessRecord, ProcessType
from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CoverageSummary, Lifecycle, MarketState
from fullon_ohlcv.writer_lock import Writer, find_writer
from fullon_ohlcv_service.commands.environment import say_command
from fullon_ohlcv_service.commands.session import Ledger, nothing_yet
from fullon_ohlcv_service.commands.times import iso, say_span
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.disk_watch import read_room
from fullon_ohlcv_service.reporter import COMPONENT
from fullon_ohlcv_service.status import Phase

RECORDS_SINCE_MIN = 24 * 60
SILENT_S = 120.0
"""A daemon whose heart has not beaten for so long is not well; it beats every 30 s at least."""
TAIL_MAX_US = 3 * MINUTE_US
"""The newest minutes of a live symbol are on their way, not missing."""
STALE_S = 300.0
"""A live symbol further behind than this is not well (exchange time)."""
SETTLE_S = 90.0
"""A daemon that has just begun has not heard of every exchange yet."""
STOPPED = "stopped"


@dataclass(frozen=True)
class SymbolLine:
    """One symbol; times in exchange microseconds, `covered` a share of what is wanted."""

    exchange: str
    symbol: str
    phase: str
    covered: float
    missing_us: int
    last_candle_us: int | None
    lag_s: float | None
    rows_s: float | None
    eta_s: float | None
    problem: str

    @property
    def is_well(self) -> bool:
        """True where nobody has to look."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Return it with stable keys."""
        return {
            "exchange": self.exchange,
            "symbol": self.symbol,
            "phase": self.phase,
            "covered": round(self.covered, 6),
            "missing_minutes": self.missing_us // MINUTE_US,
            "last_candle": iso(self.last_candle_us),
            "lag_s": None if self.lag_s is None else round(self.lag_s, 1),
            "rows_s": self.rows_s,
            "eta_s": self.eta_s,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Report:
    """Everything `status` shows."""

    now_us: int
    writer: Writer | None
    daemon: ProcessRecord | None
    lines: list[SymbolLine]
    troubles: list[str] = field(default_factory=list)
    """What is wrong beside single symbols."""
    silent: Collection[str] = ()
    """The exchanges of which nothing arrives."""

    @property
    def is_well(self) -> bool:
        """True where the daemon runs and nothing needs a look."""
        return not self.troubles and all(line.is_well for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """Return it with stable keys."""
        daemon = self.daemon
        return {
            "now": iso(self.now_us),
            "well": self.is_well,
            "troubles": self.troubles,
            "daemon": {
                "running": self.writer is not None,
                "since": None if self.writer is None else self.writer.since.isoformat(),
                "pid": None if self.writer is None or daemon is None else daemon["params"].get("pid"),
                "heartbeat_age_s": None if daemon is None else round(daemon["heartbeat_age_s"], 1),
            },
            "exchanges": [venue_line(name, lines) for name, lines in by_venue(self.lines).items()],
            "symbols": [line.as_json() for line in self.lines],
        }


def by_venue(lines: list[SymbolLine]) -> dict[str, list[SymbolLine]]:
    """Group lines by exchange."""
    venues: dict[str, list[SymbolLine]] = {}
    for line in lines:
        venues.setdefault(line.exchange, []).append(line)
    return venues


def venue_line(name: str, lines: list[SymbolLine]) -> dict[str, Any]:
    """Sum up one exchange."""
    lags = [line.lag_s for line in lines if line.lag_s is not None]
    etas = [line.eta_s for line in lines if line.eta_s is not None]
    rates = [line.rows_s for line in lines if line.rows_s is not None]
    return {
        "exchange": name,
        "symbols": len(lines),
        "phases": dict(Counter(line.phase for line in lines)),
        "covered": round(sum(line.covered for line in lines) / len(lines), 6),
        "lag_max_s": round(max(lags), 1) if lags else None,
        "rows_s": round(sum(rates), 1) if rates else None,
        "eta_s": max(etas) if etas else None,
        "problems": sum(not line.is_well for line in lines),
    }


async def read_report(ledger: Ledger) -> Report:
    """Ask the store and Redis; a Redis that is away costs phases and rates, nothing else."""
    async with ledger.store.connection("ask for the writer") as connection:
        writer = await find_writer(connection)
    troubles: list[str] = []
    records: dict[str, ProcessRecord] = {}
    try:
        async with ProcessCache() as cache:
            for record in await cache.get_active_processes(
                ProcessType.OHLCV, since_minutes=RECORDS_SINCE_MIN, include_heartbeat_check=False
            ):
                records[record["component"]] = record  # sorted by age: the newest wins
    except CacheError as error:
        troubles.append(str(error))
    daemon = records.get(COMPONENT)
    if writer is None:
        troubles.append(f"the daemon does not run, nothing is collected: {say_command('run')} starts it")
    elif daemon is not None and daemon["heartbeat_age_s"] > SILENT_S:
        troubles.append(f"the daemon has been silent for {daemon['heartbeat_age_s']:.0f} s: see {say_command('logs')}")
    if (full := _find_short_disk(ledger)) is not None:
        troubles.append(full)
    if not ledger.wanted:
        troubles.append(nothing_yet())
    lines = await _read_lines(ledger, records if writer is not None else None)
    silent: dict[str, float | None] = {}
    if writer is not None and (datetime.now(UTC) - writer.since).total_seconds() > SETTLE_S:
        interval_s = 0.0 if ledger.config.enable_streaming else ledger.config.collection_interval
        silent = find_silent(lines, STALE_S + interval_s)
        troubles += [_silence(name, lag_s) for name, lag_s in silent.items()]
    return Report(ledger.clock.now_us(), writer, daemon, lines, troubles, silent.keys())


def _find_short_disk(ledger: Ledger) -> str | None:
    """Return what is wrong with the disk of the embedded servers; None where nothing is, or there are none."""
    if ledger.embedded is None:
        return None
    room = read_room(ledger.embedded, ledger.config)
    return room.sentence if room.is_short else None


def find_silent(lines: list[SymbolLine], limit_s: float) -> dict[str, float | None]:
    """Return the exchanges of which nothing arrives, and how far behind they are; None where nothing is stored yet.

    One that is slow is not among them: of some symbol rows come in, or it is up to date.
    """
    silent: dict[str, float | None] = {}
    for name, ours in by_venue(lines).items():
        due = [line for line in ours if line.is_well]
        if due and not any(line.rows_s or (line.lag_s is not None and line.lag_s <= limit_s) for line in due):
            silent[name] = min((line.lag_s for line in due if line.lag_s is not None), default=None)
    return silent


def _silence(name: str, lag_s: float | None) -> str:
    behind = "nothing has arrived yet" if lag_s is None else f"nothing arrives, it is {say_span(lag_s)} behind"
    return f"{name}: {behind}; {say_command('doctor')} asks it, {say_command(f'logs {name}')} has the reasons"


async def _read_lines(ledger: Ledger, records: Mapping[str, ProcessRecord] | None) -> list[SymbolLine]:
    """Return a line for each wanted symbol; `records` is None where no daemon runs."""
    intervals = {key: ledger.interval(one) for key, one in ledger.wanted.items()}
    series = {key: found for key in intervals if (found := ledger.known.get((*key, "candles1m"))) is not None}
    summaries = await ledger.store.summaries({one: intervals[key] for key, one in series.items()})
    states = await ledger.store.read_states()
    now_us = ledger.clock.now_us()
    lines = []
    for key, one in ledger.wanted.items():
        summary = summaries.get(series[key]) if key in series else None
        if summary is None:
            summary = CoverageSummary(intervals[key][1] - intervals[key][0], 0, 0, None, None)
        state = states.get(key) or states.get((one.exchange, ""))
        record = None if records is None else records.get(str(one))
        params = {} if record is None else record["params"]
        said = _said(params, state, runs=records is not None)
        lines.append(_line(one, summary, params, said, now_us))
    return lines


def _line(
    one: WantedSymbol, summary: CoverageSummary, params: Mapping[str, Any], said: tuple[str, str], now_us: int
) -> SymbolLine:
    phase, problem = said
    missing_us = max(0, summary.wanted_us - summary.covered_us - summary.unavailable_us)
    lag_s = None if summary.covered_until_us is None else max(0.0, (now_us - summary.covered_until_us) / 1e6)
    is_live = phase == Phase.LIVE
    if is_live and missing_us <= TAIL_MAX_US and lag_s is not None and lag_s * 1e6 <= 2 * TAIL_MAX_US:
        missing_us = 0
    if is_live and not problem and lag_s is not None and lag_s > STALE_S:
        problem = f"live, but {lag_s / 60:.0f} minutes behind"
    if phase in (Phase.WAITING, Phase.CATCHING_UP):
        # Records are up to half a minute old, the ledger is not.
        behind_us = missing_us if lag_s is None or lag_s * 1e6 > 2 * TAIL_MAX_US else max(0, missing_us - TAIL_MAX_US)
        phase = Phase.CATCHING_UP if behind_us and summary.covered_us else phase if behind_us else Phase.COMPLETE
    eta_s = params.get("eta_s") if missing_us else None
    return SymbolLine(
        exchange=one.exchange,
        symbol=one.symbol,
        phase=phase,
        covered=1.0 - missing_us / summary.wanted_us if summary.wanted_us else 1.0,
        missing_us=missing_us,
        last_candle_us=summary.last_timestamp_us,
        lag_s=lag_s,
        rows_s=params.get("rows_s"),
        eta_s=None if eta_s is None else round(float(eta_s)),
        problem=problem,
    )


def _said(params: Mapping[str, Any], state: MarketState | None, *, runs: bool) -> tuple[str, str]:
    """Return what is done for a symbol, and what is wrong with it; `runs` tells whether there is a daemon."""
    if state is not None and state.state is not Lifecycle.ACTIVE:
        return state.state.value, state.reason
    if not runs:
        return STOPPED, ""
    # A symbol that was just added has no record yet, one that is collected by hand has one without a phase.
    return params.get("phase") or Phase.WAITING.value, params.get("problem") or ""
