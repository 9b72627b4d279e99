"""PostgreSQL's binary COPY format for the two tables, encoded from integer microseconds without datetimes. Pure.

asyncpg's own record encoder wants a datetime for every row; `benchmarks/bench_store.py` compares the two.
Source: PostgreSQL documentation, COPY, "Binary Format".
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from struct import Struct

from fullon_ohlcv.records import CandleRow, TradeColumns, TradeRow

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_PIECE_ROWS = 4096
_POSTGRES_EPOCH_US = 946_684_800_000_000

CANDLE_COLUMNS = ("series_id", "timestamp", "open", "high", "low", "close", "volume", "trades")
TRADE_COLUMNS = ("series_id", "timestamp", "price", "volume", "occurrence", "side", "order_type", "trade_id")

_COUNTED_CANDLE = Struct(">hiiiqidididididii")
_UNCOUNTED_CANDLE = Struct(">hiiiqidididididi")
_TRADE = Struct(">hiiiqididii")
_TRADE_START = Struct(">hiii")
_TRADE_HEAD = Struct(">14sq4sd4sd4si")
_LENGTH = Struct(">i")
_FOUR, _EIGHT = _LENGTH.pack(4), _LENGTH.pack(8)


def candle_bytes(series_id: int, row: CandleRow) -> bytes:
    """Encode one row of `candles`, in the order of `CANDLE_COLUMNS`."""
    timestamp_us, open_, high, low, close, volume, trades = row
    at = timestamp_us - _POSTGRES_EPOCH_US
    if trades is None:
        return _UNCOUNTED_CANDLE.pack(8, 4, series_id, 8, at, 8, open_, 8, high, 8, low, 8, close, 8, volume, -1)
    return _COUNTED_CANDLE.pack(8, 4, series_id, 8, at, 8, open_, 8, high, 8, low, 8, close, 8, volume, 4, trades)


def trade_bytes(series_id: int, row: TradeRow, occurrence: int) -> bytes:
    """Encode one row of `trades`, in the order of `TRADE_COLUMNS`; the trade id must be given."""
    timestamp_us, price, volume, side, order_type, trade_id = row
    identity = (trade_id or "").encode()
    return (
        _TRADE.pack(8, 4, series_id, 8, timestamp_us - _POSTGRES_EPOCH_US, 8, price, 8, volume, 4, occurrence)
        + _words(side, order_type)
        + _LENGTH.pack(len(identity))
        + identity
    )


def trades_bytes(series_id: int, columns: TradeColumns) -> list[bytes]:
    """Encode rows given as columns, each as `trade_bytes` does with occurrence 0; every id is ASCII."""
    times_us, prices, volumes, sides, order_types, ids = columns
    start = _TRADE_START.pack(8, 4, series_id, 8)
    heads = map(
        _TRADE_HEAD.pack,
        repeat(start),
        [timestamp_us - _POSTGRES_EPOCH_US for timestamp_us in times_us],
        repeat(_EIGHT),
        prices,
        repeat(_EIGHT),
        volumes,
        repeat(_FOUR),
        repeat(0),
    )
    words = map(_words, sides, order_types)
    lengths = map(_length, map(len, ids))
    parts = zip(heads, words, lengths, map(str.encode, ids), strict=True)
    return [head + word + length + identity for head, word, length, identity in parts]


@lru_cache(maxsize=256)
def _length(size: int) -> bytes:
    return _LENGTH.pack(size)


@lru_cache(maxsize=64)
def _words(*texts: str) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(_LENGTH.pack(len(word)) + word for word in encoded)


def copy_document(rows: Sequence[bytes]) -> Iterator[bytes]:
    """Yield encoded rows as one complete COPY stream, in pieces of some hundred kilobytes."""
    yield _SIGNATURE
    for first in range(0, len(rows), _PIECE_ROWS):
        yield b"".join(rows[first : first + _PIECE_ROWS])
    yield _TRAILER
