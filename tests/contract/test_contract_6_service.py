"""Contract, section 6: the service, on simulated venues."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import demo_data
import pytest
from fixed_clock import set_market_clock
from support import eventually, running_daemon

from fullon_cache import ConnectionPool, ProcessCache
from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_log import configure_logger
from fullon_ohlcv.repositories.ohlcv import CandleRepository, TimeseriesRepository, TradeRepository
from fullon_ohlcv_service import daemon as daemon_module
from fullon_ohlcv_service.config.database_config import get_collection_targets, should_collect_ohlcv
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.ohlcv.live_collector import LiveOHLCVCollector
from fullon_ohlcv_service.trade.batcher import GlobalTradeBatcher
from fullon_ohlcv_service.trade.historic_collector import HistoricTradeCollector
from fullon_ohlcv_service.trade.live_collector import LiveTradeCollector
from fullon_ohlcv_service.utils.add_symbols import add_all_symbols, add_symbol, add_symbols_for_exchange
from fullon_orm import DatabaseContext
from fullon_orm.database import DatabaseManager
from fullon_orm.models import CatExchange, Symbol
from fullon_simulator import SimulatedMarket, SymbolSpec

SPEED = 30.0
KINDS = {
    "historic": HistoricOHLCVCollector,
    "historic_trade": HistoricTradeCollector,
    "live_ohlcv": LiveOHLCVCollector,
    "live_trade": LiveTradeCollector,
}


@dataclass(frozen=True)
class Place:
    """A market, and the symbols of it that the database names."""

    market: SimulatedMarket
    clock: Clock
    kraken: Symbol
    binance: Symbol

    @property
    def symbols(self) -> list[Symbol]:
        return [self.kraken, self.binance]

    def candles_are_true(self, symbol: Symbol, rows: list[tuple[object, ...]]) -> bool:
        truth = self.market.truth(symbol.exchange_name, symbol.symbol)
        true = {
            one.timestamp_us: tuple(one[1:6]) for one in truth.candles(self.clock.now_us() - 2**37, self.clock.now_us())
        }
        return bool(rows) and all(true[round(row[0].timestamp()) * 1_000_000] == row[1:] for row in rows)  # type: ignore[attr-defined]


@pytest.fixture
async def place(
    databases: tuple[str, str], redis: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """Two venues, each with a symbol that the database names and one that it does not; a series database of its own."""
    set_market_clock(monkeypatch, SPEED)
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.3")
    series = f"contract_{secrets.token_hex(4)}"
    monkeypatch.setenv("DB_OHLCV_NAME", series)
    venues = {
        "kraken": [SymbolSpec("BTC/USD", kind="busy"), SymbolSpec("ETH/USD", kind="busy")],
        "binance": [SymbolSpec("BTC/USDT", kind="busy"), SymbolSpec("ETH/USDT", kind="busy")],
    }
    async with SimulatedMarket(venues, seed=5) as market:
        for name, value in market.environment().items():
            monkeypatch.setenv(name, value)
        symbols = await demo_data.install_demo_data({"kraken": ["BTC/USD"], "binance": ["BTC/USDT"]})
        yield Place(market, Clock.from_env(), *symbols)
    await DatabaseManager().drop_database(series)


def unnamed(exchange: str, symbol: str) -> Symbol:
    """A symbol that the market has and the database does not name."""
    return Symbol(symbol=symbol, cat_exchange=CatExchange(name=exchange), backtest=1)


async def candles(symbol: Symbol) -> list[tuple[object, ...]]:
    async with TimeseriesRepository(symbol.exchange_name, symbol.symbol) as repository:
        newest = await repository.get_latest_timestamp()
        if newest is None:
            return []
        return await repository.fetch_ohlcv(1, "minutes", newest.shift(days=-2), newest.shift(minutes=1))


async def newest_us(symbol: Symbol) -> int:
    async with CandleRepository(symbol.exchange_name, symbol.symbol) as repository:
        newest = await repository.get_latest_timestamp()
    return 0 if newest is None else round(newest.timestamp()) * 1_000_000


async def status_of(component: str) -> tuple[str, dict[str, object]] | None:
    async with ProcessCache() as cache:
        record = await cache.get_component_status(component)
    return None if record is None else (record["status"], record["params"])


async def runs() -> bool:
    return await status_of("ohlcv_daemon") is not None


class TestDaemon:
    async def test_run_lasts_until_it_is_stopped_and_cleanup_is_idempotent(self, place: Place) -> None:
        daemon = OhlcvServiceDaemon()
        running = asyncio.ensure_future(daemon.run())

        await eventually(runs, "the daemon reports")
        assert not running.done()
        for _ in range(2):
            await daemon.cleanup()
        assert await running is None
        await OhlcvServiceDaemon().cleanup()

    async def test_run_lasts_until_it_is_cancelled(self, place: Place) -> None:
        running = asyncio.ensure_future(OhlcvServiceDaemon().run())

        await eventually(runs, "the daemon reports")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await status_of("ohlcv_daemon") or ("",))[0] == "stopped"

    def test_start_is_the_same_as_run(self) -> None:
        assert OhlcvServiceDaemon.start is OhlcvServiceDaemon.run

    async def test_it_collects_what_the_database_names_and_its_record_has_pid_and_args(self, place: Place) -> None:
        async with running_daemon():

            async def both_live() -> bool:
                records = [await status_of(name) for name in ("kraken:BTC/USD", "binance:BTC/USDT")]
                kinds = [record[1]["type"] for record in records if record is not None]
                return kinds == ["live_trade", "live_ohlcv"]

            await eventually(both_live, "both symbols live")
            async with ProcessCache() as cache:
                record = await cache.get_component_status("ohlcv_daemon")
        assert record is not None
        assert (record["process_type"], record["params"]["pid"]) == ("ohlcv", os.getpid())
        assert record["params"]["args"] == sys.argv
        for symbol in place.symbols:
            assert place.candles_are_true(symbol, await candles(symbol))

    async def test_process_symbol_collects_one_symbol_alone(self, place: Place) -> None:
        daemon, symbol = OhlcvServiceDaemon(), unnamed("binance", "ETH/USDT")
        running = asyncio.ensure_future(daemon.process_symbol(symbol))

        async def collected() -> bool:
            return await newest_us(symbol) > 0

        await eventually(collected, "candles of the one symbol")
        await daemon.cleanup()
        await running
        assert await candles(place.binance) == []

    async def test_process_symbol_adds_to_a_running_daemon(self, place: Place) -> None:
        symbol = unnamed("kraken", "ETH/USD")
        async with running_daemon() as daemon:
            await eventually(runs, "the daemon reports")
            await daemon.process_symbol(symbol)

            async def both() -> bool:
                return await newest_us(symbol) > 0 and await newest_us(place.kraken) > 0

            await eventually(both, "candles of the symbol that was added, and of another")

    @pytest.mark.parametrize("bad", [None, object(), Symbol(symbol="BTC/USD")])
    async def test_what_is_no_symbol_is_a_value_error(self, bad: object) -> None:
        with pytest.raises(ValueError, match="Invalid symbol"):
            await OhlcvServiceDaemon().process_symbol(bad)  # type: ignore[arg-type]

    async def test_the_module_and_the_console_script_run_it(self, place: Place, tmp_path: Path) -> None:
        script = shutil.which("fullon-ohlcv-service", path=str(Path(sys.executable).parent))
        assert script
        [entry] = entry_points(group="console_scripts", name="fullon-ohlcv-service")
        assert entry.load() is daemon_module.main
        for command in ([sys.executable, "-m", daemon_module.__name__], [script, "--help"]):
            process = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            if "--help" not in command:

                async def reports(pid: int = process.pid) -> bool:
                    record = await status_of("ohlcv_daemon")
                    return record is not None and record[1]["pid"] == pid

                await eventually(reports, "the daemon reports")
                process.send_signal(signal.SIGTERM)
            said, _ = await process.communicate()
            assert process.returncode == 0, said


class TestHistoricCollectors:
    async def test_start_collection_returns_rows_by_exchange_and_symbol(self, place: Place) -> None:
        """Symbols default to those of the database."""
        ohlcv = await HistoricOHLCVCollector(symbols=None).start_collection()
        trades = await HistoricTradeCollector(symbols=None).start_collection()
        assert set(ohlcv) == set(trades) == {"kraken:BTC/USD", "binance:BTC/USDT"}
        assert ohlcv["kraken:BTC/USD"] == 0, "its candles are made from its trades alone"
        assert ohlcv["binance:BTC/USDT"] == len(await candles(place.binance)) > 1000
        async with TradeRepository("kraken", "BTC/USD") as repository:
            assert trades["kraken:BTC/USD"] == len(await repository.get_recent_trades(limit=100_000)) > 1000
        for symbol in place.symbols:
            assert place.candles_are_true(symbol, await candles(symbol))

    async def test_start_symbol_returns_rows_and_takes_any_symbol_of_the_exchange(self, place: Place) -> None:
        symbol = unnamed("binance", "ETH/USDT")
        rows = await HistoricOHLCVCollector().start_symbol(symbol)
        assert isinstance(rows, int)
        assert rows == len(await candles(symbol)) > 1000
        assert await HistoricOHLCVCollector().start_symbol(symbol) <= 2, "only what has closed since"

    async def test_an_unknown_symbol_counts_0_and_is_named_in_its_own_log(self, place: Place, lines: list[str]) -> None:
        configure_logger(format="json", sink=lines.append)
        rows = await HistoricOHLCVCollector([unnamed("binance", "BTC/USDX"), place.binance]).start_collection()
        assert rows["binance:BTC/USDX"] == 0 < rows["binance:BTC/USDT"]
        said = [json.loads(line) for line in lines]
        [record] = [one for one in said if one["component"] == "fullon.ohlcv.collector.binance.BTC/USDX"]
        assert "BTC/USDT" in record["why"]


class TestLiveCollectors:
    @pytest.mark.parametrize("kind", ["live_ohlcv", "live_trade"])
    async def test_minutes_are_stored_until_collection_is_stopped(self, kind: str, place: Place) -> None:
        symbol = place.binance if kind == "live_ohlcv" else place.kraken
        collector = KINDS[kind]([symbol])
        assert not collector.is_collecting(symbol)
        async with asyncio.TaskGroup() as group:
            group.create_task(collector.start_collection())
            began_us = place.clock.now_us()

            async def stored() -> bool:
                return await newest_us(symbol) >= floor_minute_us(began_us) + MINUTE_US

            await eventually(stored, "a minute that began meanwhile")
            assert collector.is_collecting(symbol)
            await collector.stop_collection()
        assert not collector.is_collecting(symbol)
        await collector.stop_collection()
        assert place.candles_are_true(symbol, await candles(symbol))

    @pytest.mark.parametrize("kind", ["live_ohlcv", "live_trade"])
    async def test_start_symbol_streams_one_symbol_alone_and_takes_any_of_the_exchange(
        self, kind: str, place: Place
    ) -> None:
        named, one = (place.binance, unnamed("binance", "ETH/USDT"))
        if kind == "live_trade":
            named, one = place.kraken, unnamed("kraken", "ETH/USD")
        collector = KINDS[kind]()
        async with asyncio.TaskGroup() as group:
            group.create_task(collector.start_symbol(one))
            await eventually(lambda: collector.is_collecting(one), "the one symbol is streamed")
            assert not collector.is_collecting(named)
            await collector.stop_collection()
        with pytest.raises(ValueError, match="Invalid symbol"):
            await collector.start_symbol(Symbol(symbol="BTC/USD"))

    @pytest.mark.parametrize("kind", ["live_ohlcv", "live_trade"])
    async def test_a_symbol_can_be_added(self, kind: str, place: Place) -> None:
        first, added = (place.binance, unnamed("binance", "ETH/USDT"))
        if kind == "live_trade":
            first, added = place.kraken, unnamed("kraken", "ETH/USD")
        collector = KINDS[kind]([first])
        async with asyncio.TaskGroup() as group:
            group.create_task(collector.start_collection())
            await eventually(lambda: collector.is_collecting(first), "the first is streamed")
            await collector.add_symbol(added)
            await eventually(lambda: collector.is_collecting(added), "the added one is streamed")

            async def stored() -> bool:
                return await newest_us(added) > 0

            await eventually(stored, "a minute of the added one")
            await collector.stop_collection()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_collectors_record_is_named_exchange_and_symbol_and_says_its_type(kind: str, place: Place) -> None:
    symbol = place.kraken if "trade" in kind else place.binance
    component = f"{symbol.exchange_name}:{symbol.symbol}"
    collector = KINDS[kind]([symbol])
    async with asyncio.TaskGroup() as group:
        group.create_task(collector.start_collection())

        async def reported() -> bool:
            record = await status_of(component)
            return record is not None and record[1]["type"] == kind

        await eventually(reported, "a record")
        if kind.startswith("live"):
            await collector.stop_collection()
    assert (await status_of(component) or ("",))[0] == "stopped"


class TestBatcher:
    async def test_there_is_one_per_process(self, place: Place) -> None:
        batcher = GlobalTradeBatcher()
        await batcher.start_batch_processing()
        try:
            with pytest.raises(RuntimeError, match="already"):
                await GlobalTradeBatcher().start_batch_processing()
        finally:
            await batcher.stop_batch_processing()
        await batcher.stop_batch_processing()

    async def test_it_stores_what_a_live_collector_streams_and_flushes_when_it_is_stopped(
        self, place: Place, redis: ConnectionPool
    ) -> None:
        batcher = GlobalTradeBatcher()
        batcher.register_symbol(place.kraken)
        await batcher.start_batch_processing()
        collector = LiveTradeCollector([place.kraken])
        async with asyncio.TaskGroup() as group:
            group.create_task(collector.start_collection())

            async def stored() -> bool:
                return await newest_us(place.kraken) > 0

            await eventually(stored, "a candle folded from streamed trades")
            await collector.stop_collection()
        await batcher.stop_batch_processing()
        assert await redis.run("XLEN", "trades:stream:kraken") == 0
        assert place.candles_are_true(place.kraken, await candles(place.kraken))
        batcher.unregister_symbol(place.kraken)


class TestAddSymbols:
    async def test_each_creates_the_documented_relations_and_says_whether_that_went_well(self, place: Place) -> None:
        async def relation(symbol: Symbol) -> bool:
            async with CandleRepository(symbol.exchange_name, symbol.symbol) as repository:
                base = f"{symbol.exchange_name}.{symbol.symbol.lower().replace('/', '_')}"
                async with repository.store.connection("look") as connection:
                    return await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{base}_ohlcv")

        assert await add_symbol("kraken", "BTC/USD") is True
        assert await relation(place.kraken)
        assert await add_symbols_for_exchange("binance") is True
        assert await relation(place.binance)
        other = unnamed("kraken", "ETH/USD")
        assert await add_all_symbols(symbols=[other]) is True
        assert await relation(other)
        assert await add_all_symbols() is True
        assert await add_symbol("nowhere-at-all", "BTC/USD") is False
        assert await add_all_symbols([unnamed("nowhere-at-all", "BTC/USD"), other]) is False


class TestConfig:
    def test_the_configuration_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "7.5")
        assert OhlcvServiceConfig.from_env().collection_interval == 7.5

    async def test_collection_targets_have_the_documented_shape(self, place: Place) -> None:
        async with DatabaseContext() as db:
            uid = await db.users.get_user_id("admin@fullon")
            assert uid is not None
            accounts = await db.exchanges.get_user_exchanges(uid)
            targets = await get_collection_targets(user_id=uid, db_context=db)
        assert targets == await get_collection_targets(uid)
        assert targets == {
            one.name: {"symbols": symbols, "ex_id": one.ex_id, "exchange_category_name": one.cat_exchange.name}
            for one, symbols in zip(accounts, [["BTC/USD"], ["BTC/USDT"]], strict=True)
        }

    async def test_should_collect_ohlcv_knows_what_is_wanted_as_the_targets_do(self, place: Place) -> None:
        async with DatabaseContext() as db:
            for name, fields in (("OFF/USD", {"active": False}), ("TICK/USD", {"only_ticker": True})):
                await db.symbols.add_symbol(Symbol(symbol=name, cat_ex_id=place.kraken.cat_ex_id, **fields))
            await db.commit()
            targets = await get_collection_targets(await db.users.get_user_id("admin@fullon") or 0)
        assert targets["kraken"]["symbols"] == ["BTC/USD"]
        for name in ("OFF/USD", "TICK/USD"):
            assert not await should_collect_ohlcv("kraken", name)
        assert await should_collect_ohlcv("kraken", "BTC/USD")
        assert not await should_collect_ohlcv("kraken", "ETH/USD")
        assert not await should_collect_ohlcv("nowhere", "BTC/USD")


@pytest.mark.parametrize("name", [*demo_data.EXAMPLES, "demo_data"])
def test_the_example_is_there(name: str) -> None:
    """What they do is proved in `tests/acceptance/test_examples.py`."""
    assert (Path(demo_data.__file__).parent / f"{name}.py").is_file()
