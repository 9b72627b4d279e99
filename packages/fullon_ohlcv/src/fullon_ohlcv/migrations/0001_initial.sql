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

-- Functions are written as RETURN or BEGIN ATOMIC: their names are bound here, so that views work whatever search_path
-- a reader has. STABLE lets the planner write them out in place.

-- Integer microseconds since the epoch and back, exactly (extract is numeric, intervals are integers inside).
CREATE FUNCTION at_us(us bigint) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN timestamptz '1970-01-01 00:00:00+00' + us * interval '1 microsecond';

CREATE FUNCTION us_of(at timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN (extract(epoch FROM at) * 1000000)::bigint;

CREATE FUNCTION span_us(start_us bigint, end_us bigint) RETURNS tstzrange LANGUAGE sql STABLE PARALLEL SAFE
RETURN tstzrange(at_us(start_us), at_us(end_us));

CREATE FUNCTION minute_of(at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN date_bin('1 minute', at, timestamptz '1970-01-01 00:00:00+00');

CREATE FUNCTION minute_from(at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN date_bin('1 minute', at + interval '59999999 microseconds', timestamptz '1970-01-01 00:00:00+00');
COMMENT ON FUNCTION minute_from IS 'the first whole minute at or after';

-- Every minute that an instant of the argument lies in.
CREATE FUNCTION minutes_touched(spans tstzmultirange) RETURNS tstzmultirange LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(range_agg(tstzrange(minute_of(lower(span)), minute_from(upper(span)))), '{}')
    FROM unnest(spans) AS span
);

-- Every minute that lies wholly inside the argument.
CREATE FUNCTION minutes_inside(spans tstzmultirange) RETURNS tstzmultirange LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(range_agg(tstzrange(minute_from(lower(span)), minute_of(upper(span)))), '{}')
    FROM unnest(spans) AS span
    WHERE minute_from(lower(span)) < minute_of(upper(span))
);

-- The one definition of a candle made of trades. Volumes are summed as the decimals the exchange wrote: shortest text
-- of the float, numeric, float again.
CREATE FUNCTION fold_minutes(trades_id integer, start_at timestamptz, end_at timestamptz)
RETURNS TABLE (
    minute_at timestamptz, open double precision, high double precision, low double precision,
    close double precision, volume double precision, trades integer
) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT minute_of(trades.timestamp),
           (array_agg(price ORDER BY timestamp, length(trade_id), trade_id, occurrence))[1],
           max(price),
           min(price),
           (array_agg(price ORDER BY timestamp DESC, length(trade_id) DESC, trade_id DESC, occurrence DESC))[1],
           sum(trades.volume::text::numeric)::double precision,
           count(*)::integer
    FROM trades
    WHERE trades.series_id = trades_id AND trades.timestamp >= start_at AND trades.timestamp < end_at
    GROUP BY 1;
END;
