"""What ccxt's description of an exchange says of what can be had from it: pure."""

from collections.abc import Mapping
from typing import Any

from fullon_exchange.errors import NotSupported
from fullon_exchange.interface import VenueTraits
from fullon_exchange.timeframes import DAY_US, parse_timeframe

_MONTH_US = 30 * DAY_US
_RECHECKS_SHARE = 0.05
"""Part of the rate budget that reading again may take."""


def can(has: Mapping[str, Any], what: str) -> bool:
    """Tell whether an exchange has something of its own; what ccxt emulates is no data of the exchange."""
    return has.get(what) is True


def timeframes_of(has: Mapping[str, Any], described: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the timeframes of an exchange's candles, shortest first; years and other odd ones are left out."""
    if not can(has, "fetchOHLCV"):
        return ()
    lengths: dict[str, int] = {}
    for name in described or ():
        try:
            lengths[name] = parse_timeframe(name).step_us or _MONTH_US
        except ValueError:
            continue
    return tuple(sorted(lengths, key=lambda name: lengths[name]))


def derive(
    name: str,
    has: Mapping[str, Any],
    described_timeframes: Mapping[str, Any] | None,
    *,
    rate_limit_ms: float,
    trade_history: bool = True,
    trade_ids_sequential: bool = False,
    candle_window: int | None = None,
    candles_from_trades: bool = False,
    tested: bool = False,
    trades_add_up: bool = False,
) -> VenueTraits:
    """Return the traits; the keywords say what ccxt does not.

    Raises:
        NotSupported: neither candles nor public trades can be had.
    """
    timeframes = timeframes_of(has, described_timeframes)
    fetches, watches = can(has, "fetchTrades") and trade_history, can(has, "watchTrades")
    if not timeframes and not fetches and not watches:
        raise NotSupported("ccxt gets neither candles nor public trades from it", exchange=name)
    return VenueTraits(
        candles_from_trades=candles_from_trades or ("1m" not in timeframes and (fetches or watches)),
        candle_closed_flag=False,
        trade_ids_sequential=trade_ids_sequential,
        trade_history=fetches,
        candle_window=candle_window,
        timeframes=timeframes,
        rechecks_per_s=_RECHECKS_SHARE * 1000.0 / max(rate_limit_ms, 1.0),
        ticker=False,
        tested=tested,
        trades_add_up=trades_add_up,
    )
