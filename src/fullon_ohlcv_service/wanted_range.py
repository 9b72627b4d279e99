"""From when on a symbol is wanted: the one place that computes it.

The start is fixed when a symbol is first wanted, `backtest` days before that moment, and stored with its series. A
longer backtest moves it back; nothing moves it forward: not time, not a shorter backtest, not a symbol that was removed
and added again. What was not collected meanwhile is a gap like any other.
"""

from collections.abc import Collection

from fullon_exchange.clock import floor_minute_us
from fullon_exchange.records import Channel
from fullon_ohlcv.records import Series
from fullon_ohlcv.timeframe import DAY_US
from fullon_ohlcv_service.config.database_config import WantedSymbol
from fullon_ohlcv_service.runtime import Runtime


def start_us(one: WantedSymbol, now_us: int, since_us: int | None) -> int:
    """Return where the wanted range begins; `since_us` is the recorded start, None where there is none yet."""
    asked_us = max(0, floor_minute_us(now_us - one.backtest_days * DAY_US))
    return asked_us if since_us is None else min(asked_us, since_us)


async def find_starts(
    rt: Runtime, wanted: Collection[WantedSymbol], channel: Channel
) -> dict[WantedSymbol, tuple[Series, int]]:
    """Return the series of a channel of each symbol and from when on it is wanted, recorded where that is new.

    Where candles are folded from trades both are wanted from the same minute on.

    Raises:
        ExchangeError: an exchange of these symbols that there is not.
    """
    together: dict[WantedSymbol, dict[str, Series]] = {}
    for one in wanted:
        folded = (await rt.exchanges.get(one.exchange)).traits.candles_from_trades
        channels = ("trades", "candles1m") if folded else (channel,)
        together[one] = {name: await rt.store.series(one.exchange, one.symbol, name) for name in channels}
    asked_us = {one: start_us(one, rt.board.now_us(one.exchange), None) for one in together}
    starts = {series: asked_us[one] for one, each in together.items() for series in each.values()}
    since_us = await rt.store.want(starts)
    earliest = {one: min(since_us[series] for series in each.values()) for one, each in together.items()}
    await rt.store.want({series: earliest[one] for one, each in together.items() for series in each.values()})
    return {one: (each[channel], earliest[one]) for one, each in together.items()}
