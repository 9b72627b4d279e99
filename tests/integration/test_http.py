"""What a running daemon answers over HTTP: metrics that Prometheus can read, and whether its data are fresh."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from alerting import names_in, read_rules
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support import eventually, running_daemon

from fullon_exchange.clock import Clock
from fullon_ohlcv_service import metrics
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_simulator import SimulatedMarket

ROOT = Path(__file__).parents[2]
ALL = {("kraken", "BTC/USD"), ("kraken", "ADA/USD"), ("binance", "BTC/USDT"), ("binance", "ADA/USDT")}
PER_SYMBOL = (
    "fullon_ohlcv_stale",
    "fullon_ohlcv_lag_seconds",
    "fullon_ohlcv_last_closed_minute_timestamp_seconds",
    "fullon_ohlcv_coverage_ratio",
    "fullon_ohlcv_gap_seconds",
    "fullon_ohlcv_rows",
    "fullon_ohlcv_corrections",
    "fullon_ohlcv_suspect_minutes",
)


@pytest.fixture(autouse=True)
def _watched(unwatched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Served on a free port, of a board that is refreshed twice a second."""
    monkeypatch.setenv("OHLCV_HTTP_BIND", "127.0.0.1:0")
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.5")


async def ask(daemon: OhlcvServiceDaemon, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body; status 0 while it does not listen."""
    server = daemon._http
    if server is None or server.address is None:
        return 0, "", "{}"
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://{server.address}{path}", headers=headers) as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def ready(daemon: OhlcvServiceDaemon) -> tuple[int, dict[str, Any]]:
    status, _, body = await ask(daemon, "/ready")
    return status, json.loads(body)


async def is_ready(daemon: OhlcvServiceDaemon) -> bool:
    return (await ready(daemon))[0] == 200


async def scrape(daemon: OhlcvServiceDaemon) -> dict[str, Metric]:
    status, content_type, body = await ask(daemon, "/metrics")
    assert (status, content_type.split(";")[0]) == (200, "text/plain")
    return {family.name: family for family in parse_text(body)}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels[name] for name in labels): sample.value for sample in family.samples}


async def test_the_official_parsers_read_every_metric_of_every_symbol_and_venue(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_daemon() as daemon:
        await eventually(lambda: is_ready(daemon), "everything fresh")

        async def heard() -> bool:
            return values((await scrape(daemon))["fullon_ohlcv_event_lag_seconds"], "exchange", "symbol").keys() >= {
                ("kraken", "BTC/USD"),
                ("binance", "BTC/USDT"),
            }

        await eventually(heard, "the busy streams have told something")
        found = await scrape(daemon)
        for name in PER_SYMBOL:
            assert values(found[name], "exchange", "symbol").keys() == ALL, name
        for newest_s in values(found["fullon_ohlcv_last_closed_minute_timestamp_seconds"], "symbol").values():
            assert newest_s % 60 == 0
            assert 0 <= clock.now_us() / 1e6 - newest_s < 60 + 300
        assert all(0 <= lag_s <= 300 for lag_s in values(found["fullon_ohlcv_lag_seconds"], "symbol").values())
        assert all(0 < ratio <= 1 for ratio in values(found["fullon_ohlcv_coverage_ratio"], "symbol").values())
        assert all(rows > 0 for rows in _totals(found["fullon_ohlcv_rows"]))
        assert values(found["fullon_ohlcv_exchange_reachable"], "exchange") == {("kraken",): 1, ("binance",): 1}
        assert sum(values(found["fullon_ohlcv_symbols"], "exchange", "phase").values()) == len(ALL)
        buffers = values(found["fullon_ohlcv_buffer_fill_ratio"], "exchange", "channel", "buffer")
        assert buffers.keys() == {
            ("kraken", "trades", "received"),
            ("kraken", "trades", "pending"),
            ("kraken", "trades", "redis"),
            ("binance", "candles1m", "received"),
            ("binance", "candles1m", "pending"),
        }
        assert all(0 <= fill < 0.5 for fill in buffers.values())
        streams = {("kraken", "trades"), ("binance", "candles1m")}
        for name in ("reconnects", "replaced_connections", "resubscribes", "given_up_rows"):
            assert {key[:2] for key in values(found[f"fullon_ohlcv_{name}"], "exchange", "channel")} == streams, name
        assert set(_totals(found["fullon_ohlcv_given_up_rows"])) == {0}
        counted = {sample.labels["exchange"] for sample in found["fullon_ohlcv_flush_seconds"].samples if sample.value}
        assert counted == {"kraken", "binance"}
        assert values(found["fullon_ohlcv_rate_budget_used_ratio"], "exchange").keys() == {("kraken",), ("binance",)}
        assert all(weight > 0 for weight in _totals(found["fullon_ohlcv_rate_budget_weight"]))
        for name, least in (
            ("fullon_ohlcv_tasks", 10),
            ("process_resident_memory_bytes", 20_000_000),
            ("process_open_fds", 10),
        ):
            assert found[name].samples[0].value > least, name
        assert [found[f"fullon_ohlcv_{name}"].samples[0].value for name in ("collecting", "ready")] == [1, 1]
        names_that_rules_dashboard_and_manual_use_are_exported(found)
        status, content_type, body = await ask(daemon, "/metrics", Accept="application/openmetrics-text")
        assert (status, content_type.split(";")[0]) == (200, "application/openmetrics-text")
        # The text format has the time at which a histogram was made as a family of its own.
        assert {family.name for family in parse_openmetrics(body)} == found.keys() - {
            "fullon_ohlcv_flush_seconds_created"
        }
        await status_tells_every_symbol_as_json(daemon)
        await beyond_the_cap_the_symbols_of_a_venue_share_one_series_each(daemon, monkeypatch)


def names_that_rules_dashboard_and_manual_use_are_exported(found: dict[str, Metric]) -> None:
    """Rules and dashboard may use any sample; the manual lists every family, and no other."""
    exported = {"up", *(sample for name, family in found.items() for sample in _samples_of(name, family))}
    panels = json.loads((ROOT / "deploy" / "grafana" / "fullon-ohlcv.json").read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    used = {name for text in (*shown, *(rule.expression for rule in read_rules())) for name in names_in(text)}
    assert used <= exported, used - exported
    manual = (ROOT / "docs" / "operations.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", manual.partition("## Metrics")[2], flags=re.MULTILINE))
    told = {f"{name}_total" if family.type == "counter" else name for name, family in found.items()}
    assert listed == told - {"fullon_ohlcv_flush_seconds_created"}


def _samples_of(name: str, family: Metric) -> tuple[str, ...]:
    """The names of a family's samples, be there any now or not."""
    match family.type:
        case "counter":
            return (f"{name}_total",)
        case "histogram":
            return (f"{name}_bucket", f"{name}_sum", f"{name}_count")
        case _:
            return (name,)


async def status_tells_every_symbol_as_json(daemon: OhlcvServiceDaemon) -> None:
    status, content_type, body = await ask(daemon, "/status")
    answer = json.loads(body)
    assert (status, content_type.split(";")[0]) == (200, "application/json")
    assert {(one["exchange"], one["symbol"]) for one in answer["symbols"]} == ALL
    assert all(one["lag_s"] <= 300 and 0 < one["covered"] <= 1 for one in answer["symbols"])
    assert [(one["exchange"], one["symbols"]) for one in answer["exchanges"]] == [("binance", 2), ("kraken", 2)]
    assert answer["ready"]
    assert answer["daemon"]["collecting"]


async def beyond_the_cap_the_symbols_of_a_venue_share_one_series_each(
    daemon: OhlcvServiceDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SYMBOLS_MAX", 1)
    found = await scrape(daemon)
    assert daemon._runtime is not None
    rows = {(line.wanted.exchange, line.wanted.symbol): line.rows for line in daemon._runtime.board.lines()}
    shown = {("binance", "ADA/USDT"), ("binance", "other"), ("kraken", "other")}
    for name in PER_SYMBOL:
        assert values(found[name], "exchange", "symbol").keys() == shown, name
    assert found["fullon_ohlcv_folded_symbols"].samples[0].value == 3
    total = values(found["fullon_ohlcv_rows"], "exchange", "symbol")["kraken", "other"]
    assert 0 < total <= sum(count for (exchange, _), count in rows.items() if exchange == "kraken")


def _totals(family: Metric) -> list[float]:
    return [sample.value for sample in family.samples if sample.name.endswith("_total")]


async def test_a_port_in_use_costs_nothing_but_the_answers_and_is_taken_once_it_is_free(
    seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fullon_ohlcv_service.supervisor.DELAY_MAX_S", 0.5)
    said = ""

    async def is_said() -> bool:
        nonlocal said
        captured = capfd.readouterr()
        said += captured.out + captured.err
        return "cannot listen" in said

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("OHLCV_HTTP_BIND", f"127.0.0.1:{port}")
        async with asyncio.timeout(60), running_daemon() as daemon:
            await eventually(is_said, "why it does not listen")
            await eventually(lambda: _has_rows(daemon), "collecting goes on")
            assert f"cannot listen on 127.0.0.1:{port}: Address already in use; collecting goes on" in said
            assert "OHLCV_HTTP_BIND" in said
            assert "Traceback" not in said
            assert (await ask(daemon, "/live"))[0] == 0
            taken.close()
            await eventually(lambda: _answers(daemon), "the freed port is listened on")


def _has_rows(daemon: OhlcvServiceDaemon) -> bool:
    return daemon._runtime is not None and any(line.rows for line in daemon._runtime.board.lines())


async def _answers(daemon: OhlcvServiceDaemon) -> bool:
    return (await ask(daemon, "/live"))[0] == 200


async def test_while_the_database_is_away_it_is_live_and_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("DB_PORT", "1")
    async with running_daemon() as daemon:
        await eventually(lambda: _answers(daemon), "it is live")

        async def says_why() -> bool:
            status, answer = await ready(daemon)
            return status == 503 and "127.0.0.1" in answer["reasons"][0]["reason"]

        await eventually(says_why, "it says what it waits for")
        found = await scrape(daemon)
        assert found["fullon_ohlcv_collecting"].samples[0].value == 0
        assert json.loads((await ask(daemon, "/status"))[2])["daemon"]["doing"] == "waiting"
    monkeypatch.setenv("OHLCV_HTTP_BIND", "")
    async with running_daemon() as daemon:
        await eventually(lambda: daemon._condition.doing == "waiting", "it waits")
        assert daemon._http is None
