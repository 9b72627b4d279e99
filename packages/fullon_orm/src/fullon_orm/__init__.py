"""Users, exchanges, symbols and bots: SQLAlchemy 2 async models and repositories."""

from fullon_orm.database_context import DatabaseContext
from fullon_orm.engines import dispose_engines
from fullon_orm.schema import init_db

__all__ = ["DatabaseContext", "dispose_engines", "init_db"]
