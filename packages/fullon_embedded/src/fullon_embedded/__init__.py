"""A private PostgreSQL and Redis in a data directory, started on demand."""

from fullon_embedded.errors import (
    BinariesMissing,
    DataDirectoryBusy,
    DataDirectoryUnusable,
    EmbeddedError,
    RootRefused,
    ServerFailed,
    VersionMismatch,
)
from fullon_embedded.servers import EmbeddedServers, default_data_dir, start_servers

__all__ = [
    "BinariesMissing",
    "DataDirectoryBusy",
    "DataDirectoryUnusable",
    "EmbeddedError",
    "EmbeddedServers",
    "RootRefused",
    "ServerFailed",
    "VersionMismatch",
    "default_data_dir",
    "start_servers",
]
