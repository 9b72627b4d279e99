"""The daemon: where everything is put together, started in order and stopped in the opposite one."""

import argparse
import asyncio
import os
import signal
import sys
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from fullon_cache import CacheError
from fullon_embedded import EmbeddedError, EmbeddedServers, start_servers, stopping_in_order
from fullon_embedded.stop_signals import leave_dead_terminal, not_ignored, uninterrupted_end
from fullon_exchange.errors import ExchangeError
from fullon_log import configure_logger, get_component_logger
from fullon_ohlcv.errors import StorageError, TransientStorageError
from fullon_ohlcv.writer_lock import WriterLock
from fullon_ohlcv_service.clock_guard import ClockGuard
from fullon_ohlcv_service.commands.places import keep_log
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.servers import missing_servers
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig, load_env_file
from fullon_ohlcv_service.disk_watch import DiskWatch
from fullon_ohlcv_service.errors import ServiceError
from fullon_ohlcv_service.health import Collecting, Condition, Doing, find_reasons
from fullon_ohlcv_service.http_server import HttpServer
from fullon_ohlcv_service.market_watch import MarketWatch
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.ohlcv.live_collector import LiveOHLCVCollector
from fullon_ohlcv_service.proof_check import ProofChecker
from fullon_ohlcv_service.recheck import Rechecker
from fullon_ohlcv_service.reexamine import Reexaminer
from fullon_ohlcv_service.reporter import StatusReporter
from fullon_ohlcv_service.retention import Retention
from fullon_ohlcv_service.runtime import Runtime, open_runtime
from fullon_ohlcv_service.sd_notify import ServiceManager, SystemdReport
from fullon_ohlcv_service.store_check import StoreCheck
from fullon_ohlcv_service.supervisor import Supervisor
from fullon_ohlcv_service.table import show_table
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_ohlcv_service.trade.live_collector import LiveTradeCollector
from fullon_ohlcv_service.wanted_range import find_starts
from fullon_orm import init_db
from fullon_orm.errors import OrmError
from fullon_orm.models import Symbol
from fullon_orm.notifications import listen

TABLE_REFRESH_S = 1.0
BOARD_REFRESH_S = 10.0
DEBOUNCE_S = 0.2
"""Changes of the database within this time make one reconcile."""
SERVER_RETRY_S = 5.0
SERVERS_CHECK_S = 1.0
INTERRUPTED = 130
START_EXTENSION_S = 60
"""How much more time systemd is asked for while a server recovers; it is asked every few seconds."""

_log = get_component_logger("fullon.ohlcv.daemon")


