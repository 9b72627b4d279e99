"""Which servers the environment names."""

import os


def missing_servers() -> set[str]:
    """Return which of `postgres` and `redis` the environment does not name."""
    missing = set() if os.environ.get("DB_HOST") else {"postgres"}
    if not (os.environ.get("REDIS_HOST") or os.environ.get("CACHE_HOST")):
        missing.add("redis")
    return missing
