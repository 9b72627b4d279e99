"""The daemon in this process on a simulated market: what the database says, it does, within seconds."""

import asyncio

import pytest
from sqlalchemy import text
from support import eventually, running_daemon

from fullon_cache import ProcessCache
from fullon_cache.process_cache import ProcessStatus, ProcessType
from fullon_exchange.clock import MINUTE_US, Clock, floor_minute_us
from fullon_log import configure_logger
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.writer_lock import WriterLock, find_writer
from fullon_ohlcv_service.audit import audit
from fullon_ohlcv_service.config.database_config import WantedSymbol, load_wanted_symbols
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_ohlcv_service.daemon import OhlcvServiceDaemon
from fullon_ohlcv_service.demo import seed_database
from fullon_ohlcv_service.health import Doing
from fullon_ohlcv_service.history import DAY_US
from fullon_ohlcv_service.ohlcv.historic_collector import HistoricOHLCVCollector
from fullon_ohlcv_service.reporter import StatusReporter
from fullon_ohlcv_service.status import Phase
from fullon_orm import DatabaseContext, init_db
from fullon_simulator import SimulatedMarket


def phase_of(daemon: OhlcvServiceDaemon, exchange: str, symbol: str) -> Phase | None:
    runtime = daemon._runtime
    line = runtime.board.get(exchange, symbol) if runtime else None
    return line.phase if line else None


def streamed(daemon: OhlcvServiceDaemon, exchange: str, channel: str) -> set[str]:
    runtime = daemon._runtime
    return {series.symbol for series in runtime.claims.of(exchange, channel)} if runtime else set()


async def refreshed_phase(daemon: OhlcvServiceDaemon, exchange: str, symbol: str) -> Phase | None:
    if daemon._runtime is not None:
        await StatusReporter(daemon._runtime).refresh()
    return phase_of(daemon, exchange, symbol)


async def is_live(daemon: OhlcvServiceDaemon, *symbols: tuple[str, str]) -> bool:
    return all([await refreshed_phase(daemon, *one) is Phase.LIVE for one in symbols])


ALL = (("kraken", "BTC/USD"), ("kraken", "ADA/USD"), ("binance", "BTC/USDT"), ("binance", "ADA/USDT"))


async def test_every_symbol_is_caught_up_and_then_live_and_what_is_stored_is_true(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, *ALL), "all four symbols live")
        await clock.sleep_until(floor_minute_us(clock.now_us()) + 3 * MINUTE_US)
        await eventually(lambda: is_live(daemon, *ALL), "all four symbols live still")
        end_us = floor_minute_us(clock.now_us()) - 2 * MINUTE_US
        async with TimeseriesStore.open(now_us=clock.now_us) as store:
            wanted = await load_wanted_symbols(OhlcvServiceConfig.from_env())
            start_us = end_us - 20 * 60 * MINUTE_US
            found = await audit(store, seeded, wanted, start_us=start_us, end_us=end_us)
    assert found.sound, (str(found), found.examples)
    assert found.trades


