"""`doctor` shows which way each exchange is reached, and never a password."""

from pathlib import Path

import pytest
from local_proxies import PASSWORD, microsocks
from odd_exchanges import OddExchange, kraken

from fullon_exchange.clock import Clock
from fullon_ohlcv_service.commands.checks import Check, Verdict, _check_exchange


async def checks(name: str) -> dict[str, Check]:
    return {check.name: check async for check in _check_exchange(name, set())}


async def test_doctor_shows_the_way_to_an_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    async with (
        OddExchange("kraken", kraken.answers(clock), stream=kraken.stream(clock)) as odd,
        microsocks(tmp_path, credentials=True) as proxy,
    ):
        monkeypatch.setenv(odd.variable, odd.origin)
        assert (await checks("kraken"))["kraken network"].found == "REST and WebSocket direct"
        monkeypatch.setenv("FULLON_KRAKEN_PROXY", proxy.url)
        found = await checks("kraken")
        way = f"REST and WebSocket through socks5://127.0.0.1:{proxy.port} (FULLON_KRAKEN_PROXY)"
        assert found["kraken network"].found == f"{way} with a name and a password"
        assert found["kraken"].verdict is Verdict.WELL
        monkeypatch.setenv("FULLON_KRAKEN_PROXY", proxy.url.replace(PASSWORD, "wr0ng"))
        found = await checks("kraken")
        assert found["kraken"].verdict is Verdict.FAILED
        assert "refuses" in found["kraken"].found
        assert not any("wr0ng" in check.found + check.remedy for check in found.values())


async def test_a_proxy_that_cannot_be_used_is_a_row_of_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_PROXY", "ftp://me:hidden@proxy:1")
    check = (await checks("kraken"))["kraken"]
    assert check.verdict is Verdict.FAILED
    assert "FULLON_KRAKEN_PROXY names no proxy" in check.found
    assert "hidden" not in check.found
