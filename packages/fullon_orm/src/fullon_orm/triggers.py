"""NOTIFY on every change to exchanges and symbols, whoever makes it: this package, psql, another program.

The payload is JSON: `{"table": "symbols", "operation": "insert", "cat_ex_id": 3}`. It says where to look, not
what is new, so that PostgreSQL folds the equal payloads of a transaction into one: a thousand symbols of one
exchange added together wake the listeners once.
"""

from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, text

CHANNEL = "fullon_changes"

WATCHED_TABLES = ("exchanges", "cat_exchanges", "symbols")

NOTIFY_FUNCTION = """
CREATE OR REPLACE FUNCTION fullon_notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    concerned integer[] := ARRAY[]::integer[];
    one integer;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        concerned := ARRAY[NULL]::integer[];
    ELSIF TG_OP = 'INSERT' THEN
        concerned := ARRAY[NEW.cat_ex_id];
    ELSIF TG_OP = 'DELETE' THEN
        concerned := ARRAY[OLD.cat_ex_id];
    ELSIF NEW IS DISTINCT FROM OLD THEN
        -- A row that moves from one exchange to another concerns both.
        concerned := ARRAY[OLD.cat_ex_id, NEW.cat_ex_id];
    END IF;
    FOREACH one IN ARRAY concerned LOOP
        PERFORM pg_notify(
            'fullon_changes',
            json_build_object('table', TG_TABLE_NAME, 'operation', lower(TG_OP), 'cat_ex_id', one)::text
        );
    END LOOP;
    RETURN NULL;
END
$$
"""


def trigger_statements(table: str) -> list[str]:
    """Return the DDL that makes one table notify; `fullon_notify_change` must exist."""
    return [
        f"CREATE OR REPLACE TRIGGER fullon_notify_rows AFTER INSERT OR UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION fullon_notify_change()",
        f"CREATE OR REPLACE TRIGGER fullon_notify_truncate AFTER TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION fullon_notify_change()",
    ]


def attach(metadata: MetaData) -> None:
    """Let `metadata.create_all` make the triggers too, as the migrations do."""

    def create(table: Table, connection: Connection, **_: Any) -> None:
        for statement in (NOTIFY_FUNCTION, *trigger_statements(table.name)):
            connection.execute(text(statement))

    for name in WATCHED_TABLES:
        event.listen(metadata.tables[name], "after_create", create)
