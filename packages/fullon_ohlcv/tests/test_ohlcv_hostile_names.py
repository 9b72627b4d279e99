"""Exchanges and symbols that want to do harm, or cannot be: only names, or one clear sentence; neighbours are kept."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fullon_ohlcv.connection import Target, connect
from fullon_ohlcv.models import Candle, Trade
from fullon_ohlcv.records import CandleWrite, TradeWrite
from fullon_ohlcv.relation_names import quoted
from fullon_ohlcv.repositories.ohlcv import CandleRepository, TimeseriesRepository, TradeRepository
from fullon_ohlcv.store import TimeseriesStore
from fullon_ohlcv.timeframe import MINUTE_US, from_us, to_us

START = datetime(2025, 3, 30, 1, 0, tzinfo=UTC)
END = START + timedelta(minutes=1)
T = to_us(START)
MINUTE = (T, T + MINUTE_US)
NAMES = 1000
IMPOSSIBLE = ["", "\0", "BTC\0/USD", "\ud800", "BTC/\udfff", "x" * 501, "🚀" * 126, "\0" * 1000]


def hostile_pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of exchange and symbol that differ by little: quotes, paths, comments, case, widths, directions."""
    chance = random.Random(31)
    pieces = [
        "'", '"', ";", "--", "/*", "*/", "$1", "$$", "\\", "%s", "%", "{}", "{0}", "{bucket}", "../../etc/passwd",
        "/", "C:\\con", "\n", "\r\n", "\t", " ", "\u200b", "\u202e", "é", "e\u0301", "ß", "SS", "İ", "ı", "Ｂ", "B",
        "🚀", "null", "NULL", "true", "0", "1e9", "public", "pg_catalog", "'; DELETE FROM candles; --",
        "BTC", "btc", "USD", "_", ":", "-", ".", "x" * 200, "🚀" * 40,
    ]  # fmt: skip
    pairs: dict[tuple[str, str], None] = dict.fromkeys(
        [
            *(("kraken", symbol) for symbol in ("BTC/USD", "BTC_USD", "btc/usd", "BTCUSD", " BTC/USD", "BTC/USD ")),
            *((exchange, "BTC/USD") for exchange in ("Kraken", "KRAKEN", "kraken ", 'kra"ken', "public", "pg_toast")),
            ("a", "b.c"), ("a.b", "c"), ("a/b", "c"), ("a", "b/c"), ("a_b", "c"), ("a", "b_c"), ("'", "'"),
        ]
    )  # fmt: skip

    def name() -> str:
        return "".join(chance.choices(pieces, k=chance.randrange(1, 4)))[:125]

    while len(pairs) < count:
        pairs[name() if chance.random() < 0.7 else "kraken", name()] = None
    return list(pairs)


async def test_a_thousand_hostile_pairs_keep_to_their_own_rows(store: TimeseriesStore) -> None:
    pairs = hostile_pairs(NAMES)
    candles: list[CandleWrite] = []
    trades: list[TradeWrite] = []
    for number, (exchange, symbol) in enumerate(pairs):
        price = float(number + 1)
        row = (T, price, price, price, price, 1.0, 1)
        candles.append(CandleWrite(await store.series(exchange, symbol, "candles1m"), [row], [MINUTE]))
        trade = (T + 1, price, 1.0, "buy", "", str(number))
        trades.append(TradeWrite(await store.series(exchange, symbol, "trades"), [trade], [MINUTE]))
    assert (await store.write_candles(candles)).inserted == NAMES
    assert (await store.write_trades(trades)).inserted == NAMES
    async with TimeseriesRepository("kraken", "BTC/USD"):  # holds the pool that all of them share
        for number, (exchange, symbol) in enumerate(pairs):
            price = float(number + 1)
            async with TimeseriesRepository(exchange, symbol) as repository:
                rows = await repository.fetch_ohlcv(1, "minute", START, END)
                assert rows == [(START, price, price, price, price, 1.0)], (exchange, symbol)
    connection = await connect(Target.from_env())
    try:
        for table in ("candles", "trades"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == NAMES
    finally:
        await connection.close()


async def test_relations_of_hostile_exchanges_are_their_own_and_shadow_nothing(store: TimeseriesStore) -> None:
    pairs = hostile_pairs(NAMES)[:: NAMES // 50]
    for number, (exchange, symbol) in enumerate(pairs):
        price = float(number + 1)
        series = await store.series(exchange, symbol, "candles1m")
        await store.write_candles([CandleWrite(series, [(T, price, price, price, price, 1.0, 1)], [MINUTE])])
        assert await store.init_symbol(exchange, symbol)
    connection = await connect(Target.from_env())
    try:
        names = await connection.fetch("SELECT exchange, symbol, schema_name, base_name FROM relation_names")
        assert {(row["exchange"], row["symbol"]) for row in names} == set(pairs)
        for row in names:
            relation = f"{quoted(row['schema_name'])}.{quoted(row['base_name'] + '_ohlcv')}"
            price = float(pairs.index((row["exchange"], row["symbol"])) + 1)
            assert await connection.fetchval(f"SELECT close FROM {relation}") == price
        schemas = {row["schema_name"] for row in names}
        assert not schemas & {"public", "pg_catalog", "information_schema", "pg_toast"}
    finally:
        await connection.close()


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=[ascii(name[:12]) for name in IMPOSSIBLE])
@pytest.mark.parametrize("is_exchange", [True, False], ids=["exchange", "symbol"])
async def test_an_impossible_name_is_refused_in_one_sentence_and_reads_as_unknown(
    store: TimeseriesStore, name: str, is_exchange: bool
) -> None:
    pair: tuple[Any, Any] = (name, "BTC/USD") if is_exchange else ("kraken", name)
    known = await store.series("kraken", "BTC/USD", "candles1m")
    await store.write_candles([CandleWrite(known, [(T, 1.0, 1.0, 1.0, 1.0, 1.0, 1)], [MINUTE])])
    sentence = rf"{'exchange' if is_exchange else 'symbol'} is .*allowed is text of 1 to 500 bytes"
    with pytest.raises(ValueError, match=sentence):
        await store.series(*pair, "candles1m")
    with pytest.raises(ValueError, match=sentence):
        await store.init_symbol(*pair)
    assert await store.find_series(*pair, "candles1m") is None
    async with CandleRepository(*pair) as candles, TradeRepository(*pair) as trades:
        candle = Candle(timestamp=START, open=1, high=1, low=1, close=1, vol=1)
        with pytest.raises(ValueError, match=sentence):
            await candles.save_candles([candle])
        with pytest.raises(ValueError, match=sentence):
            await trades.save_trades([Trade(timestamp=START, price=1, volume=1, side="buy", type="market")])
        assert await trades.get_recent_trades() == []
        assert await candles.get_latest_timestamp() is None
    async with TimeseriesRepository(*pair) as repository:
        assert await repository.fetch_ohlcv(1, "minute", START, END) == []
        assert {one.state for one in await repository.coverage(START, END)} == {"unknown"}
    assert [row[0] for row in await store.read_candles(known, MINUTE)] == [T]
    assert from_us(T) == START
