"""Whatever a person gets wrong is answered with one sentence and exit code 2: what, and what is right."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_process import run_cli

from fullon_ohlcv_service.cli import app, load_command, main
from fullon_simulator import SimulatedMarket

REVERSED = ("--from", "2026-11-20", "--to", "2026-11-19")
NO_SERVER = {"DB_HOST": "127.0.0.1", "DB_PORT": "9", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "9"}
CALLS: dict[str, tuple[str, ...]] = {
    "init": ("--yes", "kraken:BTC/USD"),
    "run": (),
    "demo": (),
    "status": (),
    "gaps": ("BTC/USD",),
    "coverage": ("BTC/USD",),
    "candles": ("BTC/USD",),
    "export": ("BTC/USD", "x.parquet"),
    "verify": ("BTC/USD",),
    "repair": ("BTC/USD",),
    "revisions": ("BTC/USD",),
    "doctor": (),
    "logs": (),
    "symbols list": (),
    "symbols add": ("kraken:BTC/USD",),
    "symbols remove": ("kraken:BTC/USD",),
    "symbols set": ("kraken:BTC/USD", "--backtest", "3"),
    "exchanges list": (),
    "exchanges add": ("kraken",),
    "exchanges remove": ("kraken",),
    "database use-timescale": (),
}
"""Every command, called as it should be."""
WITHOUT_DATABASE = {
    "run": "waits for its servers",
    "demo": "brings its own",
    "doctor": "says it among its checks",
    "logs": "reads a file",
}


def commands_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command of the program by its path: `symbols add`."""
    for name, one in getattr(command, "commands", {}).items():
        loaded = load_command(name) if not path else one
        if hasattr(loaded, "commands"):
            yield from commands_of(loaded, (*path, name))
        else:
            yield " ".join((*path, name)), loaded


COMMANDS = dict(commands_of(typer.main.get_command(app)))


def calls_with(*parameters: str) -> list[tuple[str, ...]]:
    """The calls of the commands that have one of these parameters."""
    return [
        (*path.split(), *CALLS[path])
        for path, command in COMMANDS.items()
        if {one.name for one in command.params} & set(parameters)
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


def test_no_command_is_left_out_here() -> None:
    assert CALLS.keys() == COMMANDS.keys()


async def test_every_command_refuses_an_option_it_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    for path in COMMANDS:
        sentence = await refused(capsys, *path.split(), "--colour")
        assert "--colour" in sentence
        assert f"fullon-ohlcv {path} --help" in sentence


async def test_every_command_refuses_an_environment_file_that_cannot_be_read(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "folder").mkdir()
    for path, arguments in CALLS.items():
        assert "cannot read folder" in await refused(capsys, "--env-file", "folder", *path.split(), *arguments)


async def test_every_command_refuses_unknown_symbols_and_exchanges_reversed_times_and_impossible_files(
    seeded: SimulatedMarket, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_symbols = calls_with("symbol", "symbols", "names")
    assert len(of_symbols) >= 11
    for call in of_symbols:
        strange = [one.replace("kraken:", "").replace("BTC/USD", "kraken:BTC/USX") for one in call]
        sentence = await refused(capsys, *strange)
        assert "BTC/USX" in sentence, call
        assert "did you mean" in sentence, call

    of_times = calls_with("start", "end")
    assert len(of_times) >= 6
    for call in of_times:
        sentence = await refused(capsys, *call, *REVERSED)
        assert "--from 2026-11-20 00:00 is not before --to 2026-11-19 00:00" in sentence, call
        assert "is no time" in await refused(capsys, *call, "--from", "soon"), call

    for call in calls_with("exchange", "exchanges"):
        plain = [one.replace("kraken:", "") for one in call]
        assert "krakn" in await refused(capsys, *plain, "-x", "krakn"), call

    of_files = [
        ("export", "BTC/USD", "nowhere/x.csv"),
        ("candles", "BTC/USD", "--png", "nowhere/x.png"),
        ("coverage", "BTC/USD", "--png", "nowhere/x.png"),
        ("logs", "--file", "nowhere/x.log"),
        ("init", "--yes", "--write", "nowhere/.env"),
    ]
    assert {call[0] for call in of_files} == {call[0] for call in calls_with("file", "png", "write")}
    for call in of_files:
        assert "nowhere" in await refused(capsys, *call), call
    assert not (directory / "nowhere").exists()


async def test_an_exchange_that_does_not_answer_while_all_is_set_up_is_said_with_what_to_do(
    seeded: SimulatedMarket, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLON_KRAKEN_ORIGIN", "http://127.0.0.1:9")
    sentence = await refused(capsys, "init", *CALLS["init"])
    assert "no answer" in sentence
    assert sentence.endswith("what is set up stays: run this again when the exchange answers\n")


async def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("symbols",), ("exchanges",)):
        assert await asyncio.to_thread(main, arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("Usage: fullon-ohlcv")
        assert "\nCommands:\n" in err


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_a_command_has_examples_of_it(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main((*path.split(), "--help")) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("  Examples:")
    assert all(line.startswith("    fullon-ohlcv ") for line in lines[begin + 1 : lines.index("", begin)])
    assert any(path in line for line in lines[begin:])


async def test_every_command_says_what_is_wrong(
    seeded: SimulatedMarket, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "there.csv").write_text("")
    (directory / "unreadable").mkdir()
    cases: list[tuple[tuple[str, ...], str]] = [
        (("stauts",), "stauts"),
        (("status", "--colour"), "--colour"),
        (("status", "--watch", "--interval", "0"), "0.2"),
        (("coverage", "DOGE/JPY"), "is not collected"),
        (("coverage", "--per", "1M"), "--per"),
        (("coverage", "--per", "soon"), "15m"),
        (("candles", "kraken:BTC/USD", "--tf", "7x"), "'7x'"),
        (("candles", "kraken:BTC/USD", "--from", "yesterday"), "2026-11-20T12:30"),
        (("export", "kraken:BTC/USD", "x.xlsx"), ".parquet or .csv"),
        (("export", "kraken:BTC/USD", "there.csv"), "--force"),
        (("export", "kraken:BTC/USD"), "FILE"),
        (("verify", "kraken:XRP/USD"), "is not collected"),
        (("repair", "kraken:BTC"), "kraken:BTC/USD"),
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


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in WITHOUT_DATABASE])
async def test_without_a_database_every_command_says_so(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in NO_SERVER.items():
        monkeypatch.setenv(name, value)
    sentence = await refused(capsys, *path.split(), *CALLS[path])
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
