"""Users."""

import asyncio

from sqlalchemy import select

from fullon_orm import passwords
from fullon_orm.errors import OrmError
from fullon_orm.models.user import User
from fullon_orm.repositories.repository import Repository


class UserRepository(Repository):
    """Stores and finds users."""

    async def add_user(self, user: User) -> User:
        """Store a user whose `password` is plain; it is the argon2 hash afterwards.

        Raises:
            TypeError: not a User.
            AlreadyExists: the mail is taken, or the object was stored before.
            InvalidValue: a value that cannot be stored.
        """
        plain = user.password if isinstance(user, User) else None
        if plain is None:
            return await self._add(user, User)
        user.password = await asyncio.to_thread(passwords.hashed, plain)
        try:
            return await self._add(user, User)
        except OrmError:
            user.password = plain
            raise

    async def get_user_id(self, mail: str) -> int | None:
        """Return the `uid` behind a mail address (spelled exactly so), or None."""
        uid: int | None = await self.session.scalar(select(User.uid).where(User.mail == mail))
        return uid

    async def get_by_email(self, email: str) -> User | None:
        """Return the user with this mail address (spelled exactly so), or None."""
        return await self._first(select(User).where(User.mail == email))

    async def get_by_id(self, uid: int) -> User | None:
        """Return the user, or None."""
        return await self._first(select(User).where(User.uid == uid))

    async def verify_password(self, mail: str, password: str) -> bool:
        """Tell whether this user exists and this is the password, without stopping the event loop."""
        user = await self.get_by_email(mail)
        return user is not None and await asyncio.to_thread(user.verify_password, password)
