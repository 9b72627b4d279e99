"""For how long the trades and candles of a symbol are kept."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    ALTER TABLE symbols
        ADD COLUMN keep_trades_days integer,
        ADD COLUMN keep_candles_days integer,
        ADD CONSTRAINT ck_symbols_keep_trades_days CHECK (keep_trades_days >= 0),
        ADD CONSTRAINT ck_symbols_keep_candles_days CHECK (keep_candles_days >= 0)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
