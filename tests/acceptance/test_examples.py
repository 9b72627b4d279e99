"""The examples as their readers run them: by name, to the end, with facts to show and nothing left behind."""

import asyncio
import importlib
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import demo_data
import pytest
import stage
from fixed_clock import BEGINS_US, set_market_clock

from fullon_cache import ConnectionPool
from fullon_embedded import start_servers
from fullon_orm import DatabaseContext
from fullon_orm.database import DatabaseManager
from fullon_simulator import MarketClock, SimulatedMarket, SymbolSpec, Tape

EXAMPLES = Path(demo_data.__file__).parent
PACE = ("--seconds", "4", "--speed", "60")
SEED = 7
"""The seed of a simulated market that is given none."""
END_S = 280.0
DAY_US = 86_400_000_000


@dataclass
class Ended:
    """What an example left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"

    def part(self, name: str) -> str:
        """What `--run-all` printed while it ran one example."""
        return self.out.partition(f"python examples/{name}.py\n")[2].partition("▶ python examples/")[0]


@dataclass
class Playground:
    """Where examples run: the session's servers, or those that `environment` names."""

    base: str
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> "asyncio.Future[asyncio.subprocess.Process]":
        return asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                sys.executable,
                str(EXAMPLES / name),
                *arguments,
                cwd=self.directory,
                env=self.environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def run(self, name: str, *arguments: str) -> Ended:
        """Run an example to its end."""
        return await self.end(await self.start(name, *arguments))

    async def end(self, process: asyncio.subprocess.Process) -> Ended:
        """Wait for the end of an example that runs."""
        try:
            async with asyncio.timeout(END_S):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    async def databases(self) -> list[str]:
        """Return the test databases there are."""
        connection = await asyncpg.connect(
            host=self.environment["DB_HOST"],
            port=int(self.environment["DB_PORT"]),
            user=self.environment["DB_USER"],
            database="postgres",
        )
        try:
            rows = await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", self.base)
        finally:
            await connection.close()
        return sorted(row["datname"] for row in rows)


