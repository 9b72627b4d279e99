"""Strategies."""

from sqlalchemy import select

from fullon_orm.models.strategy import CatStrategy, Strategy
from fullon_orm.repositories.repository import Repository


class StrategyRepository(Repository):
    """Stores and finds strategies."""

    async def install_strategy(self, cat_strategy: CatStrategy) -> CatStrategy:
        """Add a strategy to the catalogue.

        Raises:
            TypeError: not a CatStrategy.
            AlreadyExists: the name is taken.
            InvalidValue: a value that cannot be stored.
        """
        return await self._add(cat_strategy, CatStrategy)

    async def get_cat_str_id(self, name: str) -> int | None:
        """Return the catalogue's id of the strategy of this name, or None."""
        found: int | None = await self.session.scalar(select(CatStrategy.cat_str_id).where(CatStrategy.name == name))
        return found

    async def add_bot_strategy(self, strategy: Strategy) -> Strategy:
        """Give a bot a strategy, together with the `feeds` it was constructed with.

        Raises:
            TypeError: not a Strategy.
            ReferenceMissing: no such bot, catalogue entry or symbol.
            InvalidValue: a value that cannot be stored.
        """
        return await self._add(strategy, Strategy)
