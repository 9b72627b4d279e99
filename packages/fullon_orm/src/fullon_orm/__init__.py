"""Users, exchanges, symbols and bots: SQLAlchemy 2 async models and repositories.

SQLAlchemy is imported with what needs it: `fullon_orm.address` and `fullon_orm.connection` do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullon_orm.database_context import DatabaseContext
    from fullon_orm.engines import dispose_engines
    from fullon_orm.schema import init_db

__all__ = ["DatabaseContext", "dispose_engines", "init_db"]

_MODULES = {"DatabaseContext": "database_context", "dispose_engines": "engines", "init_db": "schema"}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
