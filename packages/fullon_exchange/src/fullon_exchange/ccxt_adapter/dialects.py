"""What an exchange needs beyond ccxt: how it acknowledges, what ccxt gets wrong, what can be asked of its history.

`Dialect` itself is for every exchange that has not been tested against this package: nothing is believed that its data
does not show. A subscription counts once its first data have come, answers are not understood, history is checked first
(`conventions.py`). The tested ones are compared with the native sessions on the simulated market.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from fullon_exchange.binance.rest import Binance
from fullon_exchange.budget import BudgetSpec
from fullon_exchange.hyperliquid.rest import Hyperliquid
from fullon_exchange.kraken.mapper import TRADED
from fullon_exchange.kraken.rest import Kraken
from fullon_exchange.kraken.symbols import websocket_name
from fullon_exchange.timeframes import DAY_US, Timeframe, parse_timeframe
from fullon_exchange.venue import SocketLimits
from fullon_exchange.wire import Acknowledged, Farewell, Key, Refused

_MINUTE_OF_COST = 60.0

Answer = Acknowledged | Refused | Farewell


@dataclass(frozen=True)
class Sent:
    """One request that went out: what it is about, and its text."""

    keys: tuple[Key, ...]
    message: Any
    subscribe: bool


class Dialect:
    """An exchange that nobody has tested: only what its data show is believed."""

    tested = False
    trade_cursor: Literal["time", "kraken", "binance"] = "time"
    trade_history = True
    trade_ids_sequential = False
    trades_add_up = False
    trade_page: int | None = None
    candles_from_trades = False
    candle_window: int | None = None
    candle_page: int | None = None
    candle_until = False
    """True where a request for candles may name its end."""
    candle_span_max_us: int | None = None
    """How long a range of candles may be, where of a range with more candles than a page the newest are answered: every
    request then names its end, a page after its start."""
    trade_reach_us: int | None = None
    """How old public trades may be at most, where the exchange refuses older ones."""
    absent_is_quiet = False
    """True where the exchange documents that a candle without trades is absent."""
    trade_params: Mapping[str, str] = {}
    """What is asked for beside the market when trades are subscribed."""
    ack_patience_s = 60.0
    """For how long the first data of a subscription are waited for, in the exchange's seconds; then another socket is
    tried, and after that REST: some exchanges ignore what exceeds the channels of a socket."""
    sockets = SocketLimits(
        streams_max=200,
        streams_per_message=10,
        messages_per_s=4.0,
        ping_s=5.0,
        silence_max_s=60.0,
        ack_timeout_s=math.inf,
        cadence_s=5.0,
    )

    def prepare(self, raw: Any) -> None:
        """Set what of ccxt's own settings must be another.

        Binance and its relatives number their addresses by the list of markets; how many one socket carries is
        counted here.
        """
        for option, value in (("streamLimits", 1), ("subscriptionLimitByStream", 10**9)):
            if isinstance(raw.options.get(option), dict):
                raw.options[option] = dict.fromkeys(raw.options[option], value)

    def forget_address(self, raw: Any) -> None:
        """Let ccxt ask for a new address where it keeps one with a token in it (KuCoin): tokens have an end."""
        raw.options.pop("urls", None)

    def budget(self, rate_limit_ms: float) -> BudgetSpec:
        """Return the rate budget: ccxt's costs, `rate_limit_ms` for each."""
        per_s = 1000.0 / max(rate_limit_ms, 1.0)
        return BudgetSpec(per_s=per_s, burst=max(3.0, min(per_s, _MINUTE_OF_COST)))

    def timeframe(self, name: str) -> Timeframe:
        """Return a timeframe as the exchange cuts it."""
        return parse_timeframe(name)

    def is_active(self, market: Mapping[str, Any]) -> bool:
        """Tell whether a market is traded."""
        return market.get("active") is not False

    def why_not_streamed(self, symbol: str, market: Mapping[str, Any]) -> str:
        """Return why ccxt's subscription of this market would go wrong; empty where it is right."""
        return ""

    def answer(self, message: Any, sent: Iterable[Sent]) -> Answer | None:
        """Return what a message answers of what was sent; None where it is no answer that is understood."""
        return None

    def farewell(self, message: Any) -> Any:
        """Return what takes a subscription back; None where it can only be ignored from now on."""
        return None

    def parts(self, message: Any) -> Sequence[Any]:
        """Return a message as messages that ccxt reads rightly."""
        return (message,)

    def live_time_us(self, row: Mapping[str, Any]) -> int | None:
        """Return a streamed trade's time where it is more exact than ccxt's milliseconds."""
        return None


