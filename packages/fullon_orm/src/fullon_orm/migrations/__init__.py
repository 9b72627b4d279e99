"""Alembic's migrations of this package: `env.py` and one file per version, named by its number."""

VERSIONS = ("0001", "0002")
"""Every schema version this code knows, oldest first; the last one is the one it works with."""

HEAD = VERSIONS[-1]
