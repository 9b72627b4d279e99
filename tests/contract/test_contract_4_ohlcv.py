"""Contract, section 4: fullon_ohlcv."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from itertools import product

import arrow
import asyncpg
import pytest

from fullon_log import configure_logger
from fullon_ohlcv.models import Candle, Trade
from fullon_ohlcv.repositories.ohlcv import CandleRepository, TimeseriesRepository, TradeRepository
from fullon_ohlcv.repositories.ohlcv.base_repository import OHLCVBaseRepository
from fullon_ohlcv.utils import install_uvloop
from fullon_orm.database import create_database_url

pytestmark = pytest.mark.usefixtures("databases")

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""


def a_symbol() -> str:
    return f"{secrets.token_hex(4).upper()}/USD"


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def a_candle(number: int, price: float = 10.0) -> Candle:
    return Candle(timestamp=minute(number), open=price, high=price + 2, low=price - 2, close=price + 1, vol=1.5)


async def relations(database: str) -> list[str]:
    connection = await asyncpg.connect(create_database_url(database).replace("+asyncpg", ""))
    try:
        rows = await connection.fetch("SELECT schemaname || '.' || viewname AS name FROM pg_views")
    finally:
        await connection.close()
    return [row["name"] for row in rows]


class TestModels:
    def test_a_candle_has_the_documented_fields(self) -> None:
        candle = Candle(timestamp=START, open=1.0, high=2.0, low=0.5, close=1.5, vol=3.0)
        assert (candle.timestamp.utcoffset(), candle.vol) == (timedelta(0), 3.0)

    def test_a_trade_has_the_documented_fields_and_an_optional_id(self) -> None:
        trade = Trade(timestamp=START, price=1.0, volume=2.0, side="buy", type="limit")
        assert trade.trade_id is None
        assert Trade(START, 1.0, 2.0, "sell", "market", trade_id="7").trade_id == "7"

    async def test_side_and_type_are_taken_in_either_case(self) -> None:
        async with TradeRepository("kraken", a_symbol()) as repository:
            assert await repository.save_trades([Trade(START, 1.0, 2.0, "BUY", "LIMIT", "1")])
            [stored] = await repository.get_recent_trades()
        assert (stored.side, stored.type) == ("buy", "limit")


class TestRepositories:
    @pytest.mark.parametrize("kind", [CandleRepository, TradeRepository, TimeseriesRepository, OHLCVBaseRepository])
    async def test_is_an_async_context_manager_with_initialize_and_close_too(
        self, kind: type[OHLCVBaseRepository]
    ) -> None:
        async with kind("kraken", "BTC/USD", test=False) as repository:
            assert await repository.get_latest_timestamp() is None
        repository = kind("kraken", "BTC/USD")
        await repository.initialize()
        assert await repository.get_oldest_timestamp() is None
        await repository.close()

    async def test_test_true_is_another_database(self) -> None:
        symbol = a_symbol()
        async with CandleRepository("kraken", symbol, test=True) as repository:
            assert await repository.save_candles([a_candle(0)])
        async with CandleRepository("kraken", symbol) as repository:
            assert await repository.get_latest_timestamp() is None


class TestInitSymbol:
    @pytest.mark.parametrize("main", ["view", "candles", "trades"])
    async def test_is_idempotent_and_makes_the_documented_relations(
        self, main: str, databases: tuple[str, str]
    ) -> None:
        symbol = f"{secrets.token_hex(3).upper()}/USD:BTC"
        async with CandleRepository("kraken", symbol) as repository:
            assert await repository.init_symbol(main) is True
            assert await repository.init_symbol(main=main) is True
        base = f"kraken.{symbol.lower().replace('/', '_').replace(':', '_')}"
        names = {f"{base}_trades", f"{base}_candles1m", f"{base}_candles1m_view", f"{base}_ohlcv"}
        assert names <= set(await relations(databases[1]))

    async def test_two_symbols_that_would_collide_are_kept_apart(self, databases: tuple[str, str]) -> None:
        base = secrets.token_hex(3).upper()
        for symbol in (f"{base}/USD", f"{base}_USD"):
            async with CandleRepository("kraken", symbol) as repository:
                assert await repository.init_symbol()
        names = [one for one in await relations(databases[1]) if base.lower() in one and one.endswith("_candles1m")]
        assert len(names) == 2


class TestSaveCandles:
    async def test_takes_candles_or_rows_and_upserts(self) -> None:
        async with CandleRepository("binance", a_symbol()) as repository:
            assert await repository.save_candles([a_candle(0), a_candle(1)]) is True
            row = [round(minute(1).timestamp() * 1000), 20.0, 22.0, 18.0, 21.0, 3.0]
            assert await repository.save_candles([row]) is True
            async with TimeseriesRepository("binance", repository.symbol) as series:
                stored = await series.fetch_ohlcv(1, "minutes", START, minute(9))
        assert [one[4] for one in stored] == [11.0, 21.0]

    async def test_bad_rows_are_reported_one_by_one_and_the_rest_is_stored(self, lines: list[str]) -> None:
        bad = [Candle(minute(1), 1.0, 0.5, 2.0, 1.0, 1.0), [0, "no", 1, 1, 1, 1]]
        async with CandleRepository("binance", a_symbol()) as repository:
            configure_logger(sink=lines.append)
            assert await repository.save_candles([a_candle(0), *bad, a_candle(2)]) is False
            assert [row for row, _ in repository.rejected]
            assert len(repository.rejected) == len(lines) == 2
            assert await repository.get_latest_timestamp() == arrow.get(minute(2))

    async def test_takes_any_number_of_rows(self) -> None:
        async with CandleRepository("binance", a_symbol()) as repository:
            assert await repository.save_candles([]) is True
            assert await repository.save_candles([a_candle(number) for number in range(20_000)]) is True
            assert await repository.get_latest_timestamp() == arrow.get(minute(19_999))


class TestSaveTrades:
    async def test_is_unique_by_trade_id(self) -> None:
        async with TradeRepository("kraken", a_symbol()) as repository:
            for _ in range(2):
                assert await repository.save_trades([Trade(START, 1.0, 2.0, "buy", "limit", "7")]) is True
            assert len(await repository.get_recent_trades()) == 1

    async def test_without_ids_by_content_plus_occurrence_so_that_two_equal_trades_stay_two(self) -> None:
        twins = [Trade(START, 1.0, 2.0, "buy", "limit")] * 2
        async with TradeRepository("kraken", a_symbol()) as repository:
            for _ in range(2):
                assert await repository.save_trades(twins) is True
            assert len(await repository.get_recent_trades()) == 2


class TestReading:
    async def test_timestamps_are_arrows(self) -> None:
        async with CandleRepository("binance", a_symbol()) as repository:
            await repository.save_candles([a_candle(1), a_candle(5)])
            oldest, latest = await repository.get_oldest_timestamp(), await repository.get_latest_timestamp()
        assert isinstance(oldest, arrow.Arrow)
        assert (oldest, latest) == (arrow.get(minute(1)), arrow.get(minute(5)))

    async def test_trades_are_read_newest_or_by_range(self) -> None:
        async with TradeRepository("kraken", a_symbol()) as repository:
            await repository.save_trades([Trade(minute(n), 1.0 + n, 1.0, "buy", "limit", str(n)) for n in range(5)])
            recent = await repository.get_recent_trades(limit=2)
            between = await repository.get_trades_in_range(minute(1), minute(4))
            first = await repository.get_trades_in_range(minute(0), minute(5), limit=1)
        assert [one.trade_id for one in recent] == ["3", "4"]
        assert [one.trade_id for one in between] == ["1", "2", "3"]
        assert [one.trade_id for one in first] == ["0"]


class TestFetchOhlcv:
    @pytest.fixture
    async def series(self) -> TimeseriesRepository:
        async with CandleRepository("binance", a_symbol()) as repository:
            await repository.save_candles(
                [a_candle(number, 10.0 + number) for number in range(0, 3 * 1440, 10)],
                covering=(START, START + timedelta(days=3)),
            )
        return TimeseriesRepository("binance", repository.symbol)

    @pytest.mark.parametrize(
        ("unit", "compression", "count"),
        [
            *product(["minute", "minutes"], [10], [432]),
            *product(["hour", "hours"], [4], [18]),
            *product(["day", "days"], [1], [3]),
            *product(["week", "weeks"], [1], [1]),
            *product(["month", "months"], [1], [1]),
            ("minutes", 7, 432),
        ],
    )
    async def test_any_compression_of_any_period_is_ascending_six_tuples(
        self, series: TimeseriesRepository, unit: str, compression: int, count: int
    ) -> None:
        async with series:
            until = START + timedelta(days=3)
            # From the beginning of the month, or that bucket would not begin in the range.
            asked = compression, unit, START.replace(day=1), until
            rows = await series.fetch_ohlcv(*asked, incomplete="keep")
            assert set(await series.fetch_ohlcv(*asked)) <= set(rows)
        assert len(rows) == count
        assert rows == sorted(rows)
        assert {len(row) for row in rows} == {6}
        at, open_, high, low, close, volume = rows[0]
        assert at.utcoffset() == timedelta(0)
        assert low <= open_ <= high
        assert low <= close <= high
        assert volume > 0

    async def test_flat_fills_empty_buckets(self, series: TimeseriesRepository) -> None:
        async with series:
            plain = await series.fetch_ohlcv(1, "minutes", START, minute(20), fill=None)
            flat = await series.fetch_ohlcv(1, "minutes", START, minute(20), fill="flat")
        assert (len(plain), len(flat)) == (2, 20)
        assert flat[1][1:] == (11.0, 11.0, 11.0, 11.0, 0.0)

    async def test_an_unknown_symbol_is_an_empty_list(self) -> None:
        async with TimeseriesRepository("binance", "NONE/USD") as series:
            assert await series.fetch_ohlcv(1, "days", START, minute(1)) == []

    async def test_a_frame_has_the_same_candles(self, series: TimeseriesRepository) -> None:
        async with series:
            rows = await series.fetch_ohlcv(1, "hours", START, minute(300))
            frame = await series.fetch_ohlcv_df(1, "hours", START, minute(300))
        assert list(frame[["open", "high", "low", "close", "volume"]].itertuples(name=None)) == rows
        assert [*frame["known_minutes"], *frame["complete"]] == [60] * 5 + [True] * 5


def test_install_uvloop_makes_uvloop_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    before = asyncio.get_event_loop_policy()
    try:
        assert install_uvloop()
        loop = asyncio.new_event_loop()
        loop.close()
        assert type(loop).__module__.startswith("uvloop")
    finally:
        asyncio.set_event_loop_policy(before)