class QuietMinutesAbsent(Dialect):
    """An untested exchange that documents that an interval without trades has no candle.

    - Coinbase, https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductcandles: no data is published
      for intervals without ticks.
    - KuCoin, https://www.kucoin.com/docs/rest/spot-trading/market-data/get-klines: the same.
    - Upbit, https://docs.upbit.com/kr/reference/list-candles-minutes: a candle is created only where something traded.
    """

    absent_is_quiet = True


class KrakenDialect(Dialect):
    """Kraken spot.

    ccxt labels a frame with the symbol of its first trade, subscribes renamed assets under the wrong name, hangs on a
    refusal, and cuts times to milliseconds.
    """

    tested = True
    trade_cursor = "kraken"
    trade_ids_sequential = True
    trade_page = 1000
    candles_from_trades = True
    candle_window = Kraken.traits.candle_window
    sockets = replace(Kraken.sockets, pong_tells_time=False)
    _TEMPORARY = ("msg rate", "rate limit", "unavailable", "internal", "timeout", "busy", "maintenance")

    def prepare(self, raw: Any) -> None:
        """Keep the digits of numbers: a time in seconds has more of them than a float."""
        raw.exact_numbers = True

    def timeframe(self, name: str) -> Timeframe:
        """Weeks are counted from the epoch."""
        return parse_timeframe(name, week_anchor_us=0)

    def is_active(self, market: Mapping[str, Any]) -> bool:
        """Tell whether a market is traded: ccxt takes `online` alone for that."""
        return str(market.get("info", {}).get("status", "online")) in TRADED

    def why_not_streamed(self, symbol: str, market: Mapping[str, Any]) -> str:
        """Refuse markets whose unified symbol is not their name on the wire: it may be another market's."""
        name = websocket_name(str(market.get("info", {}).get("wsname", symbol)))
        return "" if name == symbol else f"Kraken streams it as {name}, and ccxt would ask for {symbol}"

    def answer(self, message: Any, sent: Iterable[Sent]) -> Answer | None:
        """Read the acknowledgement of one symbol."""
        if not isinstance(message, dict) or message.get("method") not in ("subscribe", "unsubscribe"):
            return None
        subscribe = message["method"] == "subscribe"
        about = _by_id(sent, message.get("req_id"), "req_id")
        if about is None or about.subscribe is not subscribe:
            return None
        named = (message.get("result") or {}).get("symbol") or message.get("symbol")
        keys = [key for key in about.keys if named in (None, key[1])]
        error = str(message.get("error") or "")
        lower = error.lower()
        if message.get("success") is True or "already subscribed" in lower or (not subscribe and "not found" in lower):
            return Acknowledged(keys, subscribe)
        return Refused(keys, error or "refused without a reason", not any(word in lower for word in self._TEMPORARY))

    def farewell(self, message: Any) -> Any:
        """Return the same request as an unsubscription."""
        return {**message, "method": "unsubscribe"}

    def parts(self, message: Any) -> Sequence[Any]:
        """Cut a frame of several markets."""
        rows = message.get("data") if isinstance(message, dict) else None
        if not isinstance(rows, list) or message.get("channel") not in ("trade", "ohlc"):
            return (message,)
        by_symbol: dict[Any, list[Any]] = {}
        for row in rows:
            by_symbol.setdefault(row.get("symbol") if isinstance(row, dict) else None, []).append(row)
        return [{**message, "data": part} for part in by_symbol.values()]

    def live_time_us(self, row: Mapping[str, Any]) -> int | None:
        """Return the microseconds that the wire tells."""
        text = row.get("info", {}).get("timestamp")
        if not isinstance(text, str):
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        whole = int(moment.replace(microsecond=0).timestamp())
        return whole * 1_000_000 + moment.microsecond


