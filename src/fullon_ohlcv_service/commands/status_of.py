"""How collecting goes, put together from the ledger, the writer's lock and the status records."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fullon_cache import CacheError, ProcessCache
from fullon_cache.process_cache import ProcessRecord, ProcessType
from fullon_exchange.clock import MINUTE_US
from fullon_ohlcv.records import CoverageSummary, Lifecycle, MarketState
from fullon_ohlcv.writer_lock import Writer, find_writer
from fullon_ohlcv_service.commands.environment import say_command
from fullon_ohlcv_service.commands.session import Ledger, nothing_yet
from fullon_ohlcv_service.commands.times import iso
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.disk_watch import read_room
from fullon_ohlcv_service.health import stale_after_s, why_stale
from fullon_ohlcv_service.reporter import COMPONENT
from fullon_ohlcv_service.status import Phase

RECORDS_SINCE_MIN = 24 * 60
SILENT_S = 120.0
"""A daemon whose heart has not beaten for so long is not well; it beats every 30 s at least."""
TAIL_MAX_US = 3 * MINUTE_US
"""The newest minutes of a live symbol are on their way, not missing."""
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
    """Why it is not fresh, or why no data of it are due."""
    is_well: bool
    """False where data that are due are not fresh."""

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
            "well": self.is_well,
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
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and takes nothing from the health of the data."""
    silent: Collection[str] = ()
    """The exchanges of which nothing arrives."""

    @property
    def is_well(self) -> bool:
        """True where a daemon runs and, as its /ready says, all data that are due are fresh."""
        return not self.troubles and all(line.is_well for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """Return it with stable keys."""
        daemon = self.daemon
        return {
            "now": iso(self.now_us),
            "well": self.is_well,
            "troubles": self.troubles,
            "notes": self.notes,
            "daemon": {
                "running": self.writer is not None,
                "since": None if self.writer is None else self.writer.since.isoformat(),
                "pid": None if self.writer is None or daemon is None else daemon["params"].get("pid"),
                "heartbeat_age_s": None if daemon is None else round(daemon["heartbeat_age_s"], 1),
            },
            "exchanges": [venue_line(name, lines) for name, lines in by_venue(self.lines).items()],
            "symbols": [line.as_json() for line in self.lines],
        }


def by_venue(lines: Sequence[SymbolLine]) -> dict[str, list[SymbolLine]]:
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
    """Ask the store and Redis; a Redis that is away costs phases, rates and the daemon's own word, nothing else."""
    async with ledger.store.connection("ask for the writer") as connection:
        writer = await find_writer(connection)
    troubles: list[str] = []
    notes: list[str] = []
    records: dict[str, ProcessRecord] = {}
    try:
        async with ProcessCache() as cache:
            for record in await cache.get_active_processes(
                ProcessType.OHLCV, since_minutes=RECORDS_SINCE_MIN, include_heartbeat_check=False
            ):
                records[record["component"]] = record  # sorted by age: the newest wins
    except CacheError as error:
        notes.append(str(error))
    daemon = records.get(COMPONENT)
    if writer is None:
        troubles.append(f"the daemon does not run, nothing is collected: {say_command('run')} starts it")
    elif daemon is not None and daemon["heartbeat_age_s"] > SILENT_S:
        troubles.append(f"the daemon has been silent for {daemon['heartbeat_age_s']:.0f} s: see {say_command('logs')}")
    if not ledger.wanted:
        notes.append(nothing_yet())
    lines = await _read_lines(ledger, records if writer is not None else None)
    silent: Collection[str] = ()
    if writer is not None:
        health = _health_of(daemon, writer)
        if health is None:
            lines = [_judged(line, why_stale(line.lag_s, stale_after_s(ledger.config))) for line in lines]
        else:
            troubles += [one["reason"] for one in health["reasons"] if one["symbol"] is None]
            if more := health["reasons_left_out"]:
                troubles.append(f"{more} more symbols are not fresh than are named here")
            lines = _as_published(lines, health)
        silent = find_silent(lines)
    if (full := _find_short_disk(ledger)) is not None and full not in troubles:
        troubles.append(full)
    return Report(ledger.clock.now_us(), writer, daemon, lines, troubles, notes, silent)


def _find_short_disk(ledger: Ledger) -> str | None:
    """Return what is wrong with the disk of the embedded servers; None where nothing is, or there are none."""
    if ledger.embedded is None:
        return None
    room = read_room(ledger.embedded, ledger.config)
    return room.sentence if room.is_short else None


def _health_of(daemon: ProcessRecord | None, writer: Writer) -> Mapping[str, Any] | None:
    """Return what the daemon that runs has published of its health; None where there is no word of it."""
    if daemon is None or daemon["heartbeat_age_s"] > SILENT_S:
        return None
    if datetime.fromisoformat(daemon["heartbeat"]) < writer.since:
        return None  # of an earlier daemon
    health: Mapping[str, Any] | None = daemon["params"].get("health")
    return health


def _as_published(lines: Sequence[SymbolLine], health: Mapping[str, Any]) -> list[SymbolLine]:
    reasons = {(one["exchange"], one["symbol"]): one["reason"] for one in health["reasons"]}
    return [_judged(line, reasons.get((line.exchange, line.symbol))) for line in lines]


def _judged(line: SymbolLine, reason: str | None) -> SymbolLine:
    """Return a line that is not fresh for this reason; one without, or whose data are not due, stays as it is."""
    return line if reason is None or line.problem else replace(line, problem=reason, is_well=False)


def find_silent(lines: Sequence[SymbolLine]) -> set[str]:
    """Return the exchanges of which nothing arrives; one that is slow is not among them: rows of it come in."""
    return {
        name
        for name, ours in by_venue(lines).items()
        if not any(line.rows_s for line in ours)
        and all(line.problem for line in ours)
        and not all(line.is_well for line in ours)
    }


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
    if phase == Phase.LIVE and missing_us <= TAIL_MAX_US and lag_s is not None and lag_s * 1e6 <= 2 * TAIL_MAX_US:
        missing_us = 0
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
        is_well=True,
    )


def _said(params: Mapping[str, Any], state: MarketState | None, *, runs: bool) -> tuple[str, str]:
    """Return what is done for a symbol, and what is wrong with it; `runs` tells whether there is a daemon."""
    if state is not None and state.state is not Lifecycle.ACTIVE:
        return state.state.value, state.reason
    if not runs:
        return STOPPED, ""
    # A symbol that was just added has no record yet, one that is collected by hand has one without a phase.
    return params.get("phase") or Phase.WAITING.value, params.get("problem") or ""
