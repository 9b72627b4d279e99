-- How many rows of a series and a UTC day this program has stored, written in the transaction that stores them. Rows
-- that something else removed (a retention policy, drop_chunks, DELETE) leave their tally behind and are found by it.

CREATE FUNCTION day_of(at timestamptz) RETURNS date LANGUAGE sql STABLE PARALLEL SAFE
RETURN (at AT TIME ZONE 'UTC')::date;

CREATE TABLE tallies (
    series_id integer NOT NULL REFERENCES series,
    day date NOT NULL,
    rows bigint NOT NULL,
    losses integer NOT NULL DEFAULT 0,
    PRIMARY KEY (series_id, day)
) WITH (fillfactor = 50);
COMMENT ON COLUMN tallies.losses IS 'how often rows of the day were found missing';

INSERT INTO tallies (series_id, day, rows)
SELECT series_id, day_of(timestamp), count(*) FROM candles GROUP BY 1, 2
UNION ALL
SELECT series_id, day_of(timestamp), count(*) FROM trades GROUP BY 1, 2;

-- What retention removes is no correction, and no revision of it is kept.
DROP TRIGGER keep_revision ON candles;
CREATE TRIGGER keep_revision AFTER DELETE OR UPDATE ON candles FOR EACH ROW
WHEN (current_setting('fullon.why', true) IS DISTINCT FROM 'removed by retention')
EXECUTE FUNCTION keep_revision();
