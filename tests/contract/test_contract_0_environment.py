"""Contract, section 0: every variable has its effect, and a value that cannot be used is named.

How much was asked of an exchange is read from the counters of the simulated market.
"""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from support import eventually, running_daemon

import fullon_cache
from fullon_cache import CacheSettings, ConnectionPool, ProcessCache, TradesCache
from fullon_log import configure_logger, get_component_logger
from fullon_ohlcv.repositories.ohlcv import CandleRepository
from fullon_ohlcv_service.config.database_config import load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.daemon import main, missing_servers
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_orm import DatabaseContext
from fullon_orm.database import DatabaseManager, create_database_url
from fullon_orm.models import Exchange, Symbol, User
from fullon_simulator import SimulatedMarket

KLINES = "/api/v3/klines"
A_CANDLE = [1_767_225_600_000, 1.0, 1.0, 1.0, 1.0, 1.0]


async def binance_symbols() -> list[Symbol]:
    async with DatabaseContext() as db:
        return [one for one in await db.symbols.get_all(exchange_name="binance") if one.symbol.startswith("BTC/")]


async def candles_in(database: str) -> int:
    connection = await asyncpg.connect(create_database_url(database).replace("+asyncpg", ""))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM candles"))
    finally:
        await connection.close()


def set_redis(monkeypatch: pytest.MonkeyPatch, listening: socket.socket, **variables: str) -> None:
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(listening.getsockname()[1]))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


async def is_given_up() -> None:
    try:
        async with asyncio.timeout(4), ProcessCache() as cache:
            with pytest.raises(fullon_cache.ConnectionError):
                await cache.ping()
    finally:
        await ConnectionPool.close_all()


