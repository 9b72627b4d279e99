-- What a candle was before it was corrected or withdrawn. A trigger, so that no way of writing can forget it.

CREATE TABLE revisions (
    revision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL REFERENCES series,
    timestamp timestamptz NOT NULL,
    revised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    why text NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    trades integer,
    new_open double precision,
    new_high double precision,
    new_low double precision,
    new_close double precision,
    new_volume double precision,
    new_trades integer
);
CREATE INDEX revisions_of_series ON revisions (series_id, timestamp);
COMMENT ON TABLE revisions IS 'candles as they were before; the new_ columns are null where the candle was withdrawn';

CREATE FUNCTION keep_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.revisions (
        series_id, timestamp, why, open, high, low, close, volume, trades,
        new_open, new_high, new_low, new_close, new_volume, new_trades
    ) VALUES (
        old.series_id, old.timestamp,
        coalesce(nullif(current_setting('fullon.why', true), ''), 'received again'),
        old.open, old.high, old.low, old.close, old.volume, old.trades,
        CASE WHEN tg_op = 'UPDATE' THEN new.open END, CASE WHEN tg_op = 'UPDATE' THEN new.high END,
        CASE WHEN tg_op = 'UPDATE' THEN new.low END, CASE WHEN tg_op = 'UPDATE' THEN new.close END,
        CASE WHEN tg_op = 'UPDATE' THEN new.volume END, CASE WHEN tg_op = 'UPDATE' THEN new.trades END
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_revision AFTER DELETE OR UPDATE ON candles FOR EACH ROW EXECUTE FUNCTION keep_revision();