class BinanceDialect(Dialect):
    """Binance, spot and contracts.

    Aggregated trades throughout: ccxt streams single trades and fetches aggregates, whose ids are another sequence.
    """

    tested = True
    trade_cursor = "binance"
    trade_ids_sequential = True
    trades_add_up = True
    trade_page = 1000
    candle_page = 1000
    candle_until = True
    trade_params: Mapping[str, str] = {"name": "aggTrade"}
    sockets = Binance.sockets
    _FINAL_CODES = (1, 2, 3)

    def answer(self, message: Any, sent: Iterable[Sent]) -> Answer | None:
        """Read the answer to a request, told by its number."""
        if not isinstance(message, dict):
            return None
        if message.get("e") == "serverShutdown":
            return Farewell("the venue is about to close this connection")
        about = _by_id(sent, message.get("id"), "id")
        if about is None:
            return None
        error = message.get("error")
        if isinstance(error, dict):
            return Refused(about.keys, str(error.get("msg", error)), error.get("code") in self._FINAL_CODES)
        return Acknowledged(about.keys, about.subscribe) if "result" in message else None

    def farewell(self, message: Any) -> Any:
        """Return the same request as an unsubscription."""
        return {**message, "method": "UNSUBSCRIBE"}


class BinanceUsdmDialect(BinanceDialect):
    """Binance USD-M futures: as spot, but trades add up to no candle.

    Aggregates leave out the trades of the insurance fund and of deleveraging, whose volume candles have; ids of
    aggregates are a sequence all the same. USD-M and COIN-M share 2,400 weight a minute: each takes less than half.
    Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api (read 2026-11).
    """

    trades_add_up = False
    trade_reach_us: int | None = 364 * DAY_US
    sockets = replace(Binance.sockets, cadence_s=2.5)

    def budget(self, rate_limit_ms: float) -> BudgetSpec:
        """Return a little less than half of what both exchanges may use together."""
        return BudgetSpec(per_s=18.0, burst=60.0)


class BinanceCoinmDialect(BinanceUsdmDialect):
    """Binance COIN-M futures: of a range the newest candles are answered, and volumes are contracts.

    ccxt gives the volume of candles in contracts live and in the base over REST; trades are in contracts always.
    Source: https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api (read 2026-11).
    """

    candle_span_max_us: int | None = 200 * DAY_US

    def prepare(self, raw: Any) -> None:
        """Let candles be read in contracts over REST too."""
        super().prepare(raw)
        raw.contract_volumes = True