class OhlcvServiceDaemon:
    """Collects what the database names until it is told to stop.

    The nesting of `run()` is the order of things: servers and stores outside, then the writer of trades, then the
    streams and the back-fill. What is inside stops first, so that what has arrived can still be written.
    """

    def __init__(
        self,
        config: OhlcvServiceConfig | None = None,
        *,
        console: Console | None = None,
        servers: EmbeddedServers | None = None,
    ) -> None:
        """Build a daemon; with `console` it draws its table there, `servers` it starts again when they die."""
        self._config = config
        self._console = console
        self._servers = servers
        self._stop = asyncio.Event()
        self._ending = asyncio.Event()
        self._superseded = False
        self._changed = asyncio.Event()
        self._reconciled = asyncio.Event()
        self._added: set[WantedSymbol] = set()
        self._only: set[WantedSymbol] | None = None
        self._collected: set[WantedSymbol] = set()
        self._refused: dict[str, str] = {}
        self._runtime: Runtime | None = None
        self._condition = Condition()
        self._http: HttpServer | None = None
        self._failing: list[MutableMapping[str, str]] = []
        """What fails just now of each set of parts, and why."""
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """Collect until `stop()`, `cleanup()` or cancelled.

        Raises:
            ConfigurationError: a setting cannot be used.
            OrmError, StorageError, CacheError: a server refuses us (a wrong password, a newer schema); a database
                that is merely away is waited for.
            RuntimeError: this daemon is running already.
        """
        if not self._ended.is_set():
            raise RuntimeError("this daemon is running already")
        self._ended.clear()
        self._stop.clear()
        self._added.clear()
        self._condition.become(Doing.STARTING)
        try:
            config = self._config or OhlcvServiceConfig.from_env()
            async with self._watched(config):
                await self._wait_for_servers()
                async with WriterLock(test=config.test_mode) as lock:
                    while await self._become_writer(lock):
                        async with open_runtime(config) as runtime:
                            await self._collect(runtime, lock)
                        self._runtime = None
                        if not self._superseded:
                            return
        finally:
            self._runtime = None
            self._http = None
            self._ended.set()

    start = run

    def stop(self) -> None:
        """Ask `run()` to end; returns at once."""
        if not self._ended.is_set():
            self._condition.become(Doing.STOPPING)
        self._stop.set()
        self._ending.set()

    async def cleanup(self) -> None:
        """Stop and wait until everything has ended; harmless when nothing runs."""
        self.stop()
        await self._ended.wait()

    async def process_symbol(self, symbol: Symbol) -> None:
        """Collect `symbol` too; on a daemon that is not running, collect it alone until stopped.

        Raises:
            ValueError: not a symbol with a name and an exchange.
        """
        wanted = WantedSymbol.from_orm(symbol)
        if not self._ended.is_set():
            self._added.add(wanted)
            self._changed.set()
            return
        self._only = {wanted}
        try:
            await self.run()
        finally:
            self._only = None

    # parts --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _watched(self, config: OhlcvServiceConfig) -> AsyncIterator[None]:
        """Tell over HTTP and to systemd how it goes; what fails there is tried again and hurts nothing else."""
        parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        if (address := config.http_address) is not None:
            self._http = HttpServer(address, self._condition)
            parts["http"] = self._http.run
        if self._servers is not None:
            self._condition.disk = DiskWatch(self._servers.data_dir, config)
            parts["disk"] = self._condition.disk.run
        if (manager := ServiceManager.from_env()) is not None:
            parts["systemd"] = SystemdReport(manager, self._condition).run
        async with Supervisor("fullon.ohlcv.daemon", _by_name(parts)) as running:
            self._failing = [running.failures]
            await running.want(parts.keys())
            yield

    async def _wait_for_servers(self) -> None:
        """Prepare both databases, waiting for a server that is away until told to stop."""
        said = ""
        while not self._stop.is_set():
            try:
                await init_db()
                async with open_runtime(self._config) as runtime:
                    await _refuse_wrong_login(runtime)
                    wanted = await load_wanted_symbols(runtime.config)
                    await runtime.store.require_rights({one.exchange for one in wanted})
                    return
            except (OrmError, StorageError, CacheError) as error:
                if not error.retryable:
                    raise
                if str(error) != said:
                    said = str(error)
                    _log.error("waiting for a server", why=said)
                    self._wait_because(said)
                await self._wait(self._stop, SERVER_RETRY_S)

    async def _become_writer(self, lock: WriterLock) -> bool:
        """Wait until no other daemon writes to this database; False where told to stop meanwhile."""
        self._superseded = False
        if not self._stop.is_set():
            self._ending.clear()
        said = ""
        while not self._stop.is_set():
            try:
                if await lock.take():
                    return True
                why = f"another daemon collects into this database, {await lock.holder() or 'just now'}"
            except TransientStorageError as error:
                why = str(error)
            if why != said:
                said = why
                _log.warning("waiting to take over", why=why)
                self._wait_because(why)
            await self._wait(self._stop, SERVER_RETRY_S)
        return False

    def _wait_because(self, why: str) -> None:
        if self._stop.is_set():
            return
        self._condition.become(Doing.WAITING, why)
        if self._console is not None:
            with suppress(OSError):  # a terminal that has gone ends nothing by itself
                self._console.print(f"{self._condition.sentence} · Ctrl-C ends it", markup=False, highlight=False)

    async def _stay_writer(self, lock: WriterLock) -> None:
        """End collecting when another daemon has become the writer while the database was away from us."""
        while True:
            await asyncio.sleep(SERVER_RETRY_S)
            if not await lock.take():
                _log.error("another daemon has taken over; this one waits", holder=await lock.holder())
                self._superseded = True
                self._ending.set()
                return

    async def _keep_servers(self, servers: EmbeddedServers) -> None:
        """Start embedded servers again that have died, killed for memory for instance."""
        while True:
            await asyncio.sleep(SERVERS_CHECK_S)
            dead = [name for name, pid in servers.pids().items() if pid is None]
            if dead:
                _log.error("embedded servers have died, starting them again", servers=", ".join(dead))
                await asyncio.to_thread(servers.ensure_running)

    async def _collect(self, runtime: Runtime, lock: WriterLock) -> None:
        config = runtime.config
        self._runtime = runtime
        runtime.disk = self._condition.disk
        self._collected = set()
        self._refused = {}
        historic = [HistoricOHLCVCollector(runtime=runtime), HistoricTradeCollector(runtime=runtime)]

        def wake_history(exchange: str) -> None:
            for collector in historic:
                collector.wake(exchange)

        live_trades = LiveTradeCollector(runtime=runtime, on_gap=wake_history)
        live_candles = LiveOHLCVCollector(runtime=runtime, on_gap=wake_history)
        batcher = GlobalTradeBatcher(runtime=runtime, on_gap=wake_history, on_break=live_trades.restart_runs)
        live: list[Any] = [live_candles, live_trades] if config.enable_streaming else []
        fillers: list[Any] = []
        rechecker: Rechecker | None = None
        checker: ProofChecker | None = None
        if config.enable_historical:
            rechecker = Rechecker(runtime, historic, live_candles.doubt)
            checker = ProofChecker(runtime, historic)
            fillers = [*historic, rechecker, Reexaminer(runtime, historic), checker]
        watch = MarketWatch(runtime, live=live, history=fillers)
        collectors: list[Any] = [*live, *fillers, watch, ClockGuard(runtime, on_gap=wake_history)]
        reporter = StatusReporter(
            runtime,
            refresh_s=TABLE_REFRESH_S if self._console else BOARD_REFRESH_S,
            find_reasons=partial(find_reasons, self._condition),
        )
        if self._http is not None:
            runtime.store.on_flush = self._http.metrics.observe_flush
        if not self._stop.is_set():
            self._condition.become(Doing.COLLECTING, collecting=Collecting(runtime, live, rechecker, checker))

        async def apply(wanted: set[WantedSymbol]) -> None:
            await self._apply(runtime, wanted, batcher, watch)

        parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            type(collector).__name__: collector.run for collector in collectors
        }
        parts["reconcile"] = lambda: self._reconcile(config, apply)
        parts["notifications"] = self._listen
        parts["status"] = reporter.run
        parts["closed candles"] = runtime.closings.run
        parts["retention"] = Retention(runtime).run
        parts["store check"] = StoreCheck(runtime, wake_history).run
        parts["writer"] = lambda: self._stay_writer(lock)
        parts |= self._parts_at_hand(runtime)
        _log.info("started", pid=os.getpid())
        try:
            async with _storing(batcher), Supervisor("fullon.ohlcv.daemon", _by_name(parts)) as running:
                self._failing[1:] = [running.failures]
                await running.want(parts.keys())
                await self._ending.wait()
                _log.info("stopping")
        finally:
            self._condition.collecting = None
            self._wait_because("no longer the writer")
            await reporter.stop()
            _log.info("stopped")

    def _parts_at_hand(self, runtime: Runtime) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return what runs only on servers of our own, or on a terminal."""
        parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        if self._servers is not None:
            parts["servers"] = partial(self._keep_servers, self._servers)
        if self._console is not None:
            parts["table"] = partial(
                show_table,
                runtime.board,
                self._console,
                lambda: ChainMap(*self._failing),
                partial(find_reasons, self._condition),
            )
        return parts

    async def _reconcile(
        self, config: OhlcvServiceConfig, apply: Callable[[set[WantedSymbol]], Coroutine[Any, Any, None]]
    ) -> None:
        """Make what runs equal to what the database wants: at the start, on a change, and every interval."""
        running: set[WantedSymbol] | None = None
        self._reconciled.clear()
        while True:
            self._changed.clear()
            wanted = self._only or (await load_wanted_symbols(config) | self._added)
            if wanted != running:
                before = running or set()
                _log.info("collecting symbols", now=len(wanted), new=len(wanted - before), gone=len(before - wanted))
                if not wanted:
                    _log.warning("no symbols in the database yet; waiting for some: `fullon-ohlcv symbols add`")
                await apply(wanted)
                running = wanted
            _log.debug("the database was asked for symbols", wanted=len(wanted), collected=len(self._collected))
            self._reconciled.set()
            await self._wait(self._changed, config.collection_interval)
            if self._changed.is_set():
                await asyncio.sleep(DEBOUNCE_S)

    async def _apply(
        self,
        runtime: Runtime,
        wanted: set[WantedSymbol],
        batcher: GlobalTradeBatcher,
        watch: MarketWatch,
    ) -> None:
        runtime.board.want(wanted)
        collected = await self._prepare(runtime, wanted)
        for one in self._collected - collected:
            batcher.unregister_symbol(one)
        for one in collected:
            batcher.register_symbol(one)
        refused = {one.exchange: why for one in wanted if (why := self._refused.get(one.exchange))}
        await watch.want(collected | {one for one in wanted if one.exchange in refused}, refused)
        self._collected = collected

    async def _prepare(self, runtime: Runtime, wanted: set[WantedSymbol]) -> set[WantedSymbol]:
        """Return what can be collected, with the views of new symbols created; say of the rest why not, once."""
        refusals = {name: await self._refusal_of(runtime, name) for name in {one.exchange for one in wanted}}
        collected: set[WantedSymbol] = set()
        for one in sorted(wanted):
            refusal = refusals[one.exchange]
            if not refusal:
                exchange = await runtime.exchanges.get(one.exchange)
                from_trades = exchange.traits.candles_from_trades
                runtime.board.set_kind(one.exchange, one.symbol, "trades" if from_trades else "candles")
                if one not in self._collected:
                    refusal = await self._create_views(runtime, one)
            if refusal:
                runtime.board.set_problem(one.exchange, one.symbol, refusal)
            else:
                collected.add(one)
        # Here, so that what is wanted from now on is so although its exchange may be away for long.
        await find_starts(runtime, collected, "candles1m")
        return collected

    async def _refusal_of(self, runtime: Runtime, name: str) -> str:
        """Return why nothing can be collected from a venue; empty where it can."""
        try:
            refusal = (await runtime.exchanges.get(name)).traits.closed_reason or ""
        except ExchangeError as error:
            refusal = str(error)
        if refusal and self._refused.get(name) != refusal:
            _log.error("exchange not collected", exchange=name, why=refusal)
        self._refused[name] = refusal
        return refusal

    async def _create_views(self, runtime: Runtime, one: WantedSymbol) -> str:
        """Create the documented views of a symbol; return why that cannot be, empty where it could."""
        try:
            await runtime.store.init_symbol(one.exchange, one.symbol, main="candles")
        except TransientStorageError:
            raise
        except (StorageError, ValueError) as error:
            _log.error("symbol not collected", exchange=one.exchange, symbol=one.symbol, why=str(error))
            return str(error)
        return ""

    async def _listen(self) -> None:
        """Hear of changes in the database as they are committed.

        Last of all: where the server has few connections left, what collects needs them more.
        """
        await self._reconciled.wait()
        async with listen() as changes:
            self._changed.set()
            async for _ in changes:
                self._changed.set()

    @staticmethod
    async def _wait(event: asyncio.Event, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass


async def _refuse_wrong_login(runtime: Runtime) -> None:
    """Ask whether Redis takes what it is called with; one that is merely away is not waited for: candles need none.

    Raises:
        CacheError: it refuses us; names the variable.
    """
    try:
        await runtime.process_cache.ping()
    except CacheError as error:
        if not error.retryable:
            raise


@asynccontextmanager
async def _storing(batcher: GlobalTradeBatcher) -> AsyncIterator[None]:
    await batcher.start_batch_processing()
    try:
        yield
    finally:
        await batcher.stop_batch_processing()


def _by_name(
    parts: dict[str, Callable[[], Coroutine[Any, Any, None]]],
) -> Callable[[str], Coroutine[Any, Any, None]]:
    async def work(name: str) -> None:
        await parts[name]()

    return work


async def serve(
    console: Console | None = None, *, servers: EmbeddedServers | None = None, duration_s: float | None = None
) -> None:
    """Run a daemon until SIGTERM, SIGINT, SIGHUP or `duration_s`; a second SIGTERM or SIGINT ends it at once.

    A terminal that goes away sends SIGHUP twice, the kernel's and the shell's: that is one request.
    """
    daemon = OhlcvServiceDaemon(console=console, servers=servers)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def on_signal() -> None:
        if daemon._stop.is_set() and task is not None:
            task.cancel()
        daemon.stop()

    def on_hangup() -> None:
        leave_dead_terminal()
        daemon.stop()

    loop.add_signal_handler(signal.SIGINT, on_signal)
    for number in not_ignored():
        loop.add_signal_handler(number, on_hangup if number is signal.SIGHUP else on_signal)
    if duration_s is not None:
        loop.call_later(duration_s, daemon.stop)
    try:
        await daemon.run()
    except asyncio.CancelledError:
        _log.warning("stopped at once; what was not written is a gap for history to fill")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; the console script `fullon-ohlcv-service`.

    Returns 0 after an orderly stop, 1 with one sentence on standard error when it cannot work, 130 where Ctrl-C came
    before there was anything to stop.
    """
    parser = argparse.ArgumentParser(
        prog="fullon-ohlcv-service",
        description="Collect every minute of every symbol in the database. Settings are environment variables; "
        "see .env.example.",
    )
    parser.add_argument(
        "--env-file", type=Path, default=Path(".env"), help="read variables from this file (default: .env)"
    )
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="stop after this long")
    options = parser.parse_args(arguments)
    try:
        load_env_file(options.env_file)
        OhlcvServiceConfig.from_env()
        with stopping_in_order():
            console = take_terminal()
            with embedded_servers(console) as servers:
                run(serve(console, servers=servers, duration_s=options.duration))
    except (ServiceError, EmbeddedError, OrmError, StorageError, CacheError, ValueError) as error:
        print(f"fullon-ohlcv-service: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def take_terminal() -> Console | None:
    """Return a console for the table if standard output is a terminal; the log then leaves the console for a file."""
    configure_logger()
    console = Console()
    if not console.is_terminal:
        return None
    keep_log()
    configure_logger(console=False)
    return console


@contextmanager
def embedded_servers(console: Console | None) -> Iterator[EmbeddedServers | None]:
    """Have embedded servers in place of those that the environment does not name, and name them there; None if it does.

    While one of them loads or recovers, that is logged, shown on `console`, and systemd is asked for more time.
    """
    missing = missing_servers()
    if not missing:
        yield None
        return
    manager = ServiceManager.from_env()

    def report(sentence: str) -> None:
        _log.info(sentence)
        if console is not None:
            console.print(sentence, markup=False, highlight=False)
        if manager is not None:
            manager.tell(STATUS=sentence, EXTEND_TIMEOUT_USEC=START_EXTENSION_S * 1_000_000)

    with start_servers(postgres="postgres" in missing, redis="redis" in missing, report=report) as servers:
        os.environ.update(servers.environment())
        yield servers


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on uvloop; what comes after is the end, and no signal cuts it short."""
    with uninterrupted_end(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    sys.exit(main())
