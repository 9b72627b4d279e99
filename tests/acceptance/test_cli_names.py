"""Symbols as people type them: every command reads what is unambiguous and says how; else it suggests by meaning."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cli_process import Done

from fullon_ohlcv_service.cli import main
from fullon_simulator import SimulatedMarket

Ask = Callable[..., Awaitable[Done]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    async def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = await asyncio.to_thread(main, arguments)
        return Done(code, *capsys.readouterr())

    return run


async def test_what_is_unambiguous_is_read_and_reported_beside_the_answer(seeded: SimulatedMarket, ask: Ask) -> None:
    assert (await ask("symbols", "remove", "kraken:BTC/USD")).code == 0
    for typed in ("XBT/USD", "btc/usd", "BTCUSD", "BTC-USD", "xbtusd", "XXBTZUSD"):
        added = await ask("symbols", "add", f"kraken:{typed}")
        assert added.code == 0, added.err
        assert f"{typed}: read as BTC/USD" in added.err
    for typed in ("xbt/usd", "kraken:BTCUSD", "BTC-USD"):
        name = typed.removeprefix("kraken:")
        for command in (("candles", typed, "--json"), ("coverage", typed, "--json"), ("gaps", typed, "--json")):
            answer = await ask(*command)
            assert answer.err == f"{name}: read as BTC/USD\n", command
            assert answer.json
    changed = await ask("symbols", "set", "xbtusd", "--backtest", "3")
    assert "kraken:BTC/USD: 3 days" in changed.out
    assert "kraken:BTC/USD" in (await ask("symbols", "set", "kraken:xbt/*", "--backtest", "2")).out
    assert "removed kraken:BTC/USD" in (await ask("symbols", "remove", "Btc_Usd")).out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("symbols", "add", "kraken:XBT/GBP"), "kraken does not list XBT/GBP; did you mean BTC/USD?"),
        (("symbols", "add", "kraken:XMR/USD"), "there is no XMR; in USD there is ADA/USD, BTC/USD"),
        (
            ("symbols", "add", "binance:BTC/USDT:USDT"),
            "binance does not list BTC/USDT:USDT; that is a USD-M future: `binanceusdm:BTC/USDT:USDT`",
        ),
        (("symbols", "add", "binance:BTC/USD:BTC"), "that is a COIN-M future: `binancecoinm:BTC/USD:BTC`"),
        (("symbols", "add", "kraken:BTC/USD:USD"), "that is a future: `krakenfutures:BTC/USD:USD`"),
        (
            ("candles", "binance:BTC/USDT:USDT"),
            "binance:BTC/USDT:USDT is not collected; that is a USD-M future: `binanceusdm:BTC/USDT:USDT`",
        ),
        (("symbols", "remove", "binance:BTC/USDT:USDT"), "that is a USD-M future: `binanceusdm:BTC/USDT:USDT`"),
        (("candles", "XBT/GBP"), "XBT/GBP is not collected; did you mean kraken:BTC/USD or binance:BTC/USDT?"),
    ],
)
async def test_what_cannot_be_read_is_answered_by_its_meaning(
    arguments: tuple[str, ...], sentence: str, seeded: SimulatedMarket, ask: Ask
) -> None:
    answer = await ask(*arguments)
    assert answer.code == 2
    assert sentence in answer.sentence
