"""First schema: users, exchanges, symbols, bots with their strategies and feeds, and the notifications.

Frozen as it was released; later changes are later migrations. A test holds that all migrations together
make exactly what the models describe.
"""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE cat_exchanges (
        cat_ex_id serial CONSTRAINT pk_cat_exchanges PRIMARY KEY,
        name varchar(255) NOT NULL CONSTRAINT uq_cat_exchanges_name UNIQUE,
        ohlcv_view varchar(255) NOT NULL DEFAULT '',
        CONSTRAINT ck_cat_exchanges_name_given CHECK (name <> '')
    )
    """,
    """
    CREATE TABLE users (
        uid serial CONSTRAINT pk_users PRIMARY KEY,
        mail varchar(255) NOT NULL CONSTRAINT uq_users_mail UNIQUE,
        password varchar(255),
        f2a varchar(255),
        role varchar(16) NOT NULL DEFAULT 'user',
        name varchar(255) NOT NULL DEFAULT '',
        lastname varchar(255) NOT NULL DEFAULT '',
        phone varchar(255),
        id_num varchar(255),
        note text,
        manager integer CONSTRAINT fk_users_manager REFERENCES users (uid) ON DELETE SET NULL,
        timestamp timestamptz NOT NULL DEFAULT now(),
        active boolean NOT NULL DEFAULT true,
        external_id varchar(255),
        CONSTRAINT ck_users_role CHECK (role IN ('admin', 'user'))
    )
    """,
    """
    CREATE TABLE exchanges (
        ex_id serial CONSTRAINT pk_exchanges PRIMARY KEY,
        uid integer NOT NULL CONSTRAINT fk_exchanges_uid REFERENCES users (uid) ON DELETE CASCADE,
        cat_ex_id integer NOT NULL CONSTRAINT fk_exchanges_cat_ex_id REFERENCES cat_exchanges (cat_ex_id),
        name varchar(255) NOT NULL,
        test boolean NOT NULL DEFAULT false,
        active boolean NOT NULL DEFAULT true,
        timestamp timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT uq_exchanges_uid_cat_ex_id_name UNIQUE (uid, cat_ex_id, name)
    )
    """,
    """
    CREATE TABLE symbols (
        symbol_id serial CONSTRAINT pk_symbols PRIMARY KEY,
        symbol varchar(255) NOT NULL,
        cat_ex_id integer NOT NULL CONSTRAINT fk_symbols_cat_ex_id REFERENCES cat_exchanges (cat_ex_id),
        updateframe varchar(32) NOT NULL DEFAULT '1h',
        backtest integer NOT NULL DEFAULT 30,
        decimals integer NOT NULL DEFAULT 8,
        base varchar(255),
        quote varchar(255),
        futures boolean NOT NULL DEFAULT false,
        only_ticker boolean NOT NULL DEFAULT false,
        active boolean NOT NULL DEFAULT true,
        CONSTRAINT uq_symbols_symbol_cat_ex_id UNIQUE (symbol, cat_ex_id),
        CONSTRAINT ck_symbols_symbol_given CHECK (symbol <> ''),
        CONSTRAINT ck_symbols_backtest_days CHECK (backtest >= 0),
        CONSTRAINT ck_symbols_decimals_count CHECK (decimals >= 0)
    )
    """,
    "CREATE INDEX ix_symbols_cat_ex_id ON symbols (cat_ex_id)",
    """
    CREATE TABLE bots (
        bot_id serial CONSTRAINT pk_bots PRIMARY KEY,
        uid integer NOT NULL CONSTRAINT fk_bots_uid REFERENCES users (uid) ON DELETE CASCADE,
        name varchar(255) NOT NULL,
        dry_run boolean NOT NULL DEFAULT true,
        active boolean NOT NULL DEFAULT true,
        test boolean NOT NULL DEFAULT false,
        timestamp timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX ix_bots_uid ON bots (uid)",
    """
    CREATE TABLE bot_exchanges (
        bot_id integer CONSTRAINT fk_bot_exchanges_bot_id REFERENCES bots (bot_id) ON DELETE CASCADE,
        ex_id integer CONSTRAINT fk_bot_exchanges_ex_id REFERENCES exchanges (ex_id) ON DELETE CASCADE,
        CONSTRAINT pk_bot_exchanges PRIMARY KEY (bot_id, ex_id)
    )
    """,
    """
    CREATE TABLE cat_strategies (
        cat_str_id serial CONSTRAINT pk_cat_strategies PRIMARY KEY,
        name varchar(255) NOT NULL CONSTRAINT uq_cat_strategies_name UNIQUE,
        take_profit numeric,
        stop_loss numeric,
        trailing_stop numeric,
        timeout integer,
        pre_load_bars integer NOT NULL DEFAULT 200,
        feeds integer NOT NULL DEFAULT 1
    )
    """,
    """
    CREATE TABLE strategies (
        str_id serial CONSTRAINT pk_strategies PRIMARY KEY,
        bot_id integer NOT NULL CONSTRAINT fk_strategies_bot_id REFERENCES bots (bot_id) ON DELETE CASCADE,
        cat_str_id integer NOT NULL
            CONSTRAINT fk_strategies_cat_str_id REFERENCES cat_strategies (cat_str_id),
        take_profit numeric,
        stop_loss numeric,
        trailing_stop numeric,
        timeout integer,
        leverage numeric NOT NULL DEFAULT 1,
        size numeric,
        size_pct numeric,
        size_currency varchar(32)
    )
    """,
    "CREATE INDEX ix_strategies_bot_id ON strategies (bot_id)",
    """
    CREATE TABLE feeds (
        feed_id serial CONSTRAINT pk_feeds PRIMARY KEY,
        symbol_id integer NOT NULL CONSTRAINT fk_feeds_symbol_id REFERENCES symbols (symbol_id),
        str_id integer NOT NULL CONSTRAINT fk_feeds_str_id REFERENCES strategies (str_id) ON DELETE CASCADE,
        period varchar(32) NOT NULL,
        compression integer NOT NULL DEFAULT 1,
        "order" integer NOT NULL DEFAULT 1
    )
    """,
    "CREATE INDEX ix_feeds_str_id ON feeds (str_id)",
    """
    CREATE FUNCTION fullon_notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
    """,
    *(
        statement.format(table=table)
        for table in ("cat_exchanges", "exchanges", "symbols")
        for statement in (
            "CREATE TRIGGER fullon_notify_rows AFTER INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION fullon_notify_change()",
            "CREATE TRIGGER fullon_notify_truncate AFTER TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION fullon_notify_change()",
        )
    ),
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
