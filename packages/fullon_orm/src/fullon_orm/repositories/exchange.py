"""Exchanges: the catalogue, and the accounts of users."""

from sqlalchemy import select

from fullon_orm.models.exchange import CatExchange, Exchange
from fullon_orm.repositories.repository import Repository, require_one_id


class ExchangeRepository(Repository):
    """Stores and finds exchanges."""

    async def get_user_exchanges(self, uid: int | None = None, *, user_id: int | None = None) -> list[Exchange]:
        """Return all accounts of a user, active or not, oldest first; `uid` and `user_id` mean the same."""
        owner = require_one_id(uid, user_id, ("uid", "user_id"))
        return await self._all(select(Exchange).where(Exchange.uid == owner).order_by(Exchange.ex_id))

    async def get_cat_exchanges(
        self,
        exchange: str | None = None,
        all: bool = False,
        page: int = 1,
        page_size: int = 10,
    ) -> list[CatExchange]:
        """Return the catalogue, oldest first: a page of it (pages count from 1), or all of it.

        `exchange` limits it to the venue of this name.

        Raises:
            ValueError: a page or page size below 1.
        """
        query = select(CatExchange).order_by(CatExchange.cat_ex_id)
        if exchange is not None:
            query = query.where(CatExchange.name == exchange)
        if not all:
            if page < 1 or page_size < 1:
                raise ValueError(f"page {page} of {page_size} entries; both are at least 1")
            query = query.offset((page - 1) * page_size).limit(page_size)
        return await self._all(query)

    async def create_cat_exchange(self, name: str, ohlcv_view: str = "") -> CatExchange:
        """Add a venue to the catalogue.

        Raises:
            AlreadyExists: the name is taken.
            InvalidValue: the name is empty or cannot be stored.
        """
        return await self._add(CatExchange(name=name, ohlcv_view=ohlcv_view), CatExchange)

    async def add_user_exchange(self, exchange: Exchange) -> Exchange:
        """Store an account; `cat_exchange` is loaded afterwards.

        Raises:
            TypeError: not an Exchange.
            AlreadyExists: the user has an account of this name at this venue.
            ReferenceMissing: no such user or venue.
            InvalidValue: a value that cannot be stored.
        """
        return await self._add(exchange, Exchange)

    async def get_exchange_id(self, name: str, user_id: int | None = None) -> int | None:
        """Return the `ex_id` of the account of this name, or None; of several users' the oldest."""
        query = select(Exchange.ex_id).where(Exchange.name == name).order_by(Exchange.ex_id).limit(1)
        if user_id is not None:
            query = query.where(Exchange.uid == user_id)
        ex_id: int | None = await self.session.scalar(query)
        return ex_id

    async def get_exchange_cat_id(self, name: str | None = None, ex_id: int | None = None) -> int | None:
        """Return the `cat_ex_id` of the venue of this name, or of the account `ex_id`; None if there is none.

        Raises:
            TypeError: not exactly one of the two is given.
        """
        if (name is None) == (ex_id is None):
            raise TypeError("exactly one of name and ex_id is needed")
        query = (
            select(CatExchange.cat_ex_id).where(CatExchange.name == name)
            if ex_id is None
            else select(Exchange.cat_ex_id).where(Exchange.ex_id == ex_id)
        )
        cat_ex_id: int | None = await self.session.scalar(query)
        return cat_ex_id
