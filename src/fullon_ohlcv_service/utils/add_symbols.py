"""Create the documented views of symbols in the time-series database."""

from collections.abc import Collection

from fullon_exchange import open_exchange
from fullon_exchange.errors import ExchangeError
from fullon_log import get_component_logger
from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.repositories.ohlcv import CandleRepository
from fullon_ohlcv_service.config.settings import OhlcvServiceConfig
from fullon_orm import DatabaseContext
from fullon_orm.models import Symbol

_log = get_component_logger("fullon.ohlcv.config")


async def add_symbol(exchange: str, symbol: str) -> bool:
    """Create the views of one symbol; False, with the reason in the log, where that failed."""
    try:
        main = "trades" if open_exchange(exchange).traits.candles_from_trades else "candles"
        test = OhlcvServiceConfig.from_env().test_mode
        async with CandleRepository(exchange, symbol, test=test) as repository:
            return await repository.init_symbol(main=main)
    except (ExchangeError, StorageError, ValueError) as error:
        _log.error("symbol not added", exchange=exchange, symbol=symbol, why=str(error))
        return False


async def add_all_symbols(symbols: Collection[Symbol] | None = None) -> bool:
    """Create the views of `symbols`, by default of every symbol in the database; True where all succeeded."""
    if symbols is None:
        async with DatabaseContext() as db:
            symbols = await db.symbols.get_all()
    results = [await add_symbol(one.exchange_name, one.symbol) for one in symbols]
    return all(results)


async def add_symbols_for_exchange(exchange: str) -> bool:
    """Create the views of a venue's symbols in the database; True where all succeeded."""
    async with DatabaseContext() as db:
        symbols = await db.symbols.get_by_exchange(exchange)
    return await add_all_symbols(symbols)
