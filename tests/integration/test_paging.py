"""What a real Alertmanager with our configuration sends of an outage: one page, not one for each symbol."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support import eventually

CONFIGURATION = Path(__file__).parents[2] / "deploy/prometheus/alertmanager.yml"
PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
QUIET_S = 3.0
"""Nothing comes any more for this long: three times what a group waits here."""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Alertmanager is not installed (prometheus-alertmanager)")


class Paging:
    """An Alertmanager whose pager is this test; what waits for minutes waits for a second."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.pages: list[dict[str, Any]] = []

    async def raise_alerts(self, *alerts: dict[str, str]) -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{self._url}/api/v2/alerts", json=[{"labels": labels} for labels in alerts]) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def settle(self) -> list[tuple[str, int]]:
        """Return of every page the alert it is about, and how many it stands for, once no more come."""
        await eventually(lambda: bool(self.pages), "a page")
        before = 0
        while before < len(self.pages):
            before = len(self.pages)
            await asyncio.sleep(QUIET_S)
        return [
            (page["groupLabels"].get("alertname", ""), len(page["alerts"]) + page["truncatedAlerts"])
            for page in self.pages
        ]


@pytest.fixture
async def paging(tmp_path: Path) -> AsyncIterator[Paging]:
    case = Paging("")

    async def take(request: web.Request) -> web.Response:
        case.pages.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pager = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    # Debian's Alertmanager is too old for url_file.
    text = CONFIGURATION.read_text().replace("url_file: pager.url", f"url: {pager}")
    (tmp_path / "alertmanager.yml").write_text(re.sub(r"group_wait: \d+m", "group_wait: 1s", text))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    case._url = f"http://{address}"
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: is_ready(case._url), "Alertmanager answers")
        yield case
    finally:
        process.kill()
        await process.wait()
        await runner.cleanup()


async def is_ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as client, client.get(f"{url}/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


def alert(name: str, severity: str, **labels: str) -> dict[str, str]:
    return {"alertname": f"Ohlcv{name}", "severity": severity, "job": "fullon-ohlcv", **labels}


def stalled(exchange: str, symbols: int) -> list[dict[str, str]]:
    return [alert("SymbolStalled", "critical", exchange=exchange, symbol=f"S{n}/USD") for n in range(symbols)]


async def test_two_thousand_stalled_symbols_of_an_exchange_are_one_page(paging: Paging) -> None:
    await paging.raise_alerts(*stalled("binance", 2_000), alert("NotReady", "warning"))
    assert await paging.settle() == [("OhlcvSymbolStalled", 2_000)]


async def test_a_daemon_that_waits_for_its_database_is_one_page(paging: Paging) -> None:
    await paging.raise_alerts(
        alert("NotCollecting", "critical"),
        *stalled("binance", 500),
        *stalled("kraken", 500),
        alert("NotReady", "warning"),
    )
    assert await paging.settle() == [("OhlcvNotCollecting", 1)]


async def test_an_exchange_that_cannot_be_reached_is_one_page_and_another_is_another(paging: Paging) -> None:
    await paging.raise_alerts(
        alert("ExchangeUnreachable", "warning", exchange="binance"), *stalled("binance", 500), *stalled("kraken", 3)
    )
    assert sorted(await paging.settle()) == [("", 1), ("OhlcvSymbolStalled", 3)]
