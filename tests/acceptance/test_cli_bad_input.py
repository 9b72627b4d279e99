"""Whatever a person gets wrong is answered with one sentence and exit code 2: what, and what is right."""

import asyncio
import os
from pathlib import Path

import pytest
from cli_process import run_cli

from fullon_ohlcv_service.cli import main
from fullon_simulator import SimulatedMarket

REVERSED = ("--from", "2026-11-20", "--to", "2026-11-19")
OF_DATABASE = [
    ("status",),
    ("gaps",),
    ("coverage",),
    ("candles", "BTC/USD"),
    ("export", "BTC/USD", "x.parquet"),
    ("verify",),
    ("repair", "BTC/USD"),
    ("revisions", "BTC/USD"),
    ("symbols", "list"),
    ("symbols", "add", "kraken:BTC/USD"),
    ("symbols", "remove", "BTC/USD"),
    ("symbols", "set", "BTC/USD", "--backtest", "3"),
    ("exchanges", "list"),
    ("exchanges", "add", "kraken"),
    ("exchanges", "remove", "kraken"),
    ("init", "--yes"),
]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command in this process; return its one sentence."""
    code = await asyncio.to_thread(main, arguments)
    out, err = capsys.readouterr()
    assert code == 2, f"{arguments}: {code} {out}{err}"
    assert len(err.splitlines()) == 1, f"{arguments}: {err}"
    assert err.startswith("fullon-ohlcv: ")
    return err


async def test_every_command_says_what_is_wrong(
    seeded: SimulatedMarket, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "there.csv").write_text("")
    (directory / "unreadable").mkdir()
    cases: list[tuple[tuple[str, ...], str]] = [
        (("stauts",), "stauts"),
        (("status", "--colour"), "--colour"),
        (("status", "-x", "krakn"), "binance, kraken"),
        (("status", "--watch", "--interval", "0"), "0.2"),
        (("gaps", "kraken:BTC/USDD"), "did you mean"),
        (("coverage", "DOGE/JPY"), "is not collected"),
        (("coverage", *REVERSED), "is not before"),
        (("coverage", "--per", "1M"), "--per"),
        (("coverage", "--per", "soon"), "15m"),
        (("coverage", "--png", "nowhere/x.png"), "nowhere/x.png"),
        (("candles", "BTC/USX"), "did you mean"),
        (("candles", "kraken:BTC/USD", "--tf", "7x"), "'7x'"),
        (("candles", "kraken:BTC/USD", "--from", "yesterday"), "2026-11-20T12:30"),
        (("candles", "kraken:BTC/USD", *REVERSED), "is not before"),
        (("export", "kraken:BTC/USD", "x.xlsx"), ".parquet or .csv"),
        (("export", "kraken:BTC/USD", "there.csv"), "--force"),
        (("export", "kraken:BTC/USD", "nowhere/x.csv"), "nowhere is no directory"),
        (("export", "kraken:BTC/USD", "x.csv", *REVERSED), "is not before"),
        (("export", "kraken:BTC/USD"), "FILE"),
        (("verify", "kraken:XRP/USD"), "is not collected"),
        (("verify", *REVERSED), "is not before"),
        (("repair", "kraken:BTC"), "kraken:BTC/USD"),
        (("repair", "kraken:BTC/USD", *REVERSED), "is not before"),
        (("repair", "kraken:BTC/USD", "--from", "2199-01-01", "--to", "2199-01-02"), "has not happened yet"),
        (("revisions", "kraken:XRP/USD"), "is not collected"),
        (("logs", "--level", "loud"), "WARNING"),
        (("logs", "--file", "nothing.log"), "there is no log at nothing.log"),
        (("logs", "--file", "unreadable"), "unreadable"),
        (("symbols", "add", "kraken:BTC/USDD"), "did you mean BTC/USD"),
        (("symbols", "add", "BTC/USD"), "of which exchange?"),
        (("symbols", "add", "krakn:BTC/USD"), "did you mean kraken"),
        (("symbols", "add", "kraken:*/JPY"), "no symbol like */JPY"),
        (("symbols", "add", "kraken:BTC/USD", "--backtest", "-1"), "0"),
        (("symbols", "remove", "kraken:BTC/EUR"), "is not collected"),
        (("symbols", "remove", "*"), "--yes"),
        (("symbols", "set", "kraken:BTC/USD"), "--backtest DAYS"),
        (("symbols", "list", "-x", "nope"), "nope"),
        (("exchanges", "add", "krakn"), "did you mean kraken"),
        (("exchanges", "remove", "bitmex"), "collected are binance, kraken"),
        (("exchanges", "remove", "kraken"), "--yes"),
        (("init", "--yes", "-x", "krakn"), "did you mean kraken"),
        (("init", "--yes", "--write", "nowhere/.env"), "nowhere/.env"),
        (("--env-file", "nothing.env", "status"), "nothing.env does not exist"),
    ]
    for arguments, hint in cases:
        assert hint in await refused(capsys, *arguments), arguments
    assert not list(directory.glob("x.*"))


async def test_a_glob_is_added_only_after_a_yes(seeded: SimulatedMarket, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ("symbols", "remove", "binance:*", "--yes")) == 0
    capsys.readouterr()
    sentence = await refused(capsys, "symbols", "add", "binance:*/USDT", "-b", "5")
    assert "nothing added; 2 symbols of binance would be; the first back-fill will take about" in sentence
    assert await asyncio.to_thread(main, ("symbols", "list", "-x", "binance", "--json")) == 0
    assert '"symbols": []' in capsys.readouterr().out


@pytest.mark.parametrize("arguments", OF_DATABASE, ids=" ".join)
async def test_without_a_database_every_command_says_so(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"DB_HOST": "127.0.0.1", "DB_PORT": "9", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    sentence = await refused(capsys, *arguments)
    assert "127.0.0.1:9" in sentence
    assert "DB_HOST" in sentence or "is the server running" in sentence


async def test_nothing_set_up_is_said_with_what_does_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DB_HOST", "REDIS_HOST", "CACHE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FULLON_DATA_DIR", os.environ.get("FULLON_DATA_DIR", ""))
    sentence = await refused(capsys, "--data-dir", str(directory / "empty"), "status")
    assert "nothing is set up in" in sentence
    assert "fullon-ohlcv init" in sentence
    assert not (directory / "empty").exists()


async def test_a_process_says_it_the_same_way(directory: Path) -> None:
    (directory / ".env").write_text("DB HOST=x\n")
    done = await run_cli("status")
    assert ".env, line 1" in done.sentence
