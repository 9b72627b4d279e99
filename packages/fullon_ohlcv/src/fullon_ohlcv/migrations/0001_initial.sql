-- The shared tables, keyed by a small series id: one table per symbol does not survive thousands of symbols.

CREATE TABLE series (
    series_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    candles_id integer REFERENCES series,
    UNIQUE (exchange, symbol, channel)
);
COMMENT ON COLUMN series.candles_id IS 'of a trades series: the candles1m series that is derived from it';

CREATE TABLE candles (
    timestamp timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    series_id integer NOT NULL,
    trades integer,
    PRIMARY KEY (series_id, timestamp)
);
COMMENT ON TABLE candles IS 'closed candles by open time; a bucket in which nothing was traded has no row';

CREATE TABLE trades (
    timestamp timestamptz NOT NULL,
    price double precision NOT NULL,
    volume double precision NOT NULL,
    series_id integer NOT NULL,
    occurrence integer NOT NULL,
    side text COLLATE "C" NOT NULL,
    order_type text COLLATE "C" NOT NULL,
    trade_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (series_id, timestamp, trade_id, occurrence)
);
COMMENT ON COLUMN trades.occurrence IS
    '0 where the venue gives trade ids; else trade_id is the content and this counts equal trades of one instant';

-- One row per series, locked by everybody who writes that series. Room for updates in place: no index covers `covered`.
CREATE TABLE coverage (
    series_id integer PRIMARY KEY REFERENCES series,
    covered tstzmultirange NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

CREATE TABLE unavailable (
    series_id integer NOT NULL REFERENCES series,
    reason text COLLATE "C" NOT NULL,
    intervals tstzmultirange NOT NULL,
    PRIMARY KEY (series_id, reason)
);

-- Which documented relation belongs to whom: names are lower case and bounded, so two symbols may want the same one.
CREATE TABLE relation_names (
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    schema_name text COLLATE "C" NOT NULL,
    base_name text COLLATE "C" NOT NULL,
    main text NOT NULL,
    PRIMARY KEY (exchange, symbol),
    UNIQUE (schema_name, base_name)
);

-- Integer microseconds since the epoch and back, exactly (extract is numeric, intervals are integers inside).
CREATE FUNCTION at_us(bigint) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT timestamptz '1970-01-01 00:00:00+00' + $1 * interval '1 microsecond' $$;

CREATE FUNCTION us_of(timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT (extract(epoch FROM $1) * 1000000)::bigint $$;

CREATE FUNCTION span_us(bigint, bigint) RETURNS tstzrange LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT tstzrange(at_us($1), at_us($2)) $$;

CREATE FUNCTION minute_of(timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT date_bin('1 minute', $1, timestamptz '1970-01-01 00:00:00+00') $$;

CREATE FUNCTION minute_from(timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT date_bin('1 minute', $1 + interval '59999999 microseconds', timestamptz '1970-01-01 00:00:00+00') $$;
COMMENT ON FUNCTION minute_from IS 'the first whole minute at or after';

-- Every minute that an instant of the argument lies in.
CREATE FUNCTION minutes_touched(tstzmultirange) RETURNS tstzmultirange LANGUAGE sql STABLE PARALLEL SAFE AS
$$
    SELECT coalesce(range_agg(tstzrange(minute_of(lower(span)), minute_from(upper(span)))), '{}')
    FROM unnest($1) AS span
$$;

-- Every minute that lies wholly inside the argument.
CREATE FUNCTION minutes_inside(tstzmultirange) RETURNS tstzmultirange LANGUAGE sql STABLE PARALLEL SAFE AS
$$
    SELECT coalesce(range_agg(tstzrange(minute_from(lower(span)), minute_of(upper(span)))), '{}')
    FROM unnest($1) AS span
    WHERE minute_from(lower(span)) < minute_of(upper(span))
$$;