class HyperliquidDialect(Dialect):
    """Hyperliquid: `fetch_trades` of ccxt is the fills of a wallet, so there is no trade history."""

    tested = True
    trade_history = False
    candle_window = Hyperliquid.traits.candle_window
    candle_until = True
    absent_is_quiet = True

    def prepare(self, raw: Any) -> None:
        """List the markets of every builder's exchange, and find spot tokens by their index.

        ccxt lists the first ten of those exchanges, and takes the index of a token for its place in the list.
        """
        super().prepare(raw)
        raw.options["fetchMarkets"] = raw.options["fetchMarkets"] | {"hip3": {"limit": 10_000}}
        ask = raw.publicPostInfo

        async def ask_with_tokens_by_index(params: Any = None, *context: Any) -> Any:
            answer = await ask(params or {}, *context)
            if (params or {}).get("type") == "spotMetaAndAssetCtxs":
                answer[0]["tokens"] = _by_index(answer[0]["tokens"])
            return answer

        raw.publicPostInfo = ask_with_tokens_by_index

    _TEMPORARY = ("rate limit", "too many requests", "try again", "unavailable", "internal", "timeout")

    @property
    def sockets(self) -> SocketLimits:  # type: ignore[override]  # a field there, read anew here
        """Read the limits from the environment, like the native session."""
        return Hyperliquid().sockets

    def timeframe(self, name: str) -> Timeframe:
        """Return a timeframe; weeks and months are counted from the epoch."""
        return Hyperliquid().timeframe(name)

    def answer(self, message: Any, sent: Iterable[Sent]) -> Answer | None:
        """Read an answer, told by the subscription that it repeats."""
        if not isinstance(message, dict):
            return None
        told = message.get("data")
        if message.get("channel") == "subscriptionResponse" and isinstance(told, dict):
            keys = _repeated(sent, told.get("subscription"))
            return Acknowledged(keys, told.get("method") == "subscribe") if keys else None
        if message.get("channel") == "error" and isinstance(told, str):
            keys = _repeated(sent, _subscription_in(told))
            lower = told.lower()
            if keys and "already subscribed" in lower:
                return Acknowledged(keys, subscribed=True)
            if keys and "already unsubscribed" in lower:
                return Acknowledged(keys, subscribed=False)
            return Refused(keys, told, not any(word in lower for word in self._TEMPORARY)) if keys else None
        return None

    def farewell(self, message: Any) -> Any:
        """Return the same request as an unsubscription."""
        return {**message, "method": "unsubscribe"}


def _by_index(tokens: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return spot tokens so that each has the place of its index."""
    indices = {token["index"]: token for token in tokens if isinstance(token.get("index"), int)}
    return [indices.get(index, {}) for index in range(max(indices, default=-1) + 1)]


def _by_id(sent: Iterable[Sent], number: Any, name: str) -> Sent | None:
    if number is None:
        return None
    return next((one for one in sent if isinstance(one.message, dict) and one.message.get(name) == number), None)


def _repeated(sent: Iterable[Sent], subscription: Any) -> tuple[Key, ...]:
    """Return what was asked with `subscription`, which may tell more than we did."""
    if not isinstance(subscription, dict):
        return ()
    for one in sent:
        asked = one.message.get("subscription", {})
        if asked and all(subscription.get(name) == value for name, value in asked.items()):
            return one.keys
    return ()


def _subscription_in(sentence: str) -> Any:
    """Return the subscription that a refusal repeats, bare or as the whole request; None where there is none."""
    _, brace, rest = sentence.partition("{")
    try:
        repeated = json.loads(brace + rest)
    except ValueError:
        return None
    return repeated.get("subscription", repeated)


def exact_micros(seconds: Any) -> int | None:
    """Return the microseconds of a time in seconds given as text, cut and not rounded; None where it is none."""
    try:
        return int(Decimal(str(seconds)) * 1_000_000)
    except (InvalidOperation, ValueError, OverflowError):
        return None


_DIALECTS: Mapping[str, type[Dialect]] = {
    "binance": BinanceDialect,
    "binancecoinm": BinanceCoinmDialect,
    "binanceusdm": BinanceUsdmDialect,
    "coinbase": QuietMinutesAbsent,
    "coinbaseexchange": QuietMinutesAbsent,
    "hyperliquid": HyperliquidDialect,
    "kraken": KrakenDialect,
    "kucoin": QuietMinutesAbsent,
    "upbit": QuietMinutesAbsent,
}


_CHANNELS_MAX: Mapping[str, int] = {"bitfinex": 25, "bitget": 50, "kucoin": 100, "mexc": 30}
"""Channels that a socket of an untested exchange carries, where its documents name fewer than `Dialect` assumes."""


def dialect_of(name: str) -> Dialect:
    """Return what is known of an exchange."""
    dialect = _DIALECTS.get(name, Dialect)()
    if name in _CHANNELS_MAX:
        dialect.sockets = replace(dialect.sockets, streams_max=_CHANNELS_MAX[name])
    return dialect
