-- From when on a series is wanted. Fixed when it is first wanted and only ever moved back, so that nothing that was
-- wanted is lost sight of while nobody collects.

CREATE TABLE wanted (
    series_id integer PRIMARY KEY REFERENCES series,
    since timestamptz NOT NULL
);
COMMENT ON COLUMN wanted.since IS 'a full minute, exchange time';

-- What the ledger knows already has been wanted.
INSERT INTO wanted (series_id, since)
SELECT series_id, minute_of(min(lower(known.span)))
FROM series
CROSS JOIN LATERAL (
    SELECT unnest(covered) AS span FROM coverage WHERE coverage.series_id = series.series_id
    UNION ALL
    SELECT unnest(intervals) FROM unavailable WHERE unavailable.series_id = series.series_id
) AS known
WHERE channel IN ('trades', 'candles1m')
GROUP BY series_id;