class TestDatabases:
    def test_an_address_is_read_when_a_connection_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """DB_HOST DB_PORT DB_USER DB_PASSWORD, and DB_NAME."""
        for variable, value in {
            "DB_HOST": "db.example",
            "DB_PORT": "6543",
            "DB_USER": "alice",
            "DB_PASSWORD": "pw",
            "DB_NAME": "names",
        }.items():
            monkeypatch.setenv(variable, value)
        assert create_database_url() == "postgresql+asyncpg://alice:pw@db.example:6543/names"
        for variable in ("DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME"):
            monkeypatch.delenv(variable)
        assert create_database_url() == "postgresql+asyncpg://postgres@db.example:5432/fullon"

    async def test_series_are_in_db_ohlcv_name_or_with_test_in_db_test_name(
        self, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"contract_{secrets.token_hex(4)}" for _ in range(2)]
        try:
            for variable, name in zip(("DB_OHLCV_NAME", "DB_TEST_NAME"), names, strict=True):
                monkeypatch.setenv(variable, name)
            async with CandleRepository("kraken", "BTC/USD") as repository:
                await repository.save_candles([A_CANDLE])
            async with CandleRepository("kraken", "BTC/USD", test=True) as repository:
                await repository.save_candles([A_CANDLE, [A_CANDLE[0] + 60_000, *A_CANDLE[1:]]])
            assert [await candles_in(name) for name in names] == [1, 2]
        finally:
            for name in names:
                await DatabaseManager().drop_database(name)

    def test_without_hosts_the_servers_are_embedded_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unset host = embedded, in FULLON_DATA_DIR; REDIS_HOST falls back to CACHE_HOST."""
        for variable in ("DB_HOST", "REDIS_HOST", "CACHE_HOST"):
            monkeypatch.delenv(variable, raising=False)
        assert missing_servers() == {"postgres", "redis"}
        monkeypatch.setenv("CACHE_HOST", "redis.example")
        assert missing_servers() == {"postgres"}
        monkeypatch.delenv("CACHE_HOST")
        environment = {**os.environ, "FULLON_DATA_DIR": str(tmp_path / "data")}
        for variable in ("DB_PORT", "DB_NAME", "DB_OHLCV_NAME", "DB_TEST_NAME", "REDIS_DB"):
            environment.pop(variable, None)
        done = subprocess.run(
            [sys.executable, "-m", "fullon_ohlcv_service.daemon", "--duration", "2"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "database created database=fullon " in done.stderr
        assert list((tmp_path / "data").rglob("PG_VERSION"))


class TestRedis:
    @pytest.mark.parametrize("prefix", ["REDIS", "CACHE"])
    def test_the_address_is_read_from_redis_or_else_from_cache(
        self, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HOST", "PORT", "DB", "PASSWORD"):
            monkeypatch.delenv(f"REDIS_{name}", raising=False)
        for name, value in {"HOST": "r.example", "PORT": "6380", "DB": "3", "PASSWORD": "pw"}.items():
            monkeypatch.setenv(f"{prefix}_{name}", value)
            if prefix == "REDIS":
                monkeypatch.setenv(f"CACHE_{name}", "99")
        found = CacheSettings.from_env()
        assert (found.host, found.port, found.database, found.password) == ("r.example", 6380, 3, "pw")

    def test_its_defaults_are_the_documented_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_HOST", "r.example")
        for variable in ("REDIS_PORT", "REDIS_DB"):
            monkeypatch.delenv(variable, raising=False)
        found = CacheSettings.from_env()
        assert (found.port, found.database, found.password) == (6379, 0, "")
        assert (found.connections_max, found.socket_timeout_s, found.connect_timeout_s) == (50, 5, 5)

    async def test_redis_db_is_another_database(self, redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
        async with TradesCache() as cache:
            await cache.push_trade("BTC/USD", "kraken", {"price": 1})
        here = os.environ["REDIS_DB"]
        monkeypatch.setenv("REDIS_DB", "7")
        async with TradesCache() as cache:
            assert await cache.get_trades("BTC/USD", "kraken") == []
        monkeypatch.setenv("REDIS_DB", here)
        async with TradesCache() as cache:
            assert len(await cache.get_trades("BTC/USD", "kraken")) == 1

    async def test_a_password_that_is_refused_is_named(
        self, redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REDIS_PASSWORD", "not-it")
        async with ProcessCache() as cache:
            with pytest.raises(fullon_cache.ConfigurationError, match="REDIS_PASSWORD"):
                await cache.ping()

    async def test_no_more_than_redis_max_connections_are_opened(
        self, redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REDIS_MAX_CONNECTIONS", "2")
        async with ProcessCache() as cache:
            clients_before = len(await redis.client.client_list())
            await asyncio.gather(*(cache.ping() for _ in range(20)))
            assert len(await redis.client.client_list()) - clients_before <= 2

    async def test_a_silent_server_is_given_up_after_redis_socket_timeout(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(ignore, "127.0.0.1", 0)
        try:
            set_redis(monkeypatch, silent.sockets[0], REDIS_SOCKET_TIMEOUT="0.2", REDIS_SOCKET_CONNECT_TIMEOUT="60")
            await is_given_up()
        finally:
            silent.close()
            await silent.wait_closed()

    async def test_a_server_that_takes_no_connection_is_given_up_after_redis_socket_connect_timeout(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ExitStack() as stack:
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):  # nobody accepts: the queue is full
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            set_redis(monkeypatch, full, REDIS_SOCKET_TIMEOUT="60", REDIS_SOCKET_CONNECT_TIMEOUT="0.2")
            await is_given_up()


class TestLogging:
    def test_the_level_decides_what_is_logged(self, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOG_LEVEL", "WARNING")
        configure_logger(sink=lines.append)
        get_component_logger("fullon").info("quiet")
        get_component_logger("fullon").warning("loud")
        assert len(lines) == 1

    @pytest.mark.parametrize("name", ["beautiful", "minimal", "development", "detailed", "trading", "json"])
    def test_each_format_has_its_own_look(self, name: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOG_FORMAT", name)
        configure_logger(sink=lines.append)
        get_component_logger("fullon").info("hello", symbol="BTC/USD")
        monkeypatch.setenv("LOG_FORMAT", "minimal" if name != "minimal" else "json")
        configure_logger(sink=lines.append)
        get_component_logger("fullon").info("hello", symbol="BTC/USD")
        assert "hello" in lines[0]
        assert "BTC/USD" in lines[0]
        assert lines[0] != lines[1]

    def test_the_console_can_be_switched_off(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: list[str]
    ) -> None:
        for value, expected in (("true", True), ("false", False)):
            monkeypatch.setenv("LOG_CONSOLE", value)
            configure_logger()
            get_component_logger("fullon").info("hello")
            assert ("hello" in capsys.readouterr().err) is expected

    def test_colours_can_be_switched_off(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: list[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        for value, expected in (("true", True), ("false", False)):
            monkeypatch.setenv("LOG_COLORS", value)
            configure_logger()
            get_component_logger("fullon").info("hello")
            assert ("\x1b[" in capsys.readouterr().err) is expected

    def test_a_file_is_written_rotated_and_old_ones_are_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
    ) -> None:
        """LOG_FILE_PATH LOG_ROTATION LOG_RETENTION."""
        for variable, value in {
            "LOG_FILE_PATH": str(tmp_path / "a.log"),
            "LOG_ROTATION": "2 KB",
            "LOG_RETENTION": "2",
            "LOG_CONSOLE": "false",
        }.items():
            monkeypatch.setenv(variable, value)
        configure_logger()
        for number in range(200):
            get_component_logger("fullon").info("a line", number=number)
        files = list(tmp_path.iterdir())
        assert 2 <= len(files) <= 3
        assert max(path.stat().st_size for path in files) < 4096
        assert "number=199" in (tmp_path / "a.log").read_text()


class TestService:
    """Each variable of the service, on a simulated market."""

    @pytest.mark.parametrize("by_id", [False, True])
    async def test_admin_mail_or_ohlcv_user_id_says_whose_exchanges_are_collected(
        self, by_id: bool, databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        users: dict[str, int] = {}
        async with DatabaseContext() as db:
            for name in ("ann", "bob"):
                user = await db.users.add_user(User(mail=f"{name}{secrets.token_hex(3)}@fullon"))
                venue = await db.exchanges.create_cat_exchange(f"{name}{secrets.token_hex(3)}")
                await db.exchanges.add_user_exchange(Exchange(uid=user.uid, cat_ex_id=venue.cat_ex_id, name="mine"))
                await db.symbols.add_symbol(Symbol(symbol=f"{name.upper()}/USD", cat_ex_id=venue.cat_ex_id))
                users[user.mail] = user.uid
            await db.commit()
        mail, uid = list(users.items())[1]
        monkeypatch.setenv(*("OHLCV_USER_ID", str(uid)) if by_id else ("ADMIN_MAIL", mail))
        wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
        assert [one.symbol for one in wanted] == ["BOB/USD"]

    def test_defaults_are_the_documented_ones(self) -> None:
        config = OhlcvServiceConfig.from_env()
        assert config.admin_mail == "admin@fullon"
        assert (config.user_id, config.collection_interval, config.health_interval) == (1, 60, 30)
        assert (config.historical_limit, config.collect_trades, config.test_mode) == (1000, "needed", False)
        assert (config.enable_streaming, config.enable_historical) == (True, True)

    async def test_ohlcv_historical_limit_is_the_rows_asked_for_per_page(
        self, seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [symbol] = await binance_symbols()
        for limit, pages in (("1000", 2), ("100", 15)):
            monkeypatch.setenv("OHLCV_HISTORICAL_LIMIT", limit)
            name = f"contract_{secrets.token_hex(4)}"
            monkeypatch.setenv("DB_OHLCV_NAME", name)
            before = seeded.requests("binance").paths[KLINES]
            try:
                assert await HistoricOHLCVCollector().start_symbol(symbol)
            finally:
                await DatabaseManager().drop_database(name)
            assert seeded.requests("binance").paths[KLINES] - before in (pages, pages + 1)

    async def test_ohlcv_test_mode_stores_in_the_test_database(
        self, seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [symbol] = await binance_symbols()
        monkeypatch.setenv("OHLCV_TEST_MODE", "true")
        rows = await HistoricOHLCVCollector().start_symbol(symbol)
        assert await candles_in(os.environ["DB_TEST_NAME"]) == rows > 0
        assert await candles_in(os.environ["DB_OHLCV_NAME"]) == 0

    async def test_ohlcv_collect_trades_all_collects_trades_of_every_exchange_too(
        self, seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [symbol] = await binance_symbols()
        assert await HistoricTradeCollector().start_symbol(symbol) == 0
        monkeypatch.setenv("OHLCV_COLLECT_TRADES", "all")
        assert await HistoricTradeCollector().start_symbol(symbol) > 0

    @pytest.mark.parametrize("setting", ["OHLCV_ENABLE_STREAMING", "OHLCV_ENABLE_HISTORICAL"])
    async def test_streaming_and_history_can_be_switched_off(
        self, setting: str, seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(setting, "false")
        asked = seeded.requests("binance")
        async with running_daemon():
            if setting == "OHLCV_ENABLE_STREAMING":
                await eventually(lambda: asked.paths[KLINES] > 0, "history is asked for")
            else:
                await eventually(lambda: asked.subscriptions > 0, "live data is subscribed")
            await asyncio.sleep(0.3)
        streamed, fetched = asked.subscriptions > 0, asked.paths[KLINES] > 0
        assert (streamed, fetched) == (setting == "OHLCV_ENABLE_HISTORICAL", setting == "OHLCV_ENABLE_STREAMING")

    async def test_ohlcv_collection_interval_is_how_often_the_database_is_looked_at(
        self, market: SimulatedMarket, redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a notification, which is what happens otherwise."""
        monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "1")
        monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.3")

        async def components() -> set[str]:
            async with ProcessCache() as cache:
                return {one["component"] for one in await cache.get_active_processes()}

        async def has_symbols() -> bool:
            return "binance:BTC/USDT" in await components()

        async def runs() -> bool:
            return "ohlcv_daemon" in await components()

        async with DatabaseContext() as db:
            for table in ("symbols", "exchanges", "cat_exchanges"):
                await db.session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            await db.commit()
        async with running_daemon():
            await eventually(runs, "the daemon reports")
            await seed_database(market, backtest_days=1)
            await eventually(has_symbols, "the symbols are found", 10)

    async def test_ohlcv_health_interval_is_the_time_between_heartbeats(
        self, market: SimulatedMarket, redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.3")
        beats: set[str] = set()
        async with ProcessCache() as cache, running_daemon():

            async def three_beats() -> bool:
                if record := await cache.get_component_status("ohlcv_daemon"):
                    beats.add(record["heartbeat"])
                return len(beats) >= 3

            await eventually(three_beats, "three heartbeats", 15)

    async def test_fullon_origin_moves_an_exchange(
        self, seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [symbol] = await binance_symbols()
        async with SimulatedMarket({"binance": 1}) as other:
            monkeypatch.setenv("FULLON_BINANCE_ORIGIN", other.origin("binance"))
            await HistoricOHLCVCollector().start_symbol(symbol)
            assert other.requests("binance").paths[KLINES]
        assert not seeded.requests("binance").paths[KLINES]


def test_nothing_is_read_at_import() -> None:
    """Every package is imported in an environment in which no value can be used."""
    bad = ["DB_PORT", "REDIS_PORT", "REDIS_DB", "LOG_LEVEL", "OHLCV_USER_ID", "OHLCV_TEST_MODE", "FULLON_CLOCK"]
    packages = ["log", "orm", "cache", "exchange", "ohlcv", "embedded", "simulator", "ohlcv_service.daemon"]
    program = "; ".join(f"import fullon_{package}" for package in packages)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **dict.fromkeys(bad, "not usable")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


REFUSED: Collection[tuple[str, str, str]] = [
    ("DB_PORT", "five", "65535"),
    ("REDIS_PORT", "70000", "65535"),
    ("REDIS_DB", "first", "whole number"),
    ("REDIS_MAX_CONNECTIONS", "0", "from 1"),
    ("REDIS_SOCKET_TIMEOUT", "soon", "seconds"),
    ("REDIS_SOCKET_CONNECT_TIMEOUT", "-1", "seconds"),
    ("LOG_LEVEL", "LOUD", "WARNING"),
    ("LOG_FORMAT", "pretty", "beautiful"),
    ("LOG_CONSOLE", "perhaps", "true"),
    ("LOG_COLORS", "blue", "false"),
    ("LOG_ROTATION", "sometimes", "MB"),
    ("LOG_RETENTION", "forever", "days"),
    ("OHLCV_USER_ID", "me", "integer"),
    ("OHLCV_COLLECTION_INTERVAL", "0", "greater than 0"),
    ("OHLCV_HEALTH_INTERVAL", "31", "less than or equal to 30"),
    ("OHLCV_HISTORICAL_LIMIT", "many", "integer"),
    ("OHLCV_ENABLE_STREAMING", "maybe", "boolean"),
    ("OHLCV_ENABLE_HISTORICAL", "maybe", "boolean"),
    ("OHLCV_TEST_MODE", "maybe", "boolean"),
    ("OHLCV_COLLECT_TRADES", "some", "'needed' or 'all'"),
    ("FULLON_KRAKEN_ORIGIN", "kraken", "http://"),
    ("FULLON_CLOCK", "noon", "<exchange epoch s>"),
]


@pytest.mark.parametrize(("variable", "value", "allowed"), REFUSED)
def test_a_value_that_cannot_be_parsed_is_refused_at_start_up_by_name(
    variable: str,
    value: str,
    allowed: str,
    databases: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: list[str],
) -> None:
    monkeypatch.setenv("REDIS_DB", os.environ.get("REDIS_DB", "8"))
    monkeypatch.setenv(variable, value)
    assert main(["--env-file", "no such file", "--duration", "2"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("fullon-ohlcv-service: ")
    for part in (variable, value, allowed):
        assert part in said
