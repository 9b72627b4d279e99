"""Hyperliquid's answers to `POST /info`: bytes to records, pure.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint (read 2026-11). Candles are stamped
with their open time; a quiet minute is a flat row with `n` 0, or no row between two others.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated

import msgspec

from fullon_exchange.answers import CandleAnswer, decode_row
from fullon_exchange.errors import UNREADABLE, ExchangeError, excerpt_of, unexpected
from fullon_exchange.hyperliquid.symbols import unified_code, unified_token
from fullon_exchange.interface import Listing
from fullon_exchange.listings import Listings, Name
from fullon_exchange.records import EARLIEST_US, Candle, Price, Zero
from fullon_exchange.timeframes import Timeframe

EXCHANGE = "hyperliquid"
WINDOW = 5000
"""How many of the newest candles of a timeframe are served, the running one included."""
ROWS_PER_WEIGHT = 60
"""Rows of a candle answer that cost one more."""

_FAULTS_MAX = 20

Millis = Annotated[int, msgspec.Meta(ge=EARLIEST_US // 1000, lt=4_102_444_800_000)]
"""A time on the wire, 2009 to 2100."""
Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, lt=1e18)]


class CandleRow(msgspec.Struct, gc=False):
    """One candle, the same over REST and WebSocket; prices and volume are strings, `s` is the coin."""

    t: Millis
    s: str
    i: str
    o: Price
    c: Price
    h: Price
    l: Price  # noqa: E741 -- the venue's spelling
    v: Amount
    n: Count


class _VoidCandleRow(msgspec.Struct, gc=False):
    """A candle in which nothing was traded, without prices."""

    t: Millis
    i: str
    v: Zero


class _Token(msgspec.Struct, gc=False):
    """https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/spot (read 2026-11)."""

    name: Name
    index: int
    fullName: str | None = None  # noqa: N815 -- the venue's spelling


class _SpotMarket(msgspec.Struct, gc=False):
    name: Name
    tokens: tuple[int, int]


class SpotMeta(msgspec.Struct, gc=False):
    """The spot tokens, and the markets as pairs of their `index`, which is no place in that list."""

    tokens: list[msgspec.Raw]
    universe: list[msgspec.Raw]


class _Perpetual(msgspec.Struct, gc=False):
    """https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals (read 2026-11)."""

    name: Name
    isDelisted: bool | None = None  # noqa: N815 -- the venue's spelling


class PerpMeta(msgspec.Struct, gc=False):
    """The perpetuals of one exchange, all settled in one token (by its `index`)."""

    universe: list[msgspec.Raw]
    collateralToken: int = 0  # noqa: N815 -- the venue's spelling


class _Dex(msgspec.Struct, gc=False):
    name: str | None = None


class _Status(msgspec.Struct, gc=False):
    time: Millis


_decode_token = msgspec.json.Decoder(_Token).decode
_decode_spot_market = msgspec.json.Decoder(_SpotMarket).decode
_decode_perpetual = msgspec.json.Decoder(_Perpetual).decode
_decode_spot = msgspec.json.Decoder(SpotMeta).decode
_decode_perps = msgspec.json.Decoder(PerpMeta).decode
_decode_dexes = msgspec.json.Decoder(list[_Dex | None]).decode
_decode_status = msgspec.json.Decoder(_Status, strict=False).decode
_decode_candles = msgspec.json.Decoder(list[CandleRow], strict=False).decode
_decode_candle = msgspec.json.Decoder(CandleRow, strict=False).decode
_decode_void = msgspec.json.Decoder(_VoidCandleRow, strict=False).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode


class HyperliquidHttp:
    """Hyperliquid says no without JSON: HTTP 500 with `null`, 422 with a sentence; the shared rules fit both."""

    used_weight_header: str | None = None

    def refusal(self, status: int, body: bytes) -> ExchangeError | None:
        """Return None: no answer of JSON is an error."""
        return None


def parse_time(body: bytes) -> int:
    """Return the venue's time in microseconds from an answer of `exchangeStatus`."""
    try:
        return _decode_status(body).time * 1000
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error


def parse_spot_meta(body: bytes) -> SpotMeta:
    """Return an answer of `spotMeta`."""
    try:
        return _decode_spot(body)
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error