async def test_with_log_level_debug_what_is_looked_up_and_stored_is_logged(
    seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    configure_logger(console=True, colors=False, file_path="")
    logged = ""

    def both() -> bool:
        nonlocal logged
        logged += capsys.readouterr().err
        lines = [line for line in logged.splitlines() if "DEBUG" in line]
        return all(any(word in line for line in lines) for word in ("stored", "asked for symbols"))

    async with running_daemon():
        await eventually(both, lambda: f"debug lines of both; {logged[-2000:]}")


async def test_a_database_without_symbols_is_waited_on_and_its_first_symbols_are_collected(
    market: SimulatedMarket, clock: Clock
) -> None:
    async with running_daemon() as daemon:
        await eventually(lambda: daemon._runtime is not None, "the daemon is up")
        assert daemon._runtime is not None
        assert daemon._runtime.board.lines() == []
        await seed_database(market, backtest_days=1)
        await eventually(lambda: is_live(daemon, *ALL), "all four symbols live")


async def test_what_plain_sql_adds_is_collected_and_what_it_removes_or_switches_off_is_let_go_within_five_seconds(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    async with DatabaseContext() as db:
        await db.session.execute(text("DELETE FROM symbols WHERE symbol = 'ADA/USD'"))
        await db.commit()
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, ("kraken", "BTC/USD")), "BTC/USD live")
        async with DatabaseContext() as db:
            await db.session.execute(
                text(
                    "INSERT INTO symbols (symbol, cat_ex_id, updateframe, backtest, base, quote, only_ticker)"
                    " SELECT base || '/USD', cat_ex_id, '1m', 1, base, 'USD', base = 'XRP'"
                    " FROM cat_exchanges, unnest(ARRAY['ADA', 'XRP']) AS base WHERE name = 'kraken'"
                )
            )
            await db.session.execute(text("DELETE FROM symbols WHERE symbol = 'BTC/USD'"))
            await db.commit()
        await eventually(lambda: phase_of(daemon, "kraken", "ADA/USD") is not None, "ADA/USD wanted", 5)
        await eventually(lambda: phase_of(daemon, "kraken", "BTC/USD") is None, "BTC/USD no longer wanted", 5)
        await eventually(lambda: "BTC/USD" not in streamed(daemon, "kraken", "trades"), "BTC/USD streamed no more", 5)
        await eventually(lambda: is_live(daemon, ("kraken", "ADA/USD")), "ADA/USD live")
        assert phase_of(daemon, "kraken", "XRP/USD") is None, "only its ticker is wanted"
        assert daemon._runtime is not None
        store = daemon._runtime.store
        series = await store.series("kraken", "BTC/USD", "candles1m")
        assert await store.read_candles(series, (clock.now_us() - 600 * MINUTE_US, clock.now_us()))

        board = daemon._runtime.board
        for statement, left in (
            ("UPDATE exchanges SET active = false WHERE name = 'binance'", {"kraken:ADA/USD"}),
            ("UPDATE symbols SET active = false WHERE symbol = 'ADA/USD'", set()),
        ):
            async with DatabaseContext() as db:
                await db.session.execute(text(statement))
                await db.commit()
            await eventually(lambda left=left: {str(one.wanted) for one in board.lines()} == left, statement, 5)


async def test_another_backtest_and_a_deactivation_take_effect_within_five_seconds(
    seeded: SimulatedMarket, clock: Clock
) -> None:
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, ("binance", "BTC/USDT"), ("binance", "ADA/USDT")), "both live")
        assert daemon._runtime is not None
        store = daemon._runtime.store
        series = await store.series("binance", "BTC/USDT", "candles1m")
        longer = (floor_minute_us(clock.now_us()) - 3 * DAY_US, floor_minute_us(clock.now_us()) - DAY_US)
        assert (await store.gaps({series: longer}))[series]
        async with DatabaseContext() as db:
            await db.session.execute(text("UPDATE symbols SET backtest = 4 WHERE symbol = 'BTC/USDT'"))
            await db.session.execute(text("UPDATE symbols SET active = false WHERE symbol = 'ADA/USDT'"))
            await db.commit()
        await eventually(lambda: phase_of(daemon, "binance", "ADA/USDT") is None, "ADA/USDT no longer wanted", 5)
        await eventually(lambda: streamed(daemon, "binance", "candles1m") == {"BTC/USDT"}, "ADA/USDT let go", 5)

        async def is_there() -> bool:
            return not (await store.gaps({series: longer}))[series]

        await eventually(is_there, "two more days of history")


async def test_history_of_a_symbol_that_is_let_go_is_read_no_further(seeded: SimulatedMarket, clock: Clock) -> None:
    async with DatabaseContext() as db:
        await db.session.execute(text("UPDATE symbols SET backtest = 2000 WHERE symbol = 'ADA/USDT'"))
        await db.commit()
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, ("binance", "BTC/USDT")), "its neighbour is live")
        assert daemon._runtime is not None
        store = daemon._runtime.store
        series = await store.series("binance", "ADA/USDT", "candles1m")
        wanted = (floor_minute_us(clock.now_us()) - 2000 * DAY_US, floor_minute_us(clock.now_us()))

        async def covered_us() -> int:
            (summary,) = (await store.summaries({series: wanted})).values()
            return summary.covered_us

        async def is_under_way() -> bool:
            return await covered_us() > 5 * DAY_US

        await eventually(is_under_way, "days of its history are there")
        async with DatabaseContext() as db:
            await db.session.execute(text("DELETE FROM symbols WHERE symbol = 'ADA/USDT'"))
            await db.commit()

        async def stands_still() -> bool:
            before_us = await covered_us()
            await clock.sleep(20.0)
            return await covered_us() == before_us

        await eventually(stands_still, "no more of its history", 10)
        assert await covered_us() < wanted[1] - wanted[0], "it was not at its end"


