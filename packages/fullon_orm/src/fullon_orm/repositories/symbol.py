"""Symbols."""

from sqlalchemy import select

from fullon_orm.models.exchange import CatExchange
from fullon_orm.models.symbol import Symbol
from fullon_orm.repositories.repository import Repository


class SymbolRepository(Repository):
    """Stores and finds symbols. Every symbol comes with its `cat_exchange`; lists are oldest first."""

    async def get_all(
        self, exchange_name: str | None = None, active_only: bool = False, limit: int | None = None
    ) -> list[Symbol]:
        """Return symbols, of one venue or all, those with `active` set or all, `limit` at most.

        Raises:
            ValueError: a negative limit.
        """
        query = select(Symbol).order_by(Symbol.symbol_id)
        if exchange_name is not None:
            query = query.where(Symbol.cat_exchange.has(CatExchange.name == exchange_name))
        if active_only:
            query = query.where(Symbol.active)
        if limit is not None:
            if limit < 0:
                raise ValueError(f"limit is {limit}; at least 0 is needed")
            query = query.limit(limit)
        return await self._all(query)

    async def get_by_symbol(self, symbol: str, cat_ex_id: int | None = None) -> Symbol | None:
        """Return the symbol of this name at this venue, or None; without a venue the oldest of the name."""
        query = select(Symbol).where(Symbol.symbol == symbol).order_by(Symbol.symbol_id)
        if cat_ex_id is not None:
            query = query.where(Symbol.cat_ex_id == cat_ex_id)
        return await self._first(query)

    async def get_by_exchange_id(self, cat_ex_id: int) -> list[Symbol]:
        """Return all symbols of the venue with this id."""
        return await self._all(select(Symbol).where(Symbol.cat_ex_id == cat_ex_id).order_by(Symbol.symbol_id))

    async def get_by_exchange(self, exchange_name: str) -> list[Symbol]:
        """Return all symbols of the venue with this name."""
        return await self.get_all(exchange_name=exchange_name)

    async def add_symbol(self, symbol: Symbol) -> Symbol:
        """Store a symbol; `cat_exchange` and `exchange_name` can be read afterwards.

        Raises:
            TypeError: not a Symbol.
            AlreadyExists: the venue has this symbol already.
            ReferenceMissing: no such venue.
            InvalidValue: a value that cannot be stored.
        """
        return await self._add(symbol, Symbol)

    async def delete_symbol(self, symbol: Symbol | int) -> bool:
        """Delete a symbol, given itself or its id; False if it is not there.

        Raises:
            TypeError: neither a Symbol nor an id.
            StillReferenced: a bot's feed uses it.
        """
        symbol_id = symbol.symbol_id if isinstance(symbol, Symbol) else symbol
        if not isinstance(symbol_id, int | None):
            raise TypeError(f"a Symbol object or its id is needed, not {type(symbol).__name__}")
        found = await self._first(select(Symbol).where(Symbol.symbol_id == symbol_id))
        if found is None:
            return False
        await self._remove(found)
        return True