def parse_meta(body: bytes) -> PerpMeta:
    """Return an answer of `meta`."""
    try:
        return _decode_perps(body)
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error


def parse_dexes(body: bytes) -> list[str]:
    """Return the names of the builders' exchanges from an answer of `perpDexs`; the first, ours, has none."""
    try:
        return [dex.name for dex in _decode_dexes(body) if dex is not None and dex.name]
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error


def listings(spot: SpotMeta, own: PerpMeta, built: Sequence[PerpMeta]) -> Listings:
    """Return the markets by unified symbol: spot, Hyperliquid's own perpetuals, those of the builders' exchanges."""
    found = Listings()
    tokens = {token.index: token for row in spot.tokens if (token := found.read(row, _decode_token)) is not None}
    codes = {index: unified_token(token.name, token.fullName) for index, token in tokens.items()}
    for row in spot.universe:
        market = found.read(row, _decode_spot_market)
        if market is None:
            continue
        base, quote = (codes.get(index) for index in market.tokens)
        if base is None or quote is None:
            found.malformed.append(f'"{market.name}" of {market.tokens}: no such token is listed')
        else:
            _offer(found, f"{base}/{quote}", base, quote, market.name)
    for meta in (own, *built):
        collateral = None if meta is own else tokens.get(meta.collateralToken)
        quote = unified_code(collateral.name) if collateral else "USDC"
        for row in meta.universe:
            perpetual = found.read(row, _decode_perpetual)
            if perpetual is not None:
                base = unified_code(perpetual.name)
                _offer(found, f"{base}/{quote}:{quote}", base, quote, perpetual.name, active=not perpetual.isDelisted)
    return found


def _offer(found: Listings, symbol: str, base: str, quote: str, coin: str, *, active: bool = True) -> None:
    found.offer(Listing(symbol, base, quote, active, {"rest": coin, "ws": coin}, delisted=not active))


def parse_candles(body: bytes, symbol: str, timeframe: Timeframe) -> CandleAnswer:
    """Return the candles of an answer of `candleSnapshot`, the running one included.

    A candle that is absent between two others of one answer is one in which nothing traded (inferred: recorded
    days have a flat row for each).
    """
    faults: list[str] = []
    empty: list[int] = []
    try:
        rows = _decode_candles(body)
    except UNREADABLE:
        rows, empty = _candles_singly(body, faults)
    candles = [candle_of(row, symbol, closed=True) for row in rows if row.i == timeframe.name]
    faults += [f"interval {row.i}, asked for {timeframe.name}" for row in rows if row.i != timeframe.name]
    quiet = [] if faults else _absent([*empty, *(candle.timestamp_us for candle in candles)], timeframe)
    return CandleAnswer(candles, faults[:_FAULTS_MAX], sorted([*empty, *quiet]))


def candle_of(row: CandleRow, symbol: str, *, closed: bool) -> Candle:
    """Return a row of either API as a record."""
    return Candle(symbol, row.i, row.t * 1000, row.o, row.h, row.l, row.c, row.v, row.n, closed)


def _candles_singly(body: bytes, faults: list[str]) -> tuple[list[CandleRow], list[int]]:
    """Read row by row what could not be read at once; return the candles, and when empty ones opened."""
    try:
        raw_rows = _decode_rows(body)
    except UNREADABLE as error:
        raise unexpected(EXCHANGE, body, error) from error
    rows: list[CandleRow] = []
    empty: list[int] = []
    for raw in raw_rows:
        try:
            row = decode_row(raw, _decode_candle, _decode_void)
        except UNREADABLE:
            faults.append(excerpt_of(bytes(raw)))
            continue
        if isinstance(row, CandleRow):
            rows.append(row)
        else:
            empty.append(row.t * 1000)
    return rows, empty


def _absent(times_us: list[int], timeframe: Timeframe) -> list[int]:
    """Return the open times that are missing between the first and the last of `times_us`, at most a window of them."""
    absent: list[int] = []
    for earlier_us, later_us in itertools.pairwise(sorted(times_us)):
        missing_us = timeframe.next_us(earlier_us)
        while missing_us < later_us and len(absent) < WINDOW:
            absent.append(missing_us)
            missing_us = timeframe.next_us(missing_us)
    return absent