async def test_an_exchange_that_is_down_at_the_start_is_named_and_collected_once_it_is_up(
    seeded: SimulatedMarket,
) -> None:
    down = seeded.faults.begin("down", venue="kraken")
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, ("binance", "BTC/USDT"), ("binance", "ADA/USDT")), "the other is live")
        assert daemon._runtime is not None
        board = daemon._runtime.board
        await eventually(lambda: board.venue_problems.keys() == {"kraken"}, "the one that is down is named")
        seeded.faults.heal(down)
        await eventually(lambda: is_live(daemon, *ALL), "all four symbols live")
        assert not board.venue_problems


async def test_an_unknown_symbol_and_an_unknown_exchange_are_named_and_hurt_nobody(
    seeded: SimulatedMarket, capfd: pytest.CaptureFixture[str]
) -> None:
    async with DatabaseContext() as db:
        kraken = await db.exchanges.get_exchange_cat_id("kraken")
        await db.session.execute(
            text(
                "INSERT INTO symbols (symbol, cat_ex_id, updateframe, base, quote)"
                " VALUES ('BTC/USDX', :id, '1m', 'B', 'X')"
            ),
            {"id": kraken},
        )
        await db.session.execute(text("INSERT INTO cat_exchanges (name) VALUES ('krakken')"))
        await db.session.execute(
            text(
                "INSERT INTO exchanges (uid, cat_ex_id, name) SELECT min(uid), max(cat_ex_id), 'mine'"
                " FROM users, cat_exchanges WHERE cat_exchanges.name = 'krakken'"
            )
        )
        await db.session.execute(
            text(
                "INSERT INTO symbols (symbol, cat_ex_id, updateframe, base, quote)"
                " SELECT base || '/USD', cat_ex_id, '1m', base, 'USD'"
                " FROM cat_exchanges, unnest(ARRAY['BTC', 'ETH']) AS base WHERE name = 'krakken'"
            )
        )
        await db.commit()
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, *ALL), "the four good symbols live")
        assert daemon._runtime is not None
        board = daemon._runtime.board
        unknown, elsewhere = board.get("kraken", "BTC/USDX"), board.get("krakken", "BTC/USD")
        assert unknown is not None
        assert elsewhere is not None
        assert unknown.phase is elsewhere.phase is Phase.REFUSED
        assert "BTC/USD" in unknown.problem
        assert "kraken" in elsewhere.problem
    said = [line for line in capfd.readouterr().err.splitlines() if "did you mean kraken" in line]
    assert len(said) == 1, "once, however many symbols it has"
    assert "krakken" in said[0]