@pytest.fixture
async def playground(servers: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Playground:
    """The session's servers, with names and a Redis database that no other test uses; run from somewhere else."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    base = f"examples_{secrets.token_hex(4)}"
    monkeypatch.setenv("REDIS_DB", str(8 + int(worker) % 8))
    monkeypatch.setenv("DB_TEST_NAME", base)
    set_market_clock(monkeypatch, 1.0)
    await (await ConnectionPool.shared()).run("FLUSHDB")
    return Playground(base, tmp_path, dict(os.environ))


def shown_candles(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the candles that an example has shown: by market and time of day, as printed."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    market = ""
    for line in text.splitlines():
        if title := re.fullmatch(r"(\w+ [A-Z0-9]+/[A-Z0-9:]+)\s*", line):
            market = title[1]
        elif row := re.fullmatch(r"\s+(\d\d:\d\d)" + r"\s+([\d.,]+)" * 5 + r"\s*", line):
            found.setdefault(market, {})[row[1]] = row.groups()[1:]
    return found


def true_candle(market: str, time_of_day: str) -> tuple[str, ...]:
    """Return the candle that the simulated market published on its first day, as an example prints it."""
    exchange, _, symbol = market.partition(" ")
    hour, minute = map(int, time_of_day.split(":"))
    midnight_us = BEGINS_US - BEGINS_US % DAY_US
    start_us = midnight_us + (hour * 60 + minute) * 60_000_000
    [candle] = Tape(SEED, exchange, stage.spec_of(exchange, symbol)).candles(start_us, start_us + 60_000_000)
    return tuple(map(stage.number, (candle.open, candle.high, candle.low, candle.close, candle.volume)))


def assert_candles_are_true(text: str, *markets: str) -> None:
    candles = shown_candles(text)
    assert set(candles) >= set(markets), text
    for market in markets:
        for time_of_day, values in candles[market].items():
            assert values == true_candle(market, time_of_day), (market, time_of_day)


@pytest.mark.timeout(300)
async def test_run_all_shows_the_demo_data_runs_every_example_and_leaves_nothing(playground: Playground) -> None:
    """The one run that proves most: each example, two phases, several symbols, last candles, the process monitor."""
    ended = await playground.run("demo_data.py", "--run-all", *PACE)
    assert ended.code == 0, str(ended)
    assert "Traceback" not in ended.err, str(ended)
    assert await playground.databases() == []

    for fact in ("BTC/USDC", "BTC/USD:BTC", "BTC/USDC:USDC", "BTC/USDT", "bot RSI 1h", "bot RSI 4h", "bot LLM trader"):
        assert fact in ended.out
    assert ended.out.count(" created\n") == ended.out.count(" dropped\n") == 1 + len(demo_data.EXAMPLES)
    for name in demo_data.EXAMPLES:
        assert f"✓ {name} went well" in ended.out, str(ended)
        assert f"Databases: {playground.base}_" in ended.part(name), str(ended)

    candles = ended.part("ohlcv_collection_example")
    assert "Phase 1" in candles
    assert "Phase 2" in candles
    assert "equal to the market's truth" in candles
    assert "1 symbols streamed" in candles
    assert_candles_are_true(candles, "hyperliquid BTC/USDC:USDC")
    assert len(shown_candles(candles)["hyperliquid BTC/USDC:USDC"]) >= 10, "the last ten, one a line"

    trades = ended.part("trade_collection_example")
    assert "Phase 1" in trades
    assert "Phase 2" in trades
    assert "equal to the market's truth" in trades
    assert "Last trades of kraken BTC/USDC" in trades
    assert len(re.findall(r"✓ the \d\d:\d\d candle of \S+ is the fold of its \d+ trades", trades)) == 3
    assert_candles_are_true(trades, "kraken BTC/USDC", "kraken ETH/USDC", "kraken SOL/USDC")

    pipeline = ended.part("run_example_pipeline")
    assert "4 of 4 live" in pipeline
    assert "1 of 1 live" in pipeline
    assert "equal to the market's truth" in pipeline
    assert_candles_are_true(pipeline, "kraken BTC/USDC", "binance BTC/USDT", "binance ETH/USDT")
    assert {"bitmex BTC/USD:BTC", "hyperliquid BTC/USDC:USDC"} <= set(shown_candles(pipeline))

    monitor = ended.part("monitor_processes")
    assert "9 of 9 processes reported" in monitor
    for component in ("ohlcv_daemon", "kraken:BTC/USDC", "bitmex:BTC/USD:BTC", "binance:ETH/USDT"):
        assert component in monitor
    assert "it says: stopped; 0 processes are left" in monitor


@pytest.mark.parametrize(
    ("number", "name", "arguments"),
    [
        (signal.SIGINT, "run_example_pipeline.py", ["--exchange", "binance"]),
        (signal.SIGTERM, "demo_data.py", ["--run-all"]),
    ],
)
async def test_databases_are_dropped_after_a_signal_in_the_middle(
    playground: Playground, number: int, name: str, arguments: list[str]
) -> None:
    """Ctrl-C, while a daemon or an example run by another collects."""
    process = await playground.start(name, *arguments, *PACE)
    assert process.stdout is not None
    seen = b""
    async with asyncio.timeout(60):
        while b"A daemon for" not in seen and b"Phase 1: " not in seen:
            seen += await process.stdout.readline()
    assert len(await playground.databases()) == 2
    began_s = time.monotonic()
    process.send_signal(number)
    ended = await playground.end(process)
    assert time.monotonic() - began_s < 20
    assert ended.code == 1
    assert ended.err.endswith(f"{name}: stopped before the end\n"), str(ended)
    assert "dropped" in ended.out
    assert await playground.databases() == []


async def test_with_real_the_exchange_itself_is_asked_at_its_own_pace(playground: Playground) -> None:
    """The exchange is one that `FULLON_BINANCE_ORIGIN` stands for, which the example does not know."""
    clock = MarketClock.starting_at(BEGINS_US, speed=60.0)
    async with SimulatedMarket({"binance": [SymbolSpec("ADA/USDT", kind="busy")]}, seed=3, clock=clock) as market:
        playground.environment |= market.environment()
        ended = await playground.run(
            "ohlcv_collection_example.py", "--real", "--seconds", "4", "--exchange", "binance", "--symbol", "ADA/USDT"
        )
        asked = market.requests("binance")
    assert ended.code == 0, str(ended)
    assert "Market: the real binance" in ended.out
    assert "1 symbols streamed" in ended.out
    assert asked.paths["/api/v3/klines"]
    assert asked.subscriptions
    assert "accounted for" in ended.out
    assert await playground.databases() == []


async def test_a_real_exchange_that_cannot_be_reached_is_one_sentence(playground: Playground) -> None:
    playground.environment["FULLON_KRAKEN_ORIGIN"] = "http://127.0.0.1:9"
    ended = await playground.run("trade_collection_example.py", "--real", "--seconds", "2")
    assert ended.code == 1, str(ended)
    assert ended.err.count("\n") == 1, str(ended)
    assert ended.err.startswith("trade_collection_example.py: kraken: no answer"), str(ended)
    assert await playground.databases() == []


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("demo_data.py", ["--cleanup", "postgres"], "'postgres' is no test database; allowed are names that begin"),
        ("demo_data.py", [], "one of the arguments --setup --cleanup --run-all is required"),
        ("ohlcv_collection_example.py", ["--seconds", "soon"], "'soon' is not a number above 0"),
        ("ohlcv_collection_example.py", ["--exchange", "kraken"], "run trade_collection_example.py"),
        ("trade_collection_example.py", ["--exchange", "binance"], "run ohlcv_collection_example.py"),
        ("trade_collection_example.py", ["--symbol", "btc"], "symbol is 'btc'; allowed is BASE/QUOTE"),
        ("run_example_pipeline.py", ["--exchange", "nowhere"], "nowhere: no exchange of the demo data"),
        ("monitor_processes.py", ["--exchange", "nowhere"], "invalid choice: 'nowhere'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    playground: Playground,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    for variable in ("DB_NAME", "DB_OHLCV_NAME", "FULLON_CLOCK", "FULLON_KRAKEN_ORIGIN", "FULLON_BINANCE_ORIGIN"):
        monkeypatch.setenv(variable, "")  # so that what is set from here on is taken back
    try:
        code = importlib.import_module(name.removesuffix(".py")).main()
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.startswith(f"{name}: "), error
    assert sentence in error
    assert error.count("\n") == 1, error
    assert asyncio.run(playground.databases()) == []


async def test_without_servers_the_demo_data_is_set_up_on_embedded_ones_and_cleaned_up(tmp_path: Path) -> None:
    """`--setup` keeps the databases for whoever comes next; `--cleanup` drops them."""
    configured = ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "CACHE_HOST")
    environment = {name: value for name, value in os.environ.items() if name not in configured}
    environment |= {"FULLON_DATA_DIR": str(tmp_path / "data"), "PYTEST_XDIST_WORKER": ""}
    alone = Playground("fullon_ohlcv_test_", tmp_path, environment)
    ended = await alone.run("demo_data.py", "--setup")
    assert ended.code == 0, str(ended)
    created = re.search(r"created (fullon_ohlcv_test_[a-z0-9]{8}) and (\S+)", ended.out)
    assert created, str(ended)
    orm, ohlcv = created.groups()
    assert ohlcv == f"{orm}_ohlcv"
    assert f"--cleanup {orm}" in ended.out

    with start_servers(tmp_path / "data", durable=False) as embedded:
        alone.environment = {**environment, **embedded.environment()}
        assert await alone.databases() == [orm, ohlcv]
        first = await alone.run("demo_data.py", "--cleanup", orm)
        assert await alone.databases() == []
    assert first.code == 0, first
    assert f"{orm} and {ohlcv} dropped" in first.out


async def test_watching_with_nothing_to_watch_says_so(playground: Playground) -> None:
    ended = await playground.run("monitor_processes.py", "--watch", "--seconds", "1")
    assert ended.code == 0, str(ended)
    assert "No process has reported" in ended.out


def test_cleaning_up_what_is_not_there_says_so(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo_data.py", "--cleanup", f"{playground.base}_gone"])
    assert demo_data.main() == 1
    assert "were not there" in capsys.readouterr().out


# what tests and programs import ----------------------------------------------------------------------


async def test_dual_databases_are_named_for_the_worker_and_both_have_their_tables(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under pytest-xdist; without it the suffix is eight random characters."""
    for variable in ("DB_NAME", "DB_OHLCV_NAME"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")
    names = await demo_data.create_dual_test_databases()
    assert names == (f"{playground.base}_gw7", f"{playground.base}_gw7_ohlcv")
    assert (os.environ["DB_NAME"], os.environ["DB_OHLCV_NAME"]) == names
    assert await demo_data.create_dual_test_databases() == names, "what a killed run has left is made anew"
    symbols = await demo_data.install_demo_data(bots=True)
    assert await demo_data.install_demo_data(bots=True) == symbols or len(symbols) == 4
    async with DatabaseContext() as db:
        uid = await db.users.get_user_id("admin@fullon")
        bots = await db.bots.get_user_bots(uid)
        accounts = await db.exchanges.get_user_exchanges(uid)
        assert len(await db.symbols.get_all()) == 4
    assert [one.name for one in accounts] == ["kraken", "bitmex", "hyperliquid", "binance"]
    assert [one.strategies[0].cat_strategy.name for one in bots] == ["rsi", "rsi", "llm_trader"]
    assert await demo_data.drop_dual_test_databases(*names)
    assert not await demo_data.drop_dual_test_databases(*names)

    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    assert re.fullmatch(rf"{playground.base}_[a-z0-9]{{8}}", demo_data.name_test_database())


async def test_a_database_that_is_not_the_tests_is_never_replaced(playground: Playground) -> None:
    name = f"precious_{secrets.token_hex(4)}"
    await DatabaseManager().create_database(name)
    try:
        with pytest.raises(stage.BadInput, match="exists already"):
            await demo_data.create_dual_test_databases(name)
        assert not await DatabaseManager().create_database(name), "it is still there"
    finally:
        await DatabaseManager().drop_database(name)


async def test_an_empty_redis_database_is_chosen_or_one_that_a_killed_example_left(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    monkeypatch.setenv("REDIS_DB", "15")
    left = await ConnectionPool.shared()
    await left.run("SET", stage.CLAIM_KEY, f"{socket.gethostname()} {ended.pid}")
    await left.run("SET", "left", "behind")
    os.environ["REDIS_DB"] = ""
    async with stage.redis_database():
        assert os.environ["REDIS_DB"] == "15"
        assert await left.run("DBSIZE") == 1
        os.environ["REDIS_DB"] = ""
        async with stage.redis_database():
            assert os.environ["REDIS_DB"] == "14"
    assert await left.run("DBSIZE") == 0


def test_the_examples_name_what_the_contract_names() -> None:
    wanted: Mapping[str, object] = vars(demo_data)
    for name in ("create_dual_test_databases", "drop_dual_test_databases", "install_demo_data"):
        assert callable(wanted[name])
    assert {path.stem for path in EXAMPLES.glob("*.py")} >= {*demo_data.EXAMPLES, "demo_data"}
