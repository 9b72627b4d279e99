"""The documented relations of a symbol, as views of the shared tables."""

from typing import TYPE_CHECKING, Literal, cast, get_args

import asyncpg

from fullon_ohlcv.errors import StorageError
from fullon_ohlcv.records import Series
from fullon_ohlcv.relation_names import SUFFIXES, base_names, quoted, schema_name
from fullon_ohlcv.statements import statements

if TYPE_CHECKING:
    from fullon_ohlcv.writing import AnyConnection

Main = Literal["view", "candles", "trades"]

_LOCK = 0x6E616D6573  # "names": any number that everybody who names relations agrees on, and nobody else takes


def checked_main(main: str) -> Main:
    """Return `main`.

    Raises:
        ValueError: it is none of view, candles, trades.
    """
    if main in get_args(Main):
        return cast(Main, main)
    raise ValueError(f"main is {main!r}; allowed are {', '.join(get_args(Main))}")


async def create_relations(connection: "AnyConnection", trades: Series, candles: Series, main: Main) -> str:
    """Create or refresh the symbol's four views; return the name they begin with. The caller commits."""
    key = (trades.exchange, trades.symbol)
    schema = schema_name(trades.exchange)
    held = await _held(connection, key)
    if held is not None and held[1] == main and await _exist(connection, schema, held[0]):
        return f"{schema}.{held[0]}"
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    base = await _claim(connection, key, schema, main)
    await connection.execute("UPDATE relation_names SET main = $3 WHERE exchange = $1 AND symbol = $2", *key, main)
    bodies = statements("views.sql")
    main_body = {"view": "view", "candles": "main_candles", "trades": "from_trades"}[main]
    tables_schema = await connection.fetchval("SELECT quote_ident(current_schema())")
    # IF NOT EXISTS would ask for the right to create even where there is nothing to create.
    is_there = await connection.fetchval("SELECT to_regnamespace($1)", quoted(schema)) is not None
    script = [] if is_there else [f"CREATE SCHEMA {quoted(schema)}"]
    for suffix, body in zip(SUFFIXES, ("trades", "candles", "view", main_body), strict=True):
        select = bodies[body].format(schema=tables_schema, trades_id=trades.series_id, candles_id=candles.series_id)
        script.append(f"CREATE OR REPLACE VIEW {quoted(schema)}.{quoted(base + suffix)} AS\n{select}")
    try:
        await connection.execute(";\n".join(script))
    except (asyncpg.WrongObjectTypeError, asyncpg.InvalidTableDefinitionError) as error:
        raise StorageError(
            f"cannot create the relations {schema}.{base}_*: something else has one of these names ({error}); "
            "rename or drop it, or use another database"
        ) from error
    return f"{schema}.{base}"


async def _held(connection: "AnyConnection", key: tuple[str, str]) -> tuple[str, str] | None:
    """Return the symbol's base name and its `main`; None where it has none yet."""
    row = await connection.fetchrow(
        "SELECT base_name, main FROM relation_names WHERE exchange = $1 AND symbol = $2", *key
    )
    return None if row is None else (row["base_name"], row["main"])


async def _claim(connection: "AnyConnection", key: tuple[str, str], schema: str, main: Main) -> str:
    """Return the symbol's base name, taking the first that is free where it has none yet."""
    held = await _held(connection, key)
    if held is not None:
        return held[0]
    for base in base_names(*key):
        status = await connection.execute(
            "INSERT INTO relation_names (exchange, symbol, schema_name, base_name, main)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            *key,
            schema,
            base,
            main,
        )
        if status.endswith(" 1"):
            return base
    raise StorageError(f"no free relation name for {key[1]!r} of {key[0]!r}; {schema}.{base} is another symbol's")


async def _exist(connection: "AnyConnection", schema: str, base: str) -> bool:
    """Tell whether all four are there, of this version: an earlier one's had no column `complete`."""
    counts = await connection.fetchrow(
        "SELECT count(*), count(complete.attname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " LEFT JOIN pg_attribute AS complete ON attrelid = pg_class.oid AND attname = 'complete'"
        " WHERE nspname = $1 AND relname = ANY($2::name[]) AND relkind = 'v'",
        schema,
        [base + suffix for suffix in SUFFIXES],
    )
    return counts is not None and tuple(counts) == (len(SUFFIXES), 2)
