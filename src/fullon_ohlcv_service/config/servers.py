"""Which servers the environment names."""

import os

from fullon_orm.address import names_server as names_postgres

SERVER_VARIABLES = (
    "DB_HOST",
    "DATABASE_URL",
    "DB_DIRECT_URL",
    "REDIS_HOST",
    "CACHE_HOST",
    "REDIS_URL",
)
"""Any of these names a server."""
HOW_THEY_ARE_REACHED = (
    "DB_SSLMODE",
    "DB_SSLROOTCERT",
    "DB_SSLCERT",
    "DB_SSLKEY",
    "OHLCV_SCHEMA",
    "REDIS_USERNAME",
    "REDIS_SSL",
    "REDIS_CA_FILE",
)
"""What the embedded servers know nothing of."""


def missing_servers() -> set[str]:
    """Return which of `postgres` and `redis` the environment does not name."""
    from fullon_cache.settings import names_server as names_redis  # noqa: PLC0415 - a second that --help does not need

    missing = set() if names_postgres() else {"postgres"}
    if not names_redis():
        missing.add("redis")
    return missing


def forget_servers() -> None:
    """Take the servers that the environment names, and how they are reached, out of it: the demo has its own."""
    for name in (*SERVER_VARIABLES, *HOW_THEY_ARE_REACHED):
        os.environ.pop(name, None)
