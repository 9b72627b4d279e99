"""The way in: one session on the environment's database, with the repositories over it."""

from types import TracebackType
from typing import Self

from sqlalchemy.exc import TimeoutError as CheckoutTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from fullon_orm.address import Address
from fullon_orm.connection import DRIVER_ERRORS, translated
from fullon_orm.engines import CONNECTIONS_MAX, engine_for
from fullon_orm.errors import DatabaseUnavailable
from fullon_orm.repositories import (
    BotRepository,
    ExchangeRepository,
    StrategyRepository,
    SymbolRepository,
    UserRepository,
)


class DatabaseContext:
    """A transaction on the database that `DB_NAME` names on entering.

        async with DatabaseContext() as db:
            symbols = await db.symbols.get_all(exchange_name="kraken")
            await db.commit()

    One task uses it at a time; tasks that work side by side open one each.

    What is not committed is rolled back on the way out, with or without an exception. Objects stay readable
    after the exit and after `commit`, their exchanges included; after `rollback` read them again.

    Raises, on entering:
        DatabaseUnavailable: the server cannot be reached, or all connections are in use; retryable.
        AuthenticationFailed, DatabaseMissing, SchemaMismatch, ConfigurationError: somebody must mend it.
    """

    _session: AsyncSession | None = None

    async def __aenter__(self) -> Self:
        address = Address.from_env()
        engine = await engine_for(address)
        session = AsyncSession(engine, expire_on_commit=False)
        try:
            await _connect(session, address)
        except BaseException:
            await session.close()
            raise
        self._session = session
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing rolls the transaction back but leaves the objects as they are; `rollback` would empty them.
        session, self._session = self.session, None
        await session.__aexit__(exc_type, exc, traceback)

    @property
    def session(self) -> AsyncSession:
        """The SQLAlchemy session, for queries that no repository has."""
        if self._session is None:
            raise RuntimeError("DatabaseContext is not open; use `async with DatabaseContext() as db:`")
        return self._session

    @property
    def users(self) -> UserRepository:
        """Users."""
        return UserRepository(self.session)

    @property
    def exchanges(self) -> ExchangeRepository:
        """Venues and users' accounts there."""
        return ExchangeRepository(self.session)

    @property
    def symbols(self) -> SymbolRepository:
        """Symbols."""
        return SymbolRepository(self.session)

    @property
    def bots(self) -> BotRepository:
        """Bots."""
        return BotRepository(self.session)

    @property
    def strategies(self) -> StrategyRepository:
        """Strategies."""
        return StrategyRepository(self.session)

    async def commit(self) -> None:
        """Make everything so far permanent; listeners of `fullon_orm.notifications` hear of it now."""
        await self.session.commit()

    async def rollback(self) -> None:
        """Undo everything since the last commit."""
        await self.session.rollback()

    async def flush(self) -> None:
        """Send pending changes to the database without committing them."""
        await self.session.flush()


async def _connect(session: AsyncSession, address: Address) -> None:
    """Take a connection from the pool now, so that a failure is met on entering and not at the first query."""
    try:
        await session.connection()
    except CheckoutTimeout as error:
        raise DatabaseUnavailable(address, f"all {CONNECTIONS_MAX} connections are in use") from error
    except DRIVER_ERRORS as error:
        # A pooled connection that does not answer the pool's ping in time.
        raise translated(error, address) or error from error
