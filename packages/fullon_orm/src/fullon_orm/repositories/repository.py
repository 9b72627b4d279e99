"""What all repositories share: how records are added, read and deleted."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, inspect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fullon_orm.base import Base, describe
from fullon_orm.errors import AlreadyExists, InvalidValue, RecordError, ReferenceMissing, StillReferenced

RecordT = TypeVar("RecordT", bound=Base)

_UNIQUE_VIOLATION = "23505"
_FOREIGN_KEY_VIOLATION = "23503"


class Repository:
    """Reads and writes through `session`; commits nothing.

    Reads return what the database holds now, also for objects that the session has seen before. Not found
    is None, [] or False. Everything else that goes wrong raises an `fullon_orm.errors.OrmError`.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def _add(self, record: RecordT, model: type[RecordT]) -> RecordT:
        """Store a fresh record and load its relations. One that is refused leaves the transaction usable.

        Raises:
            TypeError: not a `model`.
            AlreadyExists, ReferenceMissing, InvalidValue: the record is not acceptable.
        """
        _require(record, model)
        state = inspect(record)
        if not (state.transient or state.pending):
            raise AlreadyExists(describe(record), f"{describe(record)} already exists: it was stored before")
        try:
            async with self.session.begin_nested():
                self.session.add(record)
        except IntegrityError as error:
            raise _refusal(describe(record), error) from error
        await self.session.run_sync(lambda _: _touch_relations(record))
        return record

    async def _remove(self, record: Base) -> None:
        try:
            async with self.session.begin_nested():
                await self.session.delete(record)
        except IntegrityError as error:
            name = describe(record)
            raise StillReferenced(name, f"{name} cannot be deleted: other records still refer to it") from error

    async def _all(self, query: Select[RecordT]) -> list[RecordT]:
        return list((await self.session.scalars(_fresh(query))).unique().all())

    async def _first(self, query: Select[RecordT]) -> RecordT | None:
        return (await self.session.scalars(_fresh(query.limit(1)))).unique().first()


def _touch_relations(record: Base) -> None:
    """Load every relation while there is a session; one whose object the session knows costs no query."""
    for relation in inspect(record).mapper.relationships:
        getattr(record, relation.key)


def _fresh(query: Select[RecordT]) -> Select[RecordT]:
    """Overwrite what the session remembers: others may have changed it, and a context can live for long."""
    return query.execution_options(populate_existing=True)


def _require(record: object, model: type[Base]) -> None:
    if not isinstance(record, model):
        raise TypeError(f"a {model.__name__} object is needed, not {type(record).__name__}")


def _refusal(record: str, error: IntegrityError) -> RecordError:
    state = getattr(error.orig, "sqlstate", None)
    cause = error.orig.__cause__ if error.orig else None
    constraint = getattr(cause, "constraint_name", None) or "a constraint"
    if state == _UNIQUE_VIOLATION:
        return AlreadyExists(record, f"{record} already exists ({constraint})")
    if state == _FOREIGN_KEY_VIOLATION:
        return ReferenceMissing(record, f"{record} refers to a record that does not exist ({constraint})")
    return InvalidValue(record, f"{record} cannot be stored: a value violates {constraint}")


def require_one_id(first: int | None, second: int | None, names: Sequence[str]) -> int:
    """Return the one of two arguments that was given.

    Raises:
        TypeError: none, or both with different values.
    """
    given: set[Any] = {first, second} - {None}
    if len(given) != 1:
        raise TypeError(f"exactly one of {' and '.join(names)} is needed")
    return int(given.pop())
