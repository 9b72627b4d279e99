"""The documented relations: names, contents, and symbols that want to do harm."""

import random
from datetime import UTC, datetime

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import CandleWrite, TradeWrite
from fullon_ohlcv.relation_names import BASE_BYTES_MAX, SUFFIXES, base_names, quoted, schema_name
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, from_us, to_us

T = to_us(datetime(2025, 3, 30, 1, 0, tzinfo=UTC))
OHLCV = ["timestamp", "open", "high", "low", "close", "vol", "trades"]


async def rows_of(relation: str) -> list[asyncpg.Record]:
    """Read as somebody else would: another connection, another search_path, another time zone."""
    connection = await asyncpg.connect(
        host=Target.from_env().host,
        port=Target.from_env().port,
        user=Target.from_env().user,
        database=Target.from_env().database,
        server_settings={"search_path": "pg_catalog", "timezone": "Asia/Kathmandu"},
    )
    try:
        return await connection.fetch(f"SELECT * FROM {relation} ORDER BY timestamp")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("symbol", "base"),
    [("BTC/USD", "btc_usd"), ("BTC/USD:BTC", "btc_usd_btc"), ("kPEPE/USDC:USDC", "kpepe_usdc_usdc"), ("@107", "_107")],
)
def test_documented_names(symbol: str, base: str) -> None:
    assert base_names("kraken", symbol)[0] == base
    assert schema_name("Kraken") == "kraken"


@pytest.mark.parametrize("exchange", ["public", "pg_catalog", "information_schema", "_timescaledb_internal", "PG_x"])
def test_schemas_of_the_server_are_left_to_it(exchange: str) -> None:
    assert schema_name(exchange).lstrip("_").startswith(exchange.lower().lstrip("_") + "_")
    assert not schema_name(exchange).startswith("pg_"), "the server refuses those"
    assert schema_name(exchange) == schema_name(exchange)


@given(st.text(), st.text())
def test_names_are_bounded_and_plain(exchange: str, symbol: str) -> None:
    for base in base_names(exchange, symbol):
        assert len(base.encode()) <= BASE_BYTES_MAX
        assert all(len((base + suffix).encode()) <= 63 for suffix in SUFFIXES)
        assert quoted(base) == f'"{base}"'
    assert len(schema_name(exchange).encode()) <= 63


async def test_init_symbol_creates_the_documented_relations_and_may_be_repeated(store: TimeseriesStore) -> None:
    trades = await store.series("kraken", "BTC/USD", "trades")
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    assert await store.init_symbol("kraken", "BTC/USD") is True
    assert await store.init_symbol("kraken", "BTC/USD") is True
    rows = [(T + 1, 5.0, 0.1, "buy", "market", "7"), (T + 2, 6.0, 0.2, "sell", "", None)]
    await store.write_trades([TradeWrite(trades, rows, [(T, T + MINUTE_US)], candles)])
    [first, second] = await rows_of("kraken.btc_usd_trades")
    assert list(first.keys()) == ["timestamp", "price", "volume", "side", "type", "trade_id"]
    assert tuple(first) == (from_us(T + 1), 5.0, 0.1, "buy", "market", "7")
    assert second["trade_id"] is None
    for relation in ("candles1m", "candles1m_view", "ohlcv"):
        [candle] = await rows_of(f"kraken.btc_usd_{relation}")
        assert list(candle.keys()) == [*OHLCV, *([] if relation == "candles1m" else ["complete"])]
        assert tuple(candle)[:7] == (from_us(T), 5.0, 6.0, 5.0, 6.0, 0.3, 2)


async def test_a_candle_of_a_minute_that_is_not_known_is_marked_in_the_views(store: TimeseriesStore) -> None:
    """Minutes: covered, unknown again with its row still there, proved by trades alone."""
    trades = await store.series("binance", "BTC/USDT", "trades")
    candles = await store.series("binance", "BTC/USDT", "candles1m")
    rows = [(T + minute * MINUTE_US, 9.0, 9.0, 9.0, 9.0, 9.0, 1) for minute in range(2)]
    await store.write_candles([CandleWrite(candles, rows, [(T, T + 2 * MINUTE_US)])])
    await store.uncover(candles, (T + MINUTE_US, T + 2 * MINUTE_US))
    third = T + 2 * MINUTE_US
    await store.write_trades([TradeWrite(trades, [(third, 5.0, 0.1, "buy", "", "1")], [(third, third + MINUTE_US)])])
    for main, expected in (("view", [True, False, True]), ("candles", [True, False]), ("trades", [True])):
        await store.init_symbol("binance", "BTC/USDT", main)
        assert [row["complete"] for row in await rows_of("binance.btc_usdt_ohlcv")] == expected
    assert [row["complete"] for row in await rows_of("binance.btc_usdt_candles1m_view")] == [True, False, True]


async def test_ohlcv_follows_main(store: TimeseriesStore) -> None:
    trades = await store.series("kraken", "BTC/USD", "trades")
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    native = [(T + minute * MINUTE_US, 9.0, 9.0, 9.0, 9.0, 9.0, 1) for minute in range(2)]
    await store.write_candles([CandleWrite(candles, native)])
    await store.write_trades([TradeWrite(trades, [(T + 1, 5.0, 0.1, "buy", "market", "7")])])
    closes = {}
    for main in ("view", "candles", "trades", "view"):
        await store.init_symbol("kraken", "BTC/USD", main)
        closes[main] = [row["close"] for row in await rows_of("kraken.btc_usd_ohlcv")]
    assert closes == {"view": [5.0, 9.0], "candles": [9.0, 9.0], "trades": [5.0]}
    with pytest.raises(ValueError, match="allowed are view, candles, trades"):
        await store.init_symbol("kraken", "BTC/USD", "ticker")


