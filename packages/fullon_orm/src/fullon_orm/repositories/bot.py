"""Bots."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from fullon_orm.errors import ReferenceMissing
from fullon_orm.models.bot import Bot, BotExchange
from fullon_orm.repositories.repository import Repository, require_one_id


class BotRepository(Repository):
    """Stores and finds bots."""

    async def add_bot(self, bot: Bot) -> Bot:
        """Store a bot.

        Raises:
            TypeError: not a Bot.
            ReferenceMissing: no such user.
            InvalidValue: a value that cannot be stored.
        """
        return await self._add(bot, Bot)

    async def add_exchange_to_bot(self, bot_id: int, ex_id: int) -> bool:
        """Let the bot use an account; True if that is new, False if it could already.

        Raises:
            ReferenceMissing: no such bot or account.
        """
        link = insert(BotExchange).values(bot_id=bot_id, ex_id=ex_id).on_conflict_do_nothing()
        try:
            async with self.session.begin_nested():
                added = await self.session.scalar(link.returning(BotExchange.bot_id))
        except IntegrityError as error:
            raise ReferenceMissing(
                f"BotExchange {bot_id}, {ex_id}", f"bot {bot_id} or exchange {ex_id} does not exist"
            ) from error
        return added is not None

    async def get_user_bots(
        self, uid: int | None = None, active_only: bool = True, *, user_id: int | None = None
    ) -> list[Bot]:
        """Return a user's bots, oldest first, with their exchanges, strategies and feeds.

        `uid` and `user_id` mean the same; `active_only=False` returns those switched off as well.
        """
        owner = require_one_id(uid, user_id, ("uid", "user_id"))
        query = select(Bot).where(Bot.uid == owner).order_by(Bot.bot_id)
        return await self._all(query.where(Bot.active) if active_only else query)
