"""A private PostgreSQL and Redis in a data directory, started on demand."""

from fullon_embedded.errors import (
    BinariesMissing,
    DataDirectoryBusy,
    DataDirectoryUnusable,
    DiskFull,
    EmbeddedError,
    RootRefused,
    ServerFailed,
    VersionMismatch,
)
from fullon_embedded.servers import EmbeddedServers, default_data_dir, start_servers
from fullon_embedded.stop_signals import stopping_in_order

__all__ = [
    "BinariesMissing",
    "DataDirectoryBusy",
    "DataDirectoryUnusable",
    "DiskFull",
    "EmbeddedError",
    "EmbeddedServers",
    "RootRefused",
    "ServerFailed",
    "VersionMismatch",
    "default_data_dir",
    "start_servers",
    "stopping_in_order",
]