async def test_trades_that_a_ledger_does_not_prove_whole_make_no_candle(store: TimeseriesStore) -> None:
    trades = await store.series("kraken", "BTC/USD", "trades")
    candles = await store.series("kraken", "BTC/USD", "candles1m")
    rows = [(T + 1, 5.0, 0.1, "buy", "market", "7"), (T + MINUTE_US + 1, 6.0, 0.1, "buy", "market", "8")]
    await store.write_trades([TradeWrite(trades, rows, [(T, T + MINUTE_US + 5)], candles)])
    for main in ("view", "candles", "trades"):
        await store.init_symbol("kraken", "BTC/USD", main)
        assert [row["close"] for row in await rows_of("kraken.btc_usd_ohlcv")] == [5.0]
        assert [row["close"] for row in await rows_of("kraken.btc_usd_candles1m_view")] == [5.0]


async def test_covered_candles_outweigh_trades_that_nothing_proves(store: TimeseriesStore) -> None:
    trades = await store.series("binance", "BTC/USDT", "trades")
    candles = await store.series("binance", "BTC/USDT", "candles1m")
    await store.init_symbol("binance", "BTC/USDT")
    rows = [(T + minute * MINUTE_US + 1, 5.0, 0.1, "buy", "market", str(minute)) for minute in range(3)]
    await store.write_trades([TradeWrite(trades, rows)])
    native = [(T, 9.0, 9.0, 9.0, 9.0, 9.0, 1)]
    await store.write_candles([CandleWrite(candles, native, [(T - MINUTE_US, T + MINUTE_US)])])
    assert [row["close"] for row in await rows_of("binance.btc_usdt_ohlcv")] == [9.0, 5.0, 5.0]


async def test_symbols_that_want_one_name_are_kept_apart(store: TimeseriesStore) -> None:
    symbols = ["BTC/USD", "BTC_USD", "btc-usd"]
    for number, symbol in enumerate(symbols, start=1):
        candles = await store.series("kraken", symbol, "candles1m")
        await store.init_symbol("kraken", symbol)
        price = float(number)
        await store.write_candles([CandleWrite(candles, [(T, price, price, price, price, 1.0, 1)])])
    bases = ["btc_usd", *(base_names("kraken", symbol)[1] for symbol in symbols[1:])]
    assert len(set(bases)) == 3
    for number, base in enumerate(bases, start=1):
        assert [row["close"] for row in await rows_of(f"kraken.{base}_ohlcv")] == [float(number)]


async def test_a_name_that_something_else_has_is_said(store: TimeseriesStore) -> None:
    async with store.connection("prepare") as connection:
        await connection.execute("CREATE SCHEMA kraken; CREATE TABLE kraken.btc_usd_ohlcv (mine text)")
    with pytest.raises(StorageError, match="something else has one of these names"):
        await store.init_symbol("kraken", "BTC/USD")
    assert await store.init_symbol("kraken", "ETH/USD")


def hostile_symbols(count: int) -> list[str]:
    chance = random.Random(53)
    pieces = [
        'x"; DROP TABLE candles; --', "'; DROP SCHEMA public CASCADE; --", "$$", "\\", "%s", "{}", "{trades_id}", "$1",
        "🚀", "é", "ß", "İ", "中文", "\u202e", "\n", "\t", " ", "/", ":", "_", "-", ".", "BTC", "btc", "USD", "null",
        "x" * 60,
    ]  # fmt: skip
    symbols: dict[str, None] = dict.fromkeys(
        ['x"; DROP TABLE candles; --', "X" * 200, "x" * 200, "🚀" * 50, "BTC/USD", "BTC_USD", "btc/usd", "BTC/USD:BTC"]
    )
    while len(symbols) < count:
        symbols["".join(chance.choices(pieces, k=chance.randrange(1, 5)))] = None
    return list(symbols)


async def test_a_thousand_hostile_symbols_each_read_their_own_rows_alone(store: TimeseriesStore) -> None:
    symbols = hostile_symbols(1000)
    exchange = 'kra"ken; DROP'
    writes = []
    for number, symbol in enumerate(symbols):
        candles = await store.series(exchange, symbol, "candles1m")
        assert await store.init_symbol(exchange, symbol)
        price = float(number + 1)
        writes.append(CandleWrite(candles, [(T, price, price, price, price, 1.0, number + 1)], [(T, T + MINUTE_US)]))
    assert (await store.write_candles(writes)).inserted == 1000
    connection = await connect(Target.from_env())
    try:
        names = await connection.fetch("SELECT symbol, schema_name, base_name FROM relation_names")
        assert {row["symbol"] for row in names} == set(symbols)
        assert len({row["base_name"] for row in names}) == 1000
        union = " UNION ALL ".join(
            f"SELECT {number} AS number, close, trades"
            f" FROM {quoted(row['schema_name'])}.{quoted(row['base_name'] + suffix)}"
            for number, row in enumerate(names)
            for suffix in ("_candles1m", "_ohlcv")
        )
        rows = await connection.fetch(union)
    finally:
        await connection.close()
    price_of = {symbol: float(number + 1) for number, symbol in enumerate(symbols)}
    assert len(rows) == 2000
    assert all(row["close"] == row["trades"] == price_of[names[row["number"]]["symbol"]] for row in rows)
    for write in writes:
        assert [row[1] for row in await store.read_candles(write.series, (T, T + MINUTE_US))] == [write.rows[0][1]]
