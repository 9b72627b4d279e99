"""What Prometheus is told: one registry per daemon, read from what the daemon keeps anyway.

Names follow Prometheus: base units last, counters end in `_total`. The labels are few and bounded: `exchange`,
`symbol`, `channel`, and words of ours. At most `SYMBOLS_MAX` symbols have series of their own, the first in the order
of exchange and symbol; the rest of an exchange shares one of each, with `symbol="other"` and the worst or the sum of
what it stands for. `docs/operations.md` lists them all.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import NamedTuple

import psutil
from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fullon_cache.trades_cache import FRAMES_MAX
from fullon_exchange.clock import MINUTE_US, floor_minute_us
from fullon_exchange.errors import ExchangeError
from fullon_ohlcv.errors import KINDS
from fullon_ohlcv.records import Series
from fullon_ohlcv_service.freshness import Heard
from fullon_ohlcv_service.health import Collecting, Condition, Doing, find_reasons, find_stale, stale_after_s
from fullon_ohlcv_service.proof_check import REASONS
from fullon_ohlcv_service.status import Phase, SymbolStatus

SYMBOLS_MAX = 2_000
"""How many symbols have series of their own."""
OTHER = "other"
FLUSH_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
FAULTS = ("garbage", "unknown", "row", "time", "unsubscribed", "void", "binary", "defect")
"""The kinds of skipped frames; see `fullon_exchange.live.counters`."""

Key = tuple[str, str]
"""Exchange and symbol."""


class DaemonMetrics(Collector):
    """The metrics of one daemon, collected when they are asked for; reads, and never waits."""

    def __init__(self, condition: Condition, loop_lag_s: Callable[[], float]) -> None:
        """Build one; `loop_lag_s()` is how late the event loop runs."""
        self._condition = condition
        self._loop_lag_s = loop_lag_s
        self._process = psutil.Process()
        self._flush = Histogram(
            "fullon_ohlcv_flush_seconds",
            "How long a committed write of rows and coverage took.",
            ("exchange", "channel"),
            buckets=FLUSH_BUCKETS_S,
            registry=None,
        )

    def observe_flush(self, series: Series, elapsed_s: float) -> None:
        """Take note of a committed write; `MeasuredStore.on_flush`."""
        self._flush.labels(series.exchange, series.channel).observe(elapsed_s)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; to be called in the thread of the event loop."""
        yield from self._of_process()
        yield from self._of_daemon()
        yield from self._flush.collect()
        if (collecting := self._condition.collecting) is not None:
            yield from _of_venues(collecting)
            yield from _of_streams(collecting)
            yield from _of_buffers(collecting)
            yield from _of_budgets(collecting)
            yield from _of_symbols(collecting)

    def _of_process(self) -> Iterator[Metric]:
        """Yield the standard metrics of a process under their standard names."""
        process = self._process
        with process.oneshot():
            times = process.cpu_times()
            yield _gauge("process_resident_memory_bytes", "Resident memory.", process.memory_info().rss)
            yield _gauge("process_open_fds", "Open file descriptors.", process.num_fds())
            yield _gauge("process_start_time_seconds", "When it was started, Unix time.", process.create_time())
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        files_max = float("inf") if limit == resource.RLIM_INFINITY else limit
        yield _gauge("process_max_fds", "How many file descriptors may be open.", files_max)
        yield _counter("process_cpu_seconds", "CPU time spent.", times.user + times.system)

    def _of_daemon(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("fullon_ohlcv_build_info", "1; its version is a label.", labels=("version",))
        info.add_metric((version("fullon-ohlcv-service"),), 1)
        yield info
        is_collecting = self._condition.doing is Doing.COLLECTING
        yield _gauge("fullon_ohlcv_collecting", "1 while this daemon collects, 0 while it waits.", int(is_collecting))
        is_ready = not find_reasons(self._condition)
        yield _gauge("fullon_ohlcv_ready", "1 while all data that are due are fresh, as /ready says.", int(is_ready))
        disk = self._condition.disk
        room = None if disk is None else disk.room
        free = GaugeMetricFamily("fullon_ohlcv_disk_free_bytes", "Room on the disk of the embedded servers, if any.")
        if room is not None:
            free.add_metric((), room.free_bytes)
        yield free
        is_low = room is not None and room.is_low
        yield _gauge("fullon_ohlcv_disk_low", "1 while it is less than it should be.", int(is_low))
        is_short = disk is not None and disk.is_short
        yield _gauge(
            "fullon_ohlcv_backfill_paused", "1 while so little is left that nothing is back-filled.", int(is_short)
        )
        yield _gauge("fullon_ohlcv_loop_lag_seconds", "How late the event loop runs.", self._loop_lag_s())
        yield _gauge("fullon_ohlcv_tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, value=value)


def _counter(name: str, says: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, says, value=value)


def _of_venues(collecting: Collecting) -> Iterator[Metric]:
    rt = collecting.runtime
    lines = rt.board.lines()
    venues = sorted({line.wanted.exchange for line in lines})
    phases = Counter((line.wanted.exchange, line.phase) for line in lines)
    symbols = GaugeMetricFamily("fullon_ohlcv_symbols", "Wanted symbols by phase.", labels=("exchange", "phase"))
    reachable = GaugeMetricFamily(
        "fullon_ohlcv_exchange_reachable", "0 while the markets of an exchange cannot be read.", labels=("exchange",)
    )
    ahead = GaugeMetricFamily(
        "fullon_ohlcv_clock_ahead_seconds",
        "How far this machine's clock is ahead of an exchange's at least; negative: behind.",
        labels=("exchange",),
    )
    for name, clock in sorted(rt.board.clocks.items()):
        if clock.known:
            ahead.add_metric((name,), clock.ours_ahead_us() / 1e6)
    yield ahead
    duplicates = CounterMetricFamily(
        "fullon_ohlcv_duplicate_rows",
        "Rows delivered that were stored already.",
        labels=("exchange", "channel"),
    )
    for name in venues:
        for phase in Phase:
            symbols.add_metric((name, phase.value), phases[name, phase])
        reachable.add_metric((name,), int(name not in rt.board.venue_problems))
    for key, rows in sorted(rt.store.duplicates.items()):
        duplicates.add_metric(key, rows)
    yield from (symbols, reachable, duplicates)
    yield _counter("fullon_ohlcv_told_candles", "Closed candles published in Redis.", rt.closings.told)
    yield _counter(
        "fullon_ohlcv_untold_candles",
        "Closed candles that were not: Redis or the database was away.",
        rt.closings.dropped,
    )
    failed = CounterMetricFamily(
        "fullon_ohlcv_database_errors", "Calls of the time series database that failed, by class.", labels=("class",)
    )
    for kind in KINDS:
        failed.add_metric((kind,), rt.store.database_errors[kind])
    yield failed
    if collecting.rechecker is not None:
        minutes = collecting.rechecker.rechecked_minutes
        yield _counter("fullon_ohlcv_rechecked_minutes", "Stored minutes that were read again over REST.", minutes)
    if collecting.checker is not None:
        refuted = CounterMetricFamily(
            "fullon_ohlcv_refuted_minutes",
            "Stored minutes that became unknown because trade ids or sums did not agree, by reason.",
            labels=("exchange", "reason"),
        )
        for name in venues:
            for reason in REASONS:
                refuted.add_metric((name, reason), collecting.checker.refuted[name, reason])
        yield refuted


def _of_streams(collecting: Collecting) -> Iterator[Metric]:
    labels = ("exchange", "channel")
    reconnects = CounterMetricFamily(
        "fullon_ohlcv_reconnects", "WebSocket connections that ended before they were replaced.", labels=labels
    )
    replaced = CounterMetricFamily(
        "fullon_ohlcv_replaced_connections",
        "WebSocket connections replaced before the exchange cut them.",
        labels=labels,
    )
    resubscribes = CounterMetricFamily(
        "fullon_ohlcv_resubscribes", "Subscriptions renewed because a stream had gone silent.", labels=labels
    )
    given_up = CounterMetricFamily(
        "fullon_ohlcv_given_up_rows", "Live rows that no buffer could hold; their minutes are gaps.", labels=labels
    )
    skipped = CounterMetricFamily(
        "fullon_ohlcv_skipped_frames",
        "What an exchange sent and cannot be used, by kind.",
        labels=(*labels, "kind"),
    )
    for collector in collecting.live:
        for name, counts in collector.counts().items():
            key = (name, collector.channel)
            reconnects.add_metric(key, max(0, counts["disconnects"] - counts["replaced"]))
            replaced.add_metric(key, counts["replaced"])
            resubscribes.add_metric(key, counts["resubscribed"])
            given_up.add_metric(key, counts["given_up"])
            for kind in FAULTS:
                skipped.add_metric((*key, kind), counts[kind])
    yield from (reconnects, replaced, resubscribes, given_up, skipped)


def _of_buffers(collecting: Collecting) -> Iterator[Metric]:
    labels = ("exchange", "channel", "buffer")
    held = GaugeMetricFamily("fullon_ohlcv_buffered_rows", "What waits in a buffer, in rows or entries.", labels=labels)
    fill = GaugeMetricFamily("fullon_ohlcv_buffer_fill_ratio", "How full a buffer is; 1 is full.", labels=labels)
    for name, channel, buffer, rows, rows_max in _buffers(collecting):
        held.add_metric((name, channel, buffer), rows)
        fill.add_metric((name, channel, buffer), rows / rows_max)
    yield from (held, fill)


def _buffers(collecting: Collecting) -> Iterator[tuple[str, str, str, int, int]]:
    for collector in collecting.live:
        for name, stream in collector.streams.items():
            session, sink = stream.session, stream.sink
            yield name, collector.channel, "received", session.buffered, session.buffer_max
            yield name, collector.channel, "pending", sink.buffered, sink.buffer_max
    for name, entries in collecting.runtime.board.stream_entries.items():
        yield name, "trades", "redis", entries, FRAMES_MAX


def _of_budgets(collecting: Collecting) -> Iterator[Metric]:
    labels = ("exchange",)
    used = GaugeMetricFamily("fullon_ohlcv_rate_budget_used_ratio", "Share of the burst in use now.", labels=labels)
    waiting = GaugeMetricFamily("fullon_ohlcv_rate_budget_waiting", "Requests that wait for it.", labels=labels)
    paused = GaugeMetricFamily(
        "fullon_ohlcv_rate_budget_paused_seconds", "For how long the exchange wants to be left alone.", labels=labels
    )
    weight = CounterMetricFamily("fullon_ohlcv_rate_budget_weight", "Weight of the requests granted.", labels=labels)
    for name, exchange in sorted(collecting.runtime.exchanges.opened().items()):
        try:
            use = exchange.budget_use()
        except ExchangeError:
            continue  # closed for good: it is asked nothing
        used.add_metric((name,), min(1.0, max(0.0, 1 - use.available / use.burst)))
        waiting.add_metric((name,), use.waiting)
        paused.add_metric((name,), use.paused_s)
        weight.add_metric((name,), use.spent)
    yield from (used, waiting, paused, weight)


# symbols ----------------------------------------------------------------------------------------------------


class _PerSymbol(NamedTuple):
    """One family with a series for each symbol; `fold` makes one value of those of several symbols."""

    name: str
    says: str
    of: Callable[[SymbolStatus, Key], float | None]
    fold: Callable[[Sequence[float]], float] = sum
    is_counter: bool = False


def _of_symbols(collecting: Collecting) -> Iterator[Metric]:
    lines = collecting.runtime.board.lines()
    own, others = lines[:SYMBOLS_MAX], lines[SYMBOLS_MAX:]
    rest: dict[str, list[SymbolStatus]] = {}
    for line in others:
        rest.setdefault(line.wanted.exchange, []).append(line)
    for per_symbol in _families(collecting):
        kind = CounterMetricFamily if per_symbol.is_counter else GaugeMetricFamily
        family = kind(per_symbol.name, per_symbol.says, labels=("exchange", "symbol"))
        for line in own:
            key = (line.wanted.exchange, line.wanted.symbol)
            if (value := per_symbol.of(line, key)) is not None:
                family.add_metric(key, value)
        for name, each in rest.items():
            found = [per_symbol.of(line, (name, line.wanted.symbol)) for line in each]
            if values := [value for value in found if value is not None]:
                family.add_metric((name, OTHER), per_symbol.fold(values))
        yield family
    yield _gauge("fullon_ohlcv_folded_symbols", 'Symbols that share the series `symbol="other"`.', len(others))


def _families(collecting: Collecting) -> list[_PerSymbol]:
    rt = collecting.runtime
    ours_us = rt.clock.now_us()
    heard: Mapping[Key, Heard] = {
        (name, symbol): each
        for collector in collecting.live
        for name, stream in collector.streams.items()
        for symbol, each in stream.guard.heard().items()
    }

    stale = {one[:2] for one in find_stale(rt.board, ours_us, stale_after_s(rt.config))}

    def lag(line: SymbolStatus, key: Key) -> float | None:
        return line.lag_at_s(rt.board.now_us(line.wanted.exchange)) if line.should_be_fresh else None

    def event_lag(line: SymbolStatus, key: Key) -> float | None:
        return heard[key].lag_us / 1e6 if key in heard else None

    def last_minute(line: SymbolStatus, key: Key) -> float | None:
        # Trades are covered to the microsecond.
        end_us = line.covered_until_us
        return None if end_us is None else (floor_minute_us(end_us) - MINUTE_US) / 1e6

    def deadline(line: SymbolStatus, key: Key) -> float | None:
        if line.deadline_us is None:
            return None
        return max(0.0, (line.deadline_us - rt.board.now_us(line.wanted.exchange)) / 1e6)

    return [
        _PerSymbol(
            "fullon_ohlcv_stale", "1 while data that are due are not fresh.", lambda line, key: int(key in stale)
        ),
        _PerSymbol("fullon_ohlcv_lag_seconds", "Time since the end of the newest covered minute.", lag, max),
        _PerSymbol("fullon_ohlcv_event_lag_seconds", "How late the newest live message was.", event_lag, max),
        _PerSymbol(
            "fullon_ohlcv_last_closed_minute_timestamp_seconds",
            "Opening of the newest covered minute, Unix time.",
            last_minute,
            min,
        ),
        _PerSymbol(
            "fullon_ohlcv_coverage_ratio",
            "Share of the wanted range that is covered or known to be unavailable.",
            lambda line, key: line.covered_ratio,
            min,
        ),
        _PerSymbol("fullon_ohlcv_gap_seconds", "What is missing.", lambda line, key: line.missing_us / 1e6),
        _PerSymbol(
            "fullon_ohlcv_gap_deadline_seconds",
            "Time until the exchange forgets the first of what is missing; absent where it never does.",
            deadline,
            min,
        ),
        _PerSymbol("fullon_ohlcv_rows", "Rows stored.", lambda line, key: line.rows, is_counter=True),
        _PerSymbol(
            "fullon_ohlcv_corrections",
            "Stored rows that were changed when they were read again.",
            lambda line, key: rt.store.corrections[key],
            is_counter=True,
        ),
        _PerSymbol(
            "fullon_ohlcv_suspect_minutes",
            "Minutes taken back because their stream had gone wrong.",
            lambda line, key: rt.store.suspect_minutes[key],
            is_counter=True,
        ),
    ]
