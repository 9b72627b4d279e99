"""People: who owns exchanges and bots."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import DateTime, Enum, ForeignKey, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column, validates

from fullon_orm import passwords
from fullon_orm.base import NAME_CHARACTERS_MAX, Base


class RoleEnum(StrEnum):
    """What a user may do."""

    ADMIN = "admin"
    USER = "user"

    @classmethod
    def _missing_(cls, value: object) -> "RoleEnum | None":
        """Take a role in any case."""
        return next((role for role in cls if isinstance(value, str) and value.lower() == role.value), None)


class User(Base):
    """A person with a login. `timestamp` is when the row was made, aware UTC.

    `password` is plain until `add_user` has stored the object, from then on its argon2 hash; None means
    that nobody can log in with a password. `manager` is the `uid` of another user.
    """

    __tablename__ = "users"

    uid: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), unique=True)
    password: Mapped[str | None] = mapped_column(String(255))
    f2a: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[RoleEnum] = mapped_column(
        Enum(
            RoleEnum,
            name="role",
            native_enum=False,
            create_constraint=True,
            length=16,
            values_callable=lambda roles: [role.value for role in roles],
        ),
        default=RoleEnum.USER,
        server_default=RoleEnum.USER.value,
    )
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), default="", server_default="")
    lastname: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), default="", server_default="")
    phone: Mapped[str | None] = mapped_column(String(255))
    id_num: Mapped[str | None] = mapped_column(String(255))
    note: Mapped[str | None] = mapped_column(Text)
    manager: Mapped[int | None] = mapped_column(ForeignKey("users.uid", ondelete="SET NULL"))
    timestamp: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    external_id: Mapped[str | None] = mapped_column(String(255))

    @validates("role")
    def _in_any_case(self, _: str, role: str) -> str:
        """Take a role in any case; one that there is not is refused when it is stored."""
        try:
            return RoleEnum(role)
        except ValueError:
            return role

    def verify_password(self, password: str) -> bool:
        """Tell whether `password` is the stored one. Takes about 50 ms of computing, by design."""
        return self.password is not None and passwords.verify(self.password, password)
