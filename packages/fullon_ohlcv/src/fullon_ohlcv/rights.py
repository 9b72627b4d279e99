"""What a user must be granted to collect, beside what opening the store has created."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from fullon_ohlcv.relation_names import schema_name
from fullon_ohlcv.statements import statement

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

TABLES = (
    "series",
    "candles",
    "trades",
    "coverage",
    "unavailable",
    "relation_names",
    "revisions",
    "market_states",
    "tallies",
)


async def missing_grants(connection: "AnyConnection", exchanges: Collection[str] = ()) -> list[str]:
    """Return the GRANT statements that the user of this connection needs; [] where nothing is missing.

    Each exchange has a schema of views: one that is there must be the user's to create in, for one that is not the
    database must be. Without `exchanges`, any new one is thought of.
    """
    schemas = sorted({schema_name(exchange) for exchange in exchanges})
    return [row[0] for row in await connection.fetch(statement("missing_grants"), list(TABLES), schemas)]
