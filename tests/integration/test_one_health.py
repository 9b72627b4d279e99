"""`status` of a running daemon gives the answer of its /ready, at every moment, whether HTTP is on or off."""

import asyncio
import json
from typing import Any

import pytest
from support import eventually, running_daemon

from fullon_ohlcv_service.cli import main
from fullon_ohlcv_service.commands.session import open_ledger
from fullon_ohlcv_service.commands.status_of import Report, read_report
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.health import describe_health, find_reasons
from fullon_simulator import SimulatedMarket


def ready(daemon: OhlcvServiceDaemon) -> dict[str, Any]:
    """What /ready answers now."""
    return describe_health(find_reasons(daemon._condition))


async def report() -> Report:
    async with open_ledger() as ledger:
        return await read_report(ledger)


def sick(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["exchange"], one["symbol"]) for one in answer["reasons"]}


@pytest.mark.parametrize("bind", ["", "127.0.0.1:0"])
async def test_with_no_exchange_reachable_status_needs_a_look_as_soon_as_ready_says_no(
    seeded: SimulatedMarket, bind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OHLCV_HTTP_BIND", bind)
    for venue in ("kraken", "binance"):
        seeded.faults.begin("down", venue=venue)
    async with running_daemon() as daemon:

        async def names_every_symbol() -> bool:
            found = await report()
            problems = [line.problem for line in found.lines]
            return all("nothing is stored yet; " in one and "no answer to" in one for one in problems)

        await eventually(names_every_symbol, "status gives the reasons")
        assert daemon._runtime is not None
        board = daemon._runtime.board
        await eventually(lambda: board.age_s < 1, "the ledger is looked at all the same")
        found = await report()
        assert not found.is_well
        answer = ready(daemon)
        assert not answer["ready"]
        assert {(line.exchange, line.symbol) for line in found.lines if not line.is_well} == sick(answer)
        capfd.readouterr()
        assert await asyncio.to_thread(main, ("status", "--json")) == 1
        assert json.loads(capfd.readouterr().out)["well"] is False


async def test_status_turns_with_ready(seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullon_ohlcv_service.daemon.BOARD_REFRESH_S", 0.5)
    async with running_daemon() as daemon:
        await eventually(lambda: ready(daemon)["ready"], "ready")

        async def is_well() -> bool:
            return (await report()).is_well

        await eventually(is_well, "status says so")
        assert daemon._runtime is not None
        daemon._runtime.board.doubt("kraken", "BTC/USD", "trades", "silent for 70 s", 0)
        assert not ready(daemon)["ready"]

        async def is_unwell() -> bool:
            found = await report()
            return [line.symbol for line in found.lines if not line.is_well] == ["BTC/USD"] and not found.is_well

        await eventually(is_unwell, "status says so too")
        daemon._runtime.board.trust("kraken", "BTC/USD", "trades")
        await eventually(is_well, "well again")
        # What is refused is not due: both say so, and status names it all the same.
        daemon._runtime.board.set_problem("kraken", "ADA/USD", "kraken refused trades")
        assert ready(daemon)["ready"]
        assert (await report()).is_well