async def test_status_records_beat_while_it_runs_and_are_stopped_when_it_ends(
    seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OHLCV_HEALTH_INTERVAL", "0.5")
    async with ProcessCache() as cache:

        async def running() -> set[str]:
            records = await cache.get_active_processes(ProcessType.OHLCV)
            return {one["component"] for one in records if one["status"] != ProcessStatus.STOPPED}

        async with running_daemon():
            components = {"ohlcv_daemon", *(f"{exchange}:{symbol}" for exchange, symbol in ALL)}

            async def all_run() -> bool:
                return await running() == components

            await eventually(all_run, "a record of the daemon and of each symbol")
            before = await _heartbeat(cache)
            await eventually(lambda: _is_later(cache, before), "a heartbeat")

            async with DatabaseContext() as db:
                await db.session.execute(text("DELETE FROM symbols WHERE symbol = 'ADA/USD'"))
                await db.commit()
            components.remove("kraken:ADA/USD")
            await eventually(all_run, "the record of a symbol that is removed is stopped")
        assert await running() == set()


async def _heartbeat(cache: ProcessCache) -> str:
    records = await cache.get_active_processes(ProcessType.OHLCV, component="ohlcv_daemon")
    return str(records[0]["heartbeat"])


async def _is_later(cache: ProcessCache, before: str) -> bool:
    return await _heartbeat(cache) > before


async def test_a_second_daemon_waits_and_takes_over_when_the_first_ends(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullon_ohlcv_service.daemon.SERVER_RETRY_S", 0.2)
    async with running_daemon() as first:
        await eventually(lambda: is_live(first, ("kraken", "BTC/USD")), "the first daemon live")
        async with running_daemon() as second:
            await asyncio.sleep(1.0)
            assert second._runtime is None
            await first.cleanup()
            await eventually(lambda: is_live(second, *ALL), "the second daemon live")


async def test_a_daemon_that_has_lost_the_database_to_another_stops_writing_and_waits(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullon_ohlcv_service.daemon.SERVER_RETRY_S", 0.5)
    async with running_daemon() as daemon, TimeseriesStore.open(now_us=clock.now_us) as store:
        await eventually(lambda: is_live(daemon, ("binance", "BTC/USDT")), "BTC/USDT live")
        async with WriterLock() as other, store.connection("end the lock's session") as connection:

            async def has_lost_it() -> bool:
                if (writer := await find_writer(connection)) is not None:
                    await connection.execute("SELECT pg_terminate_backend($1)", writer.server_pid)
                return await other.take()

            await eventually(has_lost_it, "another has the lock")
            await eventually(lambda: daemon._condition.doing is Doing.WAITING, "it has noticed, and waits")
            series = await store.series("binance", "BTC/USDT", "candles1m")
            now_us = clock.now_us()
            before = await store.coverage_intervals(series, (now_us - DAY_US, now_us + DAY_US))
            await clock.sleep(2 * 60.0)
            assert await store.coverage_intervals(series, (now_us - DAY_US, now_us + DAY_US)) == before
        await eventually(lambda: is_live(daemon, ("binance", "BTC/USDT")), "live again when the other has ended")


async def test_process_symbol_adds_to_a_running_daemon_and_refuses_what_is_no_symbol(
    seeded: SimulatedMarket,
) -> None:
    async with DatabaseContext() as db:
        symbol = (await db.symbols.get_by_exchange("kraken"))[0]
        await db.session.execute(text("UPDATE symbols SET active = false"))
        await db.commit()
    wanted = WantedSymbol.from_orm(symbol)
    async with running_daemon() as daemon:
        await eventually(lambda: daemon._runtime is not None, "the daemon is up")
        with pytest.raises(ValueError, match="Invalid symbol"):
            await daemon.process_symbol(object())  # type: ignore[arg-type]
        await daemon.process_symbol(symbol)
        await eventually(lambda: is_live(daemon, (wanted.exchange, wanted.symbol)), "the one symbol live")


@pytest.mark.parametrize(
    ("setting", "value", "phase"),
    [("OHLCV_ENABLE_STREAMING", "false", Phase.COMPLETE), ("OHLCV_ENABLE_HISTORICAL", "false", Phase.CATCHING_UP)],
)
async def test_streaming_and_history_can_each_be_switched_off(
    seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, phase: Phase
) -> None:
    monkeypatch.setenv(setting, value)
    monkeypatch.setenv("OHLCV_COLLECTION_INTERVAL", "1")
    async with running_daemon() as daemon:

        async def reached() -> bool:
            return await refreshed_phase(daemon, "binance", "BTC/USDT") is phase

        await eventually(reached, f"binance:BTC/USDT {phase}")
        requests = seeded.requests("binance")
        if setting == "OHLCV_ENABLE_HISTORICAL":
            await eventually(lambda: bool(requests.subscriptions), "a subscription")
            assert not requests.paths["/api/v3/klines"]
        else:
            assert requests.paths["/api/v3/klines"]
            assert not requests.subscriptions


async def test_trades_of_every_exchange_are_collected_where_asked_for(
    seeded: SimulatedMarket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OHLCV_COLLECT_TRADES", "all")
    await init_db()
    async with running_daemon() as daemon:
        await eventually(lambda: is_live(daemon, *ALL), "all live")
        assert daemon._runtime is not None
        store = daemon._runtime.store
        series = await store.series("binance", "BTC/USDT", "trades")
        end_us = floor_minute_us(clock.now_us())
        interval = (end_us - 120 * MINUTE_US, end_us)

        async def complete() -> bool:
            return not (await store.gaps({series: interval}))[series]

        await eventually(complete, "two hours of aggregate trades")
        stored = [tuple(row) for row in await store.read_trades(series, interval)]
        aggregates = seeded.truth("binance", "BTC/USDT").aggregates(*interval)
        assert [row[5] for row in stored] == [one.trade_id for one in aggregates]
        assert [row[:4] for row in stored] == [tuple(one)[:4] for one in aggregates]


@pytest.mark.parametrize(("rows", "least", "most"), [("100", 15, 30), ("1000", 2, 8)])
async def test_the_historical_limit_is_how_many_rows_a_page_asks_for(
    seeded: SimulatedMarket, monkeypatch: pytest.MonkeyPatch, rows: str, least: int, most: int
) -> None:
    """A day of one symbol's candles is 1,440 rows."""
    monkeypatch.setenv("OHLCV_HISTORICAL_LIMIT", rows)
    async with DatabaseContext() as db:
        (symbol,) = [one for one in await db.symbols.get_by_exchange("binance") if one.symbol == "BTC/USDT"]
    assert await HistoricOHLCVCollector().start_symbol(symbol) > 0
    assert least <= seeded.requests("binance").paths["/api/v3/klines"] <= most
