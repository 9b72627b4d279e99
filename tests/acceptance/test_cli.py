"""What commands answer to programs, against the market's truth; `test_cli_terminal.py` has what people see."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest
from cli_process import COMMAND, Done, run_cli
from support import eventually

from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_ohlcv.records import CandleWrite
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv_service.cli import main
from fullon_ohlcv_service.history import DAY_US
from fullon_orm import DatabaseContext
from fullon_orm.models import Symbol
from fullon_simulator import SimulatedMarket

HOUR_US = 60 * MINUTE_US
Ask = Callable[..., Awaitable[Done]]
SYMBOLS = [("binance", "ADA/USDT"), ("binance", "BTC/USDT"), ("kraken", "BTC/USD")]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: no `.env` but their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_FILE_PATH", str(tmp_path / "service.log"))
    return tmp_path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in this process, which has imported everything already."""

    async def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = await asyncio.to_thread(main, arguments)
        return Done(code, *capsys.readouterr())

    return run


@asynccontextmanager
async def collecting() -> AsyncIterator[None]:
    """The daemon as `fullon-ohlcv run` starts it; SIGTERM must end it well."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "run", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def wait_until_complete(store: TimeseriesStore, clock: Clock) -> None:
    """Wait until everything up to some minutes ago is accounted for."""

    async def is_complete() -> bool:
        end_us = floor_minute_us(clock.now_us()) - 4 * MINUTE_US
        wanted = {await store.series(*one, "candles1m"): (end_us - DAY_US + HOUR_US, end_us) for one in SYMBOLS}
        return not any((await store.gaps(wanted)).values())

    await eventually(is_complete, "history and live have caught up")


def iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()


@pytest.mark.timeout(400)
async def test_from_init_to_an_exported_file_that_equals_the_market(
    market: SimulatedMarket, clock: Clock, directory: Path, ask: Ask
) -> None:
    env_file = directory / "operator.env"
    done = await ask("init", "--yes", "--write", str(env_file), "-b", "1", "kraken:BTC/USD", "binance:*/USDT")
    assert done.code == 0, done.err
    assert "added 2 symbols with 1 days of history; the first back-fill will take about" in done.out
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert f"DB_HOST={os.environ['DB_HOST']}" in env_file.read_text()

    listed = await ask("symbols", "list", "--json")
    before = await ask("status", "--json")
    assert [(one["exchange"], one["symbol"]) for one in listed.json["symbols"]] == SYMBOLS
    assert before.code == 1
    assert before.json["daemon"]["running"] is False
    assert not before.json["well"]

    async with TimeseriesStore.open(now_us=clock.now_us) as store:
        async with collecting():
            await wait_until_complete(store, clock)
            while (status := await ask("status", "--json")).code:
                await asyncio.sleep(0.5)  # the daemon looks at the ledger every ten seconds; the test has its time-out
            gaps = await ask("gaps", "--json")
            coverage = await ask("coverage")
            _check_running_status(status)
            assert gaps.json == {"gaps": []}
            assert gaps.code == 0
            assert coverage.code == 0, "minutes that are on their way are no gaps"
        log = await ask("logs", "kraken", "--file", str(directory / "service.log"))
        assert "kraken" in log.out
        assert "binance" not in log.out

        end_us = floor_minute_us(clock.now_us()) // HOUR_US * HOUR_US - HOUR_US
        await _check_gap_and_repair(ask, store, end_us)
        await _check_verify(ask, store, end_us)
        await _check_newest_candles(ask)
        await _check_export(ask, market, directory, end_us)


def _check_running_status(status: Done) -> None:
    assert status.json["daemon"]["running"] is True
    assert status.json["troubles"] == []
    assert [(one["exchange"], one["symbol"]) for one in status.json["symbols"]] == SYMBOLS
    assert all(one["covered"] > 0.95 for one in status.json["symbols"])
    assert status.code == 0, status.out


async def _check_gap_and_repair(ask: Ask, store: TimeseriesStore, end_us: int) -> None:
    series = await store.series("binance", "BTC/USDT", "candles1m")
    gap = (end_us - 3 * HOUR_US, end_us - 2 * HOUR_US)
    await store.uncover(series, gap)
    gaps = await ask("gaps", "BTC/USDT", "--json")
    coverage = await ask("coverage", "BTC/USDT", "--per", "1h", "--from", iso(gap[0]), "--to", iso(end_us), "--json")
    [found] = [one for one in gaps.json["gaps"] if one["from"] == iso(gap[0])]
    assert found["minutes"] == 60
    assert found["cause"] == "interrupted, or taken back as suspect"
    assert found["minutes_until_unrecoverable"] is None, "this exchange serves everything for ever"
    assert found["doing"] == "nothing: the daemon does not run"
    assert gaps.code == 1
    cells = coverage.json["symbols"][0]["cells"]
    assert [cell["unknown"] for cell in cells] == [60, 0, 0]
    assert coverage.code == 1

    repaired = await ask("repair", "BTC/USDT", "--from", iso(gap[0]), "--to", iso(end_us), "--json")
    assert repaired.code == 0, repaired.err
    assert repaired.json["unknown_before"] == repaired.json["minutes_read"] == 60
    assert repaired.json["unknown_after"] == 0
    assert (await store.gaps({series: (gap[0], end_us)}))[series] == []
    whole = await ask("repair", "kraken:BTC/USD")
    assert (whole.code, whole.out.count("nothing is")) == (0, 1), "minutes that are on their way are not judged"


async def _check_newest_candles(ask: Ask) -> None:
    """A quiet market: they lie far back, and the title says from when on they are."""
    newest = (await ask("candles", "binance:ADA/USDT", "--json")).json["candles"]
    assert 0 < len(newest) <= 60
    began = newest[0]["timestamp"][:16].replace("T", " ")
    assert f"binance:ADA/USDT 1m · {began} to " in (await ask("candles", "binance:ADA/USDT", "--chart")).out


async def _check_verify(ask: Ask, store: TimeseriesStore, end_us: int) -> None:
    span = ("--from", iso(end_us - HOUR_US), "--to", iso(end_us))
    series = await store.series("binance", "BTC/USDT", "candles1m")
    rows = await store.read_candles(series, (end_us - HOUR_US, end_us))
    right, wrong = rows[0], (*rows[0][:5], rows[0][5] + 1.0, rows[0][6])
    await store.write_candles([CandleWrite(series, [wrong])])
    found = await ask("verify", "BTC/USDT", *span, "--json")
    others = await ask("verify", "kraken:BTC/USD", *span)
    assert found.code == 1
    [difference] = found.json["symbols"][0]["differences"]
    assert difference["timestamp"] == iso(right[0])
    assert f"volume {wrong[5]} stored, {right[5]} served" in difference["what"]
    assert others.code == 0, others.out
    assert "alike" in others.out

    assert (await ask("repair", "BTC/USDT", *span, "--force")).code == 0
    assert await store.read_candles(series, (end_us - HOUR_US, end_us)) == rows
    revisions = await ask("revisions", "BTC/USDT", *span, "--json")
    assert revisions.json["revisions"][-1]["why"] == "repaired by hand"
    assert revisions.json["revisions"][-1]["before"]["volume"] == wrong[5]
    assert revisions.json["revisions"][-1]["after"]["volume"] == right[5]
    of_all = await ask("revisions", "--json")
    assert revisions.json["revisions"][-1] in of_all.json["revisions"]
    assert {(one["exchange"], one["symbol"]) for one in of_all.json["revisions"]} >= {("binance", "BTC/USDT")}
    assert "binance:BTC/USDT  " in (await ask("revisions", "-x", "binance")).out


async def _check_export(ask: Ask, market: SimulatedMarket, directory: Path, end_us: int) -> None:
    start_us = end_us - 6 * HOUR_US
    span = ("--from", iso(start_us), "--to", iso(end_us))
    parquet = await ask("export", "kraken:BTC/USD", "btc.parquet", *span, "--json")
    table = await ask("export", "BTC/USDT", "btc.csv", "--tf", "1h", *span)
    shown = await ask("candles", "kraken:BTC/USD", "--tf", "1m", *span, "--json")
    assert parquet.code == 0, parquet.err
    truth = [
        (datetime.fromtimestamp(one.timestamp_us // 1_000_000, UTC), one.open, one.high, one.low, one.close, one.volume)
        for one in market.truth("kraken", "BTC/USD").candles(start_us, end_us)
    ]
    frame = pl.read_parquet(directory / "btc.parquet")
    assert frame.columns == ["timestamp", "open", "high", "low", "close", "volume", "known_minutes", "complete"]
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert frame.rows() == [(*row, 1, True) for row in truth]
    assert [tuple(one.values())[1:6] for one in shown.json["candles"]] == [row[1:] for row in truth]

    manifest = json.loads((directory / "btc.parquet.manifest.json").read_text())
    assert manifest == parquet.json
    assert manifest["rows"] == len(truth)
    assert manifest["sha256"] == hashlib.sha256((directory / "btc.parquet").read_bytes()).hexdigest()
    assert manifest["coverage"] == {
        "traded": len(truth),
        "verified_empty": 360 - len(truth),
        "unavailable": 0,
        "unknown": 0,
    }
    assert (manifest["intervals"], manifest["incomplete"]["intervals"]) == ([], [])
    assert table.code == 0, table.err
    hours = pl.read_csv(directory / "btc.csv")
    coarse = market.truth("binance", "BTC/USDT").candles(start_us, end_us, timeframe_s=3600)
    assert hours["close"].to_list() == [one.close for one in coarse]
    assert hours["timestamp"].to_list() == [iso(one.timestamp_us) for one in coarse]


BROKEN = {
    "OHLCV_HEALTH_INTERVAL": "99",
    "OHLCV_COLECT_TRADES": "all",
    "REDIS_HOST": "127.0.0.1",
    "REDIS_PORT": "9",
    "FULLON_KRAKEN_ORIGIN": "http://127.0.0.1:9",
    "FULLON_BINANC_ORIGIN": "http://127.0.0.1:9",
}


@pytest.mark.timeout(240)
async def test_doctor_names_what_is_broken_and_what_helps(
    seeded: SimulatedMarket, directory: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = directory / ".env"
    env_file.write_text("ADMIN_MAIL=admin@fullon\n")
    env_file.chmod(0o644)
    with monkeypatch.context() as breaking:
        for name, value in BROKEN.items():
            breaking.setenv(name, value)
        broken = await ask("doctor", "--json")
    assert broken.code == 1, broken.err
    assert not broken.json["well"]
    checks = [one for one in broken.json["checks"] if one["verdict"] != "well"]
    said = {(one["name"], one["verdict"]): (one["found"], one["remedy"]) for one in checks}
    assert "OHLCV_HEALTH_INTERVAL is '99'; allowed is less than or equal to 30" in said["settings", "failed"][0]
    assert ("OHLCV_COLECT_TRADES means nothing", "did you mean OHLCV_COLLECT_TRADES?") in _pairs(checks)
    assert ("others can read .env (mode 644)", "chmod 600 .env") in _pairs(checks)
    assert ("FULLON_BINANC_ORIGIN moves no exchange", "did you mean FULLON_BINANCE_ORIGIN?") in _pairs(checks)
    assert "REDIS_PORT" in said["Redis", "failed"][1]
    assert "unset FULLON_KRAKEN_ORIGIN" in said["kraken", "failed"][1]
    assert "fullon-ohlcv run" in said["daemon", "warning"][1]
    well = {one["name"] for one in broken.json["checks"] if one["verdict"] == "well"}
    assert {"PostgreSQL", "schema", "permissions", "disk", "binance"} <= well

    env_file.chmod(0o600)  # with the variables taken back, everything that a remedy was named for is done
    mended = await ask("doctor", "--json")
    assert mended.code == 0, mended.out
    left = {one["name"] for one in mended.json["checks"] if one["verdict"] != "well"}
    assert left <= {"daemon", "clock", "origins", "disk", "open files", "Redis", "HTTP"}, (
        "a simulated market without a daemon"
    )
    names = {one["name"] for one in mended.json["checks"] if one["verdict"] == "well"}
    assert {"settings", "kraken", "kraken clock", "kraken rate budget", "symbols"} <= names


@pytest.mark.timeout(240)
async def test_doctor_names_a_foreign_schema_an_unlisted_symbol_and_a_port_in_use(
    seeded: SimulatedMarket, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask("symbols", "set", "kraken:ADA/USD", "--backtest", "2")).code == 0
    async with DatabaseContext() as db:
        [symbol] = [one for one in await db.symbols.get_all() if one.symbol == "ADA/USD"]
        symbol.symbol = "ADAA/USD"
        await db.commit()
    async with TimeseriesStore.open() as store, store.connection("change the version") as connection:
        await connection.execute("UPDATE schema_version SET version = version + 1000")
    with monkeypatch.context() as breaking, socket.create_server(("127.0.0.1", 0)) as other:
        taken = "{}:{}".format(*other.getsockname())
        breaking.setenv("OHLCV_HTTP_BIND", taken)
        checks = {one["name"]: one for one in (await ask("doctor", "--json")).json["checks"]}
    assert checks["schema"]["remedy"] == "update this program"
    assert checks["HTTP"]["found"] == f"{taken} is taken by another program"
    assert "OHLCV_HTTP_BIND" in checks["HTTP"]["remedy"]
    assert checks["kraken symbols"]["found"] == "it does not list ADAA/USD"
    assert checks["kraken symbols"]["remedy"] == (
        "`fullon-ohlcv symbols remove kraken:ADAA/USD`; there is no ADAA; in USD there is ADA/USD, BTC/USD"
    )
    with monkeypatch.context() as breaking:
        breaking.setenv("DB_PORT", "9")
        away = {one["name"]: one for one in (await ask("doctor", "--json")).json["checks"]}
    assert away["PostgreSQL"]["verdict"] == "failed"
    assert "correct DB_HOST, DB_PORT" in away["PostgreSQL"]["remedy"]


def _pairs(checks: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["found"], one["remedy"]) for one in checks]


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("st", ["status"]), ("symbols ", ["list", "add", "remove", "set"]), ("status --w", ["--watch"])],
)
def test_a_shell_completes_commands_and_options(
    typed: str, completed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_FULLON_OHLCV_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"fullon-ohlcv {typed}")
    monkeypatch.setenv("COMP_CWORD", str(1 + typed.count(" ")))
    with pytest.raises(SystemExit):
        main(())
    assert capsys.readouterr().out.split() == completed


def shell_completes(typed: str) -> None:
    """Ask as bash does, which cuts words at colons too."""
    words = f"fullon-ohlcv {typed}".replace(":", " : ").split(" ")
    os.environ |= {"_FULLON_OHLCV_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words)}
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    with pytest.raises(SystemExit):
        main(())


async def test_a_shell_completes_what_is_collected(
    seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("_FULLON_OHLCV_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
        monkeypatch.setenv(name, "")
    cases = {
        "candles BTC/": ["BTC/USDT", "BTC/USD"],
        "candles kraken:BT": ["BTC/USD"],
        "gaps binance:BTC/USDT kraken:": ["ADA/USD", "BTC/USD"],
        "symbols remove A": ["ADA/USDT", "ADA/USD"],
        "status -x k": ["kraken"],
        "logs b": ["binance"],
    }
    capsys.readouterr()
    for typed, completed in cases.items():
        await asyncio.to_thread(shell_completes, typed)
        assert capsys.readouterr().out.split() == completed, typed
    async with DatabaseContext() as db:
        cat_ex_id = await db.exchanges.get_exchange_cat_id("kraken")
        assert cat_ex_id is not None
        db.session.add(Symbol(symbol="BTC/USDT", cat_ex_id=cat_ex_id, base="BTC", quote="USDT"))
        await db.commit()
    await asyncio.to_thread(shell_completes, "candles b")
    assert capsys.readouterr().out.split() == ["binance:BTC/USDT"]
    with monkeypatch.context() as away:
        away.setenv("DB_HOST", "127.0.0.1")
        away.setenv("DB_PORT", "9")
        await asyncio.to_thread(shell_completes, "candles BTC/")
    answer = capsys.readouterr()
    assert answer.out.split() == []
    assert answer.err == ""


HEAVY = {"aiohttp", "alembic", "ccxt", "matplotlib", "numpy", "pandas", "plotext", "pyarrow", "sqlalchemy", "uvloop"}


@pytest.mark.parametrize(
    ("commands", "needed"),
    [
        (["--help", "logs --help"], set()),
        (["status --help", "candles --help", "export --help", "coverage --help"], {"sqlalchemy"}),
    ],
    ids=["help", "reading"],
)
async def test_a_command_imports_only_what_it_needs(commands: list[str], needed: set[str]) -> None:
    program = (
        "import sys; from fullon_ohlcv_service.cli import main; "
        "[main(each.split()) for each in sys.argv[1:]]; print(*sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *commands, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert set(out.decode().splitlines()[-1].split()) & HEAVY == needed


async def test_the_version_is_that_of_the_distribution() -> None:
    done = await run_cli("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"fullon-ohlcv {version('fullon-ohlcv-service')}\n"
