"""What the daemon answers over HTTP, on loopback unless told otherwise.

    /metrics   Prometheus: see `metrics.py`
    /live      200 while the event loop turns, 503 while it lags; nothing about data
    /ready     200 while all data that are due are fresh, else 503 with the reasons
    /status    everything the board knows, as JSON

Nothing that is asked here waits for a database, a cache or an exchange.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fullon_exchange.clock import MINUTE_US
from fullon_log import get_component_logger
from fullon_ohlcv_service.config.settings import Address
from fullon_ohlcv_service.errors import CannotListen
from fullon_ohlcv_service.health import Condition, Doing, describe_health, find_reasons
from fullon_ohlcv_service.metrics import DaemonMetrics
from fullon_ohlcv_service.status import SymbolStatus

PULSE_S = 1.0
LOOP_LAG_MAX_S = 5.0
"""A loop that runs later than this is not well."""
SHUTDOWN_S = 1.0


class Pulse:
    """How late the event loop runs: a task that wants to wake each second, and how late it does."""

    def __init__(self) -> None:
        self._due_s = time.monotonic() + PULSE_S
        self._late_s = 0.0

    def lag_s(self) -> float:
        """Return how late it was last, or is by now."""
        return max(self._late_s, time.monotonic() - self._due_s, 0.0)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._due_s = time.monotonic() + PULSE_S
            await asyncio.sleep(PULSE_S)
            self._late_s = time.monotonic() - self._due_s


class HttpServer:
    """Serves one daemon's condition at one address."""

    def __init__(self, bind: Address, condition: Condition) -> None:
        self._bind = bind
        self._condition = condition
        self._pulse = Pulse()
        self._since = datetime.now(UTC)
        self._log = get_component_logger("fullon.ohlcv.daemon")
        self.metrics = DaemonMetrics(condition, self._pulse.lag_s)
        self.address: Address | None = None
        """Where it listens; None while it does not."""

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            CannotListen: the address is in use, not ours or not allowed; may be tried again.
        """
        app = web.Application()
        routes = {"/metrics": self._metrics, "/live": self._live, "/ready": self._ready, "/status": self._status}
        app.add_routes([web.get(path, handler) for path, handler in routes.items()])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._bind.host, self._bind.port)
            try:
                await site.start()
            except OSError as error:
                # asyncio repeats the address; what getaddrinfo says has a negative number.
                why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
                raise CannotListen(
                    f"cannot listen on {self._bind}: {why}; collecting goes on without /metrics, "
                    "/live, /ready and /status; free the port, or set OHLCV_HTTP_BIND to another or to nothing"
                ) from error
            host, port = runner.addresses[0][:2]
            self.address = Address(host, port)
            self._log.info("serving /metrics, /live, /ready and /status", url=f"http://{self.address}")
            await self._pulse.run()
        finally:
            self.address = None
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        registry = CollectorRegistry()
        registry.register(_Collected(self.metrics.collect()))
        # Thousands of symbols take long to print; what they say has been read by now.
        body = await asyncio.to_thread(encode, registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _live(self, request: web.Request) -> web.Response:
        lag_s = self._pulse.lag_s()
        is_live = lag_s <= LOOP_LAG_MAX_S
        return _json({"live": is_live, "loop_lag_s": round(lag_s, 3)}, 200 if is_live else 503)

    async def _ready(self, request: web.Request) -> web.Response:
        disk = self._condition.disk
        warnings = [disk.problem] if disk is not None and disk.problem and not disk.is_short else []
        answer = describe_health(find_reasons(self._condition)) | {"warnings": warnings}
        return _json(answer, 200 if answer["ready"] else 503)

    async def _status(self, request: web.Request) -> web.Response:
        condition = self._condition
        collecting = condition.collecting
        answer: dict[str, Any] = {
            "ready": not find_reasons(condition),
            "daemon": {
                "doing": condition.doing.value,
                "why": condition.why,
                "collecting": condition.doing is Doing.COLLECTING,
                "pid": os.getpid(),
                "since": self._since.isoformat(timespec="seconds"),
                "version": version("fullon-ohlcv-service"),
            },
            "now": None,
            "exchanges": [],
            "symbols": [],
        }
        if collecting is not None:
            board = collecting.runtime.board
            now_us = collecting.runtime.clock.now_us()
            lines = board.lines()
            answer["now"] = _iso(now_us)
            answer["exchanges"] = [
                {
                    "exchange": name,
                    "symbols": sum(line.wanted.exchange == name for line in lines),
                    "problem": board.venue_problems.get(name, ""),
                }
                for name in sorted({line.wanted.exchange for line in lines})
            ]
            answer["symbols"] = [_symbol(line, board.now_us(line.wanted.exchange)) for line in lines]
        return _json(answer)


class _Collected(Collector):
    """Families that have been collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def _json(answer: dict[str, Any], status: int = 200) -> web.Response:
    text = json.dumps(answer, allow_nan=False, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


def _symbol(line: SymbolStatus, now_us: int) -> dict[str, Any]:
    lag_s = line.lag_at_s(now_us)
    left_us = None if line.deadline_us is None else max(0, line.deadline_us - now_us)
    return {
        "exchange": line.wanted.exchange,
        "symbol": line.wanted.symbol,
        "phase": line.phase.value,
        "covered": None if line.covered_ratio is None else round(line.covered_ratio, 6),
        "missing_minutes": line.missing_us // MINUTE_US,
        "minutes_until_unrecoverable": None if left_us is None else left_us // MINUTE_US,
        "last_candle": _iso(line.last_candle_us),
        "lag_s": None if lag_s is None else round(lag_s, 1),
        "rows": line.rows,
        "rows_s": round(line.rate_rows_s, 1),
        "eta_s": None if line.eta_s is None else round(line.eta_s),
        "problem": line.problem,
    }


def _iso(timestamp_us: int | None) -> str | None:
    if timestamp_us is None:
        return None
    return datetime.fromtimestamp(timestamp_us / 1e6, UTC).isoformat(timespec="seconds")
