"""The declarative base of all tables: names, defaults at construction, and what no text may hold."""

from typing import Any

from sqlalchemy import Column, Connection, Enum, Integer, MetaData, String, event, inspect
from sqlalchemy.orm import DeclarativeBase, Mapper

from fullon_orm.errors import InvalidValue

NAME_CHARACTERS_MAX = 255
INTEGER_MAX = 2**31 - 1


class Base(DeclarativeBase):
    """Base of all models. A fresh object already has its columns' defaults, before it is stored."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )

    def __init__(self, **values: Any) -> None:
        for column in self.__table__.columns:
            if column.default is not None and column.default.is_scalar:
                values.setdefault(column.name, column.default.arg)
        for name, value in values.items():
            if name not in self.__mapper__.attrs:
                raise TypeError(f"{type(self).__name__} has no {name!r}")
            setattr(self, name, value)

    def __repr__(self) -> str:
        """Show key and name, from memory: never a secret, never a query."""
        shown = [column.name for column in self.__mapper__.primary_key] + _label(self)
        pairs = [f"{name}={self.__dict__[name]!r}" for name in shown if name in self.__dict__]
        return f"<{' '.join([type(self).__name__, *pairs])}>"


class ItemAccess:
    """Lets `record["column"]` answer like `record.column`, for readers that were written for rows."""

    def __getitem__(self, column: str) -> Any:
        if column not in type(self).__mapper__.columns:  # type: ignore[attr-defined]  # a mixin of models
            raise KeyError(column)
        return getattr(self, column)


def describe(record: Base) -> str:
    """Name a record for a sentence: its type and what people call it, as `Symbol 'BTC/USD'`."""
    return " ".join([type(record).__name__, *(repr(record.__dict__.get(name)) for name in _label(record))])


def _label(record: Base) -> list[str]:
    """Return the column people call such a record by, if it has one."""
    columns = record.__table__.columns
    return [name for name in ("symbol", "mail", "name") if name in columns][:1]


@event.listens_for(Base, "before_insert", propagate=True)
@event.listens_for(Base, "before_update", propagate=True)
def _refuse_what_cannot_be_stored(mapper: Mapper[Any], connection: Connection, record: Base) -> None:
    """Say which column is at fault and why; the server's own message would print the whole row."""
    for column in mapper.columns:
        if inspect(record).persistent and column.name not in record.__dict__:
            continue  # An update leaves alone what was not even read.
        reason = _objection(column, record.__dict__.get(column.name))
        if reason is not None:
            raise InvalidValue(describe(record), f"{describe(record)} cannot be stored: {column.name} {reason}")


def _objection(column: Column[Any], value: object) -> str | None:
    if value is None:
        given_by_server = column.primary_key or column.server_default is not None
        return None if column.nullable or given_by_server else "is missing"
    match column.type:
        case Enum() if value not in column.type.enums:
            return f"is {value!r}; allowed are {', '.join(column.type.enums)}"
        case String():
            return _objection_to_text(column, value)
        case Integer():
            return _objection_to_integer(value)
        case _:
            return None


def _objection_to_integer(value: object) -> str | None:
    if not isinstance(value, int):
        return f"is {type(value).__name__}, not a whole number"
    return f"is {value}; allowed is up to {INTEGER_MAX}" if abs(value) > INTEGER_MAX else None


def _objection_to_text(column: Column[Any], value: object) -> str | None:
    size_max = column.type.length if isinstance(column.type, String) else None
    if not isinstance(value, str):
        return f"is {type(value).__name__}, not text"
    if not value and not column.nullable and column.server_default is None:
        return "is empty"
    if size_max is not None and len(value) > size_max:
        return f"has {len(value)} characters; at most {size_max} are allowed"
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return "holds a NUL or half a surrogate pair, which PostgreSQL cannot store as text"
    return None
