-- Every statement that reads or writes the shared tables, by name. Times travel as integer microseconds, in arrays
-- that stand side by side. LATERAL with LIMIT or GROUP BY inside keeps the planner on one index scan per series.
--
-- Each reference to candles or trades bounds the time by two timestamptz parameters, the whole call's: only these, no
-- join and no function of a parameter, exclude partitions and chunks while a statement is planned, and compressed
-- batches before they are decompressed. A DELETE names its one series by a parameter too.

-- name: find_series
SELECT series_id FROM series WHERE exchange = $1 AND symbol = $2 AND channel = $3

-- name: create_series
WITH created AS (
    INSERT INTO series (exchange, symbol, channel) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING
    RETURNING series_id
)
INSERT INTO coverage (series_id) SELECT series_id FROM created

-- name: list_series
SELECT series_id, exchange, symbol, channel FROM series
WHERE exchange = $1 AND ($2::text IS NULL OR symbol = $2)
ORDER BY symbol, channel

-- name: lock_series
SELECT series_id FROM coverage WHERE series_id = ANY($1::int[]) ORDER BY series_id FOR NO KEY UPDATE

-- name: occupied_candles
SELECT hull.series_id
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS hull(series_id, first_us, last_us)
CROSS JOIN LATERAL (
    SELECT FROM candles
    WHERE candles.series_id = hull.series_id
      AND candles.timestamp >= at_us(hull.first_us) AND candles.timestamp <= at_us(hull.last_us)
      AND candles.timestamp >= $4 AND candles.timestamp <= $5
    LIMIT 1
) AS one

-- name: occupied_trades
-- From when to when there is something inside the hull.
SELECT hull.series_id, us_of(oldest.timestamp) AS oldest_us, us_of(newest.timestamp) AS newest_us
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS hull(series_id, first_us, last_us)
CROSS JOIN LATERAL (
    SELECT timestamp FROM trades
    WHERE trades.series_id = hull.series_id
      AND trades.timestamp >= at_us(hull.first_us) AND trades.timestamp <= at_us(hull.last_us)
      AND trades.timestamp >= $4 AND trades.timestamp <= $5
    ORDER BY timestamp LIMIT 1
) AS oldest
CROSS JOIN LATERAL (
    SELECT timestamp FROM trades
    WHERE trades.series_id = hull.series_id
      AND trades.timestamp >= oldest.timestamp AND trades.timestamp <= at_us(hull.last_us)
      AND trades.timestamp >= $4 AND trades.timestamp <= $5
    ORDER BY timestamp DESC LIMIT 1
) AS newest

-- name: merge_candles
-- The staged rows of some series ($1), which lie in [$2, $3]. A row without a trade count does not erase a count that
-- is known for the same values.
WITH changed AS MATERIALIZED (
    SELECT staged.*, stored.series_id IS NULL AS fresh
    FROM staged_candles AS staged
    LEFT JOIN LATERAL (
        SELECT * FROM candles
        WHERE candles.series_id = staged.series_id AND candles.timestamp = staged.timestamp
          AND candles.timestamp >= $2 AND candles.timestamp <= $3
        LIMIT 1
    ) AS stored ON true
    WHERE staged.series_id = ANY($1::int[])
      AND ((staged.open, staged.high, staged.low, staged.close, staged.volume)
           IS DISTINCT FROM (stored.open, stored.high, stored.low, stored.close, stored.volume)
           OR (staged.trades IS NOT NULL AND staged.trades IS DISTINCT FROM stored.trades))
), written AS (
    INSERT INTO candles (series_id, timestamp, open, high, low, close, volume, trades)
    SELECT series_id, timestamp, open, high, low, close, volume, trades FROM changed
    ON CONFLICT (series_id, timestamp) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
        volume = excluded.volume, trades = excluded.trades
    RETURNING 1
)
SELECT series_id, day_of(timestamp) AS day,
       count(*) FILTER (WHERE fresh) AS inserted,
       count(*) FILTER (WHERE NOT fresh) AS updated,
       (SELECT count(*) FROM written) AS written
FROM changed
GROUP BY 1, 2

-- name: surplus_candles
-- The candles that lie in these spans ($1 to $3) and are not among the rows that came with them ($4, $5).
SELECT DISTINCT span.series_id, us_of(stored.timestamp) AS timestamp_us
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS span(series_id, start_us, end_us)
CROSS JOIN LATERAL (
    SELECT timestamp FROM candles
    WHERE candles.series_id = span.series_id
      AND candles.timestamp >= at_us(span.start_us) AND candles.timestamp < at_us(span.end_us)
      AND candles.timestamp >= $6 AND candles.timestamp < $7
    OFFSET 0
) AS stored
WHERE NOT EXISTS (
    SELECT FROM unnest($4::int[], $5::bigint[]) AS given(series_id, timestamp_us)
    WHERE given.series_id = span.series_id AND given.timestamp_us = us_of(stored.timestamp)
)

-- name: remove_candles
DELETE FROM candles
WHERE series_id = $1 AND timestamp = ANY($2::timestamptz[]) AND timestamp >= $3 AND timestamp <= $4

-- name: remove_candles_between
WITH removed AS (
    DELETE FROM candles WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3
    RETURNING timestamp
)
SELECT day_of(timestamp) AS day, count(*) AS removed FROM removed GROUP BY 1

-- name: remove_trades_between
DELETE FROM trades WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3

-- name: lacking_candles
-- Candles of [$3, $4) that were made of more trades ($1) than are stored.
SELECT us_of(candles.timestamp) AS timestamp_us FROM candles
WHERE candles.series_id = $2 AND candles.timestamp >= $3 AND candles.timestamp < $4
  AND candles.trades > (
      SELECT count(*) FROM trades
      WHERE trades.series_id = $1
        AND trades.timestamp >= candles.timestamp AND trades.timestamp < candles.timestamp + interval '1 minute'
        AND trades.timestamp >= $3 AND trades.timestamp < $4
  )

-- name: merge_trades
-- The staged rows of some series ($1), which lie in [$2, $3]. A trade is stored already if its id is, at the same
-- instant or (venues round differently) within a second of it.
WITH neighbourhood AS (
    SELECT series_id, unnest(range_agg(tstzrange(timestamp - interval '1 second', timestamp + interval '1 second',
                                                 '[]'))) AS span
    FROM staged_trades
    WHERE series_id = ANY($1::int[])
    GROUP BY series_id
), stored AS MATERIALIZED (
    SELECT near.series_id, near.timestamp, near.trade_id, near.occurrence
    FROM neighbourhood
    CROSS JOIN LATERAL (
        SELECT * FROM trades
        WHERE trades.series_id = neighbourhood.series_id
          AND trades.timestamp >= lower(neighbourhood.span) AND trades.timestamp <= upper(neighbourhood.span)
          AND trades.timestamp >= $2 AND trades.timestamp <= $3
        OFFSET 0
    ) AS near
), written AS (
    INSERT INTO trades (series_id, timestamp, price, volume, occurrence, side, order_type, trade_id)
    SELECT series_id, timestamp, price, volume, occurrence, side, order_type, trade_id
    FROM staged_trades AS staged
    WHERE staged.series_id = ANY($1::int[]) AND NOT EXISTS (
        SELECT FROM stored
        WHERE stored.series_id = staged.series_id
          AND stored.trade_id = staged.trade_id
          AND stored.occurrence = staged.occurrence
          AND abs(extract(epoch FROM stored.timestamp - staged.timestamp))
              <= CASE WHEN staged.occurrence = 0 THEN 1 ELSE 0 END
    )
    RETURNING series_id, timestamp
)
SELECT series_id, us_of(minute_of(timestamp)) AS minute_us, count(*) AS inserted
FROM written
GROUP BY series_id, minute_of(timestamp)

-- name: minutes_to_derive
-- Whole minutes inside the coverage of trades, as it is with what is added, that have a new trade ($6, $7), are newly
-- whole, or were covered again without being derived yet; and all of them where the pair is new. Never a minute whose
-- trades or candle retention ($8) has removed.
WITH linked AS (
    UPDATE series SET candles_id = link.candles_id
    FROM unnest($1::int[], $2::int[]) AS link(trades_id, candles_id)
    WHERE series.series_id = link.trades_id AND series.candles_id IS DISTINCT FROM link.candles_id
    RETURNING series.series_id
), added AS (
    SELECT series_id, range_agg(span_us(start_us, end_us)) AS spans
    FROM unnest($3::int[], $4::bigint[], $5::bigint[]) AS given(series_id, start_us, end_us)
    GROUP BY series_id
), touched AS (
    SELECT series_id, range_agg(span_us(minute_us, minute_us + 60000000)) AS spans
    FROM unnest($6::int[], $7::bigint[]) AS given(series_id, minute_us)
    GROUP BY series_id
)
SELECT pair.trades_id, pair.candles_id, us_of(lower(whole.span)) AS start_us, us_of(upper(whole.span)) AS end_us,
       pair.trades_id IN (SELECT series_id FROM linked) AS is_new
FROM unnest($1::int[], $2::int[]) AS pair(trades_id, candles_id)
JOIN coverage AS of_trades ON of_trades.series_id = pair.trades_id
JOIN coverage AS of_candles ON of_candles.series_id = pair.candles_id
LEFT JOIN added ON added.series_id = pair.trades_id
LEFT JOIN touched ON touched.series_id = pair.trades_id
LEFT JOIN unavailable AS lost ON lost.series_id = pair.trades_id AND lost.reason = $8
LEFT JOIN unavailable AS forgotten ON forgotten.series_id = pair.candles_id AND forgotten.reason = $8
CROSS JOIN LATERAL (
    SELECT minutes_touched(added.spans) - of_candles.covered
           + minutes_touched(added.spans - of_trades.covered)
           + coalesce(touched.spans, '{}')
           + CASE WHEN pair.trades_id IN (SELECT series_id FROM linked) THEN minutes_touched(of_trades.covered) ELSE '{}' END AS spans
) AS due
CROSS JOIN LATERAL unnest(
    minutes_inside(
        (of_trades.covered + coalesce(added.spans, '{}')) * due.spans
        - minutes_touched(coalesce(lost.intervals, '{}') + coalesce(forgotten.intervals, '{}'))
    )
) AS whole(span)
ORDER BY 1, 3

-- name: fold
-- What `fold_minutes` makes of the trades of [asked.start_at, asked.end_at), within the call's [$2, $3). Written out
-- where it is used, because conditions on parameters do not reach into the function; the views call that.
SELECT minute_of(trades.timestamp) AS timestamp,
       (array_agg(price ORDER BY timestamp, length(trade_id), trade_id, occurrence))[1] AS open,
       max(price) AS high,
       min(price) AS low,
       (array_agg(price ORDER BY timestamp DESC, length(trade_id) DESC, trade_id DESC, occurrence DESC))[1] AS close,
       sum(trades.volume::text::numeric)::double precision AS volume,
       count(*)::integer AS trades
FROM trades
WHERE trades.series_id = asked.trades_id
  AND trades.timestamp >= asked.start_at AND trades.timestamp < asked.end_at
  AND trades.timestamp >= $2 AND trades.timestamp < $3
GROUP BY 1

-- name: fold_trades
-- Spans ($1, $4 to $6) that lie in [$2, $3): store what has changed, and return the candles that no trade is left of.
-- A candle that was made of more trades than are stored now stays, and its minute is returned: where trades were covered
-- before this write, or rows of their day were lost, it was right. Not so where candles are derived for the first time
-- ($7).
WITH asked AS (
    SELECT trades_id, candles_id, at_us(start_us) AS start_at, at_us(end_us) AS end_at
    FROM unnest($1::int[], $4::int[], $5::bigint[], $6::bigint[]) AS asked(trades_id, candles_id, start_us, end_us)
), folded AS MATERIALIZED (
    SELECT asked.candles_id AS series_id, made.*
    FROM asked CROSS JOIN LATERAL (
        {fold}
    ) AS made
), standing AS MATERIALIZED (
    SELECT asked.trades_id, asked.candles_id AS series_id, stored.timestamp,
           folded.trades AS trades, stored.trades AS made_of
    FROM asked
    CROSS JOIN LATERAL (
        SELECT timestamp, trades FROM candles
        WHERE candles.series_id = asked.candles_id
          AND candles.timestamp >= asked.start_at AND candles.timestamp < asked.end_at
          AND candles.timestamp >= $2 AND candles.timestamp < $3
        OFFSET 0
    ) AS stored
    LEFT JOIN folded ON folded.series_id = asked.candles_id AND folded.timestamp = stored.timestamp
), lacking AS MATERIALIZED (
    SELECT standing.* FROM standing JOIN coverage ON coverage.series_id = standing.trades_id
    WHERE standing.made_of > coalesce(standing.trades, 0) AND standing.trades_id <> ALL($7::int[])
      AND (coverage.covered @> tstzrange(standing.timestamp, standing.timestamp + interval '1 minute')
           OR EXISTS (SELECT FROM tallies WHERE tallies.series_id = standing.trades_id
                      AND tallies.day = day_of(standing.timestamp) AND tallies.losses > 0))
), surplus AS (
    SELECT series_id, us_of(timestamp) AS timestamp_us FROM standing
    WHERE trades IS NULL AND (series_id, timestamp) NOT IN (SELECT series_id, timestamp FROM lacking)
), changed AS MATERIALIZED (
    SELECT folded.*, stored.series_id IS NULL AS fresh
    FROM folded
    LEFT JOIN LATERAL (
        SELECT * FROM candles
        WHERE candles.series_id = folded.series_id AND candles.timestamp = folded.timestamp
          AND candles.timestamp >= $2 AND candles.timestamp < $3
        LIMIT 1
    ) AS stored ON true
    WHERE (folded.open, folded.high, folded.low, folded.close, folded.volume, folded.trades)
          IS DISTINCT FROM (stored.open, stored.high, stored.low, stored.close, stored.volume, stored.trades)
      AND (folded.series_id, folded.timestamp) NOT IN (SELECT series_id, timestamp FROM lacking)
), written AS (
    INSERT INTO candles (series_id, timestamp, open, high, low, close, volume, trades)
    SELECT series_id, timestamp, open, high, low, close, volume, trades FROM changed
    ON CONFLICT (series_id, timestamp) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
        volume = excluded.volume, trades = excluded.trades
    RETURNING 1
)
SELECT (SELECT count(*) FROM changed) AS changed,
       (SELECT count(*) FROM written) AS written,
       (SELECT array_agg(series_id) FROM surplus) AS surplus_ids,
       (SELECT array_agg(timestamp_us) FROM surplus) AS surplus_us,
       ARRAY(SELECT (trades_id, us_of(timestamp)) FROM lacking) AS lacking,
       ARRAY(SELECT (series_id, day_of(timestamp), count(*)) FROM changed WHERE fresh
             GROUP BY series_id, day_of(timestamp)) AS added

-- name: cover
-- What is covered ($1 to $3), and what of it is confirmed ($4 to $6). Covered wins: it is no longer unavailable.
WITH added AS (
    SELECT series_id, range_agg(span_us(start_us, end_us)) AS spans
    FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(series_id, start_us, end_us)
    GROUP BY series_id
), agreed AS (
    SELECT series_id, range_agg(span_us(start_us, end_us)) AS spans
    FROM unnest($4::int[], $5::bigint[], $6::bigint[]) AS given(series_id, start_us, end_us)
    GROUP BY series_id
), freed AS (
    UPDATE unavailable SET intervals = unavailable.intervals - added.spans
    FROM added
    WHERE unavailable.series_id = added.series_id AND unavailable.intervals && added.spans
), known AS (
    SELECT series_id, coalesce(added.spans, '{}') AS covered, coalesce(agreed.spans, '{}') AS confirmed
    FROM added FULL JOIN agreed USING (series_id)
)
UPDATE coverage SET covered = coverage.covered + known.covered, confirmed = coverage.confirmed + known.confirmed
FROM known
WHERE coverage.series_id = known.series_id
  AND NOT (coverage.covered @> known.covered AND coverage.confirmed @> known.confirmed)

-- name: doubt
WITH removed AS (
    SELECT series_id, range_agg(span_us(start_us, end_us)) AS spans
    FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(series_id, start_us, end_us)
    GROUP BY series_id
)
UPDATE coverage SET confirmed = coverage.confirmed - removed.spans
FROM removed
WHERE coverage.series_id = removed.series_id AND coverage.confirmed && removed.spans

-- name: unconfirmed
SELECT wanted.series_id, us_of(lower(span)) AS start_us, us_of(upper(span)) AS end_us
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS wanted(series_id, start_us, end_us)
JOIN coverage USING (series_id)
CROSS JOIN LATERAL unnest(
    coverage.covered * tstzmultirange(span_us(wanted.start_us, wanted.end_us)) - coverage.confirmed
) AS span
ORDER BY 1, 2

-- name: free_unavailable
-- Take intervals out of every reason but $4.
WITH removed AS (
    SELECT series_id, range_agg(span_us(start_us, end_us)) AS spans
    FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(series_id, start_us, end_us)
    GROUP BY series_id
)
UPDATE unavailable SET intervals = unavailable.intervals - removed.spans
FROM removed
WHERE unavailable.series_id = removed.series_id
  AND unavailable.reason IS DISTINCT FROM $4::text
  AND unavailable.intervals && removed.spans

-- name: mark_unavailable
-- Covered wins here too.
INSERT INTO unavailable (series_id, reason, intervals)
SELECT coverage.series_id, $4::text, marked.spans - coverage.covered
FROM (
    SELECT series_id, range_agg(span_us(start_us, end_us)) AS spans
    FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(series_id, start_us, end_us)
    GROUP BY series_id
) AS marked
JOIN coverage USING (series_id)
WHERE NOT isempty(marked.spans - coverage.covered)
ON CONFLICT (series_id, reason) DO UPDATE SET intervals = unavailable.intervals + excluded.intervals

-- name: derived_candles
SELECT candles_id FROM series WHERE series_id = $1

-- name: uncover
UPDATE coverage SET covered = covered - tstzmultirange(span_us($2, $3)),
                    confirmed = confirmed - tstzmultirange(span_us($2, $3))
WHERE series_id = $1

-- name: derived_minutes
-- The minutes that the trades ($1) no longer cover whole once [$2, $3) is taken out.
SELECT us_of(lower(span)) AS start_us, us_of(upper(span)) AS end_us
FROM coverage,
     unnest(minutes_inside(coverage.covered * minutes_touched(tstzmultirange(span_us($2, $3))))) AS span
WHERE series_id = $1

-- name: uncover_candles
UPDATE coverage SET covered = covered - (
    SELECT range_agg(span_us(start_us, end_us)) FROM unnest($2::bigint[], $3::bigint[]) AS lost(start_us, end_us)
)
WHERE series_id = $1

-- name: known_beyond
-- Up to when something is known of each series of an exchange, of those of which it is after an instant.
SELECT series_id, symbol, channel, us_of(max(upper(spans))) AS end_us
FROM series
CROSS JOIN LATERAL (
    SELECT covered AS spans FROM coverage WHERE coverage.series_id = series.series_id
    UNION ALL
    SELECT intervals FROM unavailable WHERE unavailable.series_id = series.series_id
) AS known
WHERE exchange = $1 AND upper(spans) > at_us($2)
GROUP BY series_id, symbol, channel

-- name: want
INSERT INTO wanted (series_id, since)
SELECT series_id, at_us(start_us) FROM unnest($1::int[], $2::bigint[]) AS given(series_id, start_us)
ORDER BY series_id -- all lock rows in the same order, so that none waits for one that waits for it
ON CONFLICT (series_id) DO UPDATE SET since = excluded.since WHERE excluded.since < wanted.since

-- name: wanted_since
SELECT series_id, us_of(since) AS start_us FROM wanted WHERE series_id = ANY($1::int[])

-- name: gaps
SELECT wanted.series_id, us_of(lower(gap)) AS start_us, us_of(upper(gap)) AS end_us
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS wanted(series_id, start_us, end_us)
LEFT JOIN coverage USING (series_id)
LEFT JOIN LATERAL (
    SELECT range_agg(unavailable.intervals) AS spans FROM unavailable WHERE unavailable.series_id = wanted.series_id
) AS lost ON true
CROSS JOIN LATERAL unnest(
    tstzmultirange(span_us(wanted.start_us, wanted.end_us))
    - coalesce(coverage.covered, '{}') - coalesce(lost.spans, '{}')
) AS gap
ORDER BY 1, 2

-- name: ledger
SELECT wanted.series_id, us_of(lower(span)) AS start_us, us_of(upper(span)) AS end_us, NULL AS reason
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS wanted(series_id, start_us, end_us)
JOIN coverage USING (series_id)
CROSS JOIN LATERAL unnest(coverage.covered * tstzmultirange(span_us(start_us, end_us))) AS span
UNION ALL
SELECT wanted.series_id, us_of(lower(span)), us_of(upper(span)), unavailable.reason
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS wanted(series_id, start_us, end_us)
JOIN coverage USING (series_id)
JOIN unavailable USING (series_id)
CROSS JOIN LATERAL unnest(
    unavailable.intervals * tstzmultirange(span_us(start_us, end_us)) - coverage.covered
) AS span
ORDER BY 1, 2

-- name: summaries
SELECT wanted.series_id,
       (extract(epoch FROM known.covered) * 1000000)::bigint AS covered_us,
       (extract(epoch FROM lost.unavailable) * 1000000)::bigint AS unavailable_us,
       us_of(known.covered_until) AS covered_until_us
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS wanted(series_id, start_us, end_us)
JOIN coverage USING (series_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(upper(span) - lower(span)), interval '0') AS covered, max(upper(span)) AS covered_until
    FROM unnest(coverage.covered * tstzmultirange(span_us(start_us, end_us))) AS span
) AS known
CROSS JOIN LATERAL (
    SELECT coalesce(sum(upper(span) - lower(span)), interval '0') AS unavailable
    FROM unavailable, unnest(
        unavailable.intervals * tstzmultirange(span_us(start_us, end_us)) - coverage.covered
    ) AS span
    WHERE unavailable.series_id = wanted.series_id
) AS lost

-- name: newest_candles
SELECT asked.series_id, us_of(newest.timestamp) AS timestamp_us
FROM unnest($1::int[]) AS asked(series_id)
CROSS JOIN LATERAL (
    SELECT timestamp FROM candles
    WHERE candles.series_id = asked.series_id AND candles.timestamp >= $2 AND candles.timestamp < $3
    ORDER BY timestamp DESC LIMIT 1
) AS newest

-- name: newest_trades
SELECT asked.series_id, us_of(newest.timestamp) AS timestamp_us
FROM unnest($1::int[]) AS asked(series_id)
CROSS JOIN LATERAL (
    SELECT timestamp FROM trades
    WHERE trades.series_id = asked.series_id AND trades.timestamp >= $2 AND trades.timestamp < $3
    ORDER BY timestamp DESC LIMIT 1
) AS newest

-- name: oldest_candles
SELECT asked.series_id, us_of(oldest.timestamp) AS timestamp_us
FROM unnest($1::int[]) AS asked(series_id)
CROSS JOIN LATERAL (
    SELECT timestamp FROM candles
    WHERE candles.series_id = asked.series_id AND candles.timestamp >= $2 AND candles.timestamp < $3
    ORDER BY timestamp LIMIT 1
) AS oldest

-- name: oldest_trades
SELECT asked.series_id, us_of(oldest.timestamp) AS timestamp_us
FROM unnest($1::int[]) AS asked(series_id)
CROSS JOIN LATERAL (
    SELECT timestamp FROM trades
    WHERE trades.series_id = asked.series_id AND trades.timestamp >= $2 AND trades.timestamp < $3
    ORDER BY timestamp LIMIT 1
) AS oldest

-- name: covered_between
-- From when to when anything is covered.
SELECT series_id, us_of(lower(covered)) AS start_us, us_of(upper(covered)) AS end_us FROM coverage
WHERE series_id = ANY($1::int[]) AND NOT isempty(covered)

-- name: candles_between
SELECT us_of(timestamp), open, high, low, close, volume, trades FROM candles
WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3
ORDER BY timestamp

-- name: closed_minutes
-- Covered minutes of many series of 1m candles, with their candles.
SELECT asked.series_id, minute.start_us, stored.open, stored.high, stored.low, stored.close, stored.volume, stored.trades
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS asked(series_id, start_us, end_us)
JOIN coverage USING (series_id)
CROSS JOIN LATERAL generate_series(asked.start_us, asked.end_us - 1, 60000000) AS minute(start_us)
LEFT JOIN LATERAL (
    SELECT * FROM candles
    WHERE candles.series_id = asked.series_id AND candles.timestamp = at_us(minute.start_us)
      AND candles.timestamp >= $4 AND candles.timestamp < $5
    LIMIT 1
) AS stored ON true
WHERE coverage.covered @> span_us(minute.start_us, minute.start_us + 60000000)
ORDER BY minute.start_us, asked.series_id

-- name: trades_between
SELECT us_of(timestamp), price, volume, side, order_type, CASE WHEN occurrence = 0 THEN trade_id END FROM trades
WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3
ORDER BY timestamp, length(trade_id), trade_id

-- name: skipped_ids
-- Neighbours by number among the trades of spans ($1, $4, $5) in [$2, $3) between which numbers are missing. Of trades
-- that lie the other way round in time the numbers began again: nothing is missing between those.
SELECT span.series_id, us_of(pair.earlier_at) AS earlier_us, us_of(pair.timestamp) AS later_us,
       pair.earlier AS earlier_id, pair.number AS later_id
FROM unnest($1::int[], $4::bigint[], $5::bigint[]) AS span(series_id, start_us, end_us)
CROSS JOIN LATERAL (
    SELECT timestamp, number, lag(number) OVER by_number AS earlier, lag(timestamp) OVER by_number AS earlier_at
    FROM (
        SELECT timestamp, CASE WHEN trade_id ~ '^[0-9]{1,18}$' THEN trade_id::bigint END AS number FROM trades
        WHERE trades.series_id = span.series_id AND occurrence = 0
          AND trades.timestamp >= at_us(span.start_us) AND trades.timestamp < at_us(span.end_us)
          AND trades.timestamp >= $2 AND trades.timestamp < $3
        OFFSET 0
    ) AS numbered
    WHERE number IS NOT NULL
    WINDOW by_number AS (ORDER BY number, timestamp)
) AS pair
WHERE pair.number > pair.earlier + 1 AND pair.timestamp >= pair.earlier_at - interval '1 second'
ORDER BY 1, 2

-- name: unequal_minutes
-- Minutes of spans ($1, $4 to $6) in [$2, $3) in which the trades and the candle differ in volume by more than rounding.
WITH asked AS (
    SELECT trades_id, candles_id, at_us(start_us) AS start_at, at_us(end_us) AS end_at
    FROM unnest($1::int[], $4::int[], $5::bigint[], $6::bigint[]) AS asked(trades_id, candles_id, start_us, end_us)
), folded AS (
    SELECT asked.trades_id, made.timestamp, made.volume
    FROM asked CROSS JOIN LATERAL (
        {fold}
    ) AS made
), stored AS (
    SELECT asked.trades_id, one.timestamp, one.volume
    FROM asked CROSS JOIN LATERAL (
        SELECT timestamp, volume FROM candles
        WHERE candles.series_id = asked.candles_id
          AND candles.timestamp >= asked.start_at AND candles.timestamp < asked.end_at
          AND candles.timestamp >= $2 AND candles.timestamp < $3
        OFFSET 0
    ) AS one
)
SELECT trades_id, us_of(timestamp) AS minute_us
FROM folded FULL JOIN stored USING (trades_id, timestamp)
WHERE abs(coalesce(folded.volume, 0) - coalesce(stored.volume, 0))
      > 1e-9 * greatest(coalesce(folded.volume, 0), coalesce(stored.volume, 0))
ORDER BY 1, 2

-- name: candle_times
SELECT us_of(timestamp) FROM candles
WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3

-- name: trade_minutes
-- One probe per minute: a minute may hold thousands of trades.
SELECT us_of(minute.start_at)
FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 microsecond', interval '1 minute') AS minute(start_at)
CROSS JOIN LATERAL (
    SELECT FROM trades
    WHERE series_id = $1 AND timestamp >= minute.start_at AND timestamp < minute.start_at + interval '1 minute'
      AND timestamp >= $2 AND timestamp < $3
    LIMIT 1
) AS one

-- name: channels
-- What is stored of a symbol: every channel, whether a ledger is kept of it, whether it is derived, when that begins.
SELECT series.series_id, series.channel,
       NOT isempty(coverage.covered) OR EXISTS (
           SELECT FROM unavailable
           WHERE unavailable.series_id = series.series_id AND NOT isempty(unavailable.intervals)
       ) AS has_ledger,
       NOT isempty(coverage.covered) AND series.candles_id IS NOT NULL AS is_derived,
       us_of(lower(coverage.covered)) AS covered_from_us
FROM series JOIN coverage USING (series_id)
WHERE series.exchange = $1 AND series.symbol = $2

-- name: candles
SELECT timestamp, open, high, low, close, volume FROM candles
WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3

-- name: candles_in_spans
-- Intervals of one series or of several ($1, $4, $5), all in [$2, $3).
SELECT stored.timestamp, stored.open, stored.high, stored.low, stored.close, stored.volume
FROM unnest($1::int[], $4::bigint[], $5::bigint[]) AS span(series_id, start_us, end_us)
CROSS JOIN LATERAL (
    SELECT * FROM candles
    WHERE candles.series_id = span.series_id
      AND candles.timestamp >= at_us(span.start_us) AND candles.timestamp < at_us(span.end_us)
      AND candles.timestamp >= $2 AND candles.timestamp < $3
) AS stored

-- name: candles_and_trades_in_spans
-- The same rule as that of the view `_candles1m_view`, in views.sql, for the spans of the series $6; its trades are $7.
WITH spans AS (
    SELECT * FROM unnest($1::int[], $4::bigint[], $5::bigint[]) AS span(series_id, start_us, end_us)
), folded AS (
    SELECT made.*
    FROM (
        SELECT $7::int AS trades_id, lower(whole) AS start_at, upper(whole) AS end_at
        FROM spans,
             coverage AS of_trades,
             coverage AS of_candles,
             unnest(tstzmultirange(span_us(spans.start_us, spans.end_us))
                    * CASE WHEN isempty(of_trades.covered) THEN '{(,)}' ELSE minutes_inside(of_trades.covered) END
                    - minutes_inside(of_candles.covered)) AS whole
        WHERE spans.series_id = $6 AND of_trades.series_id = $7 AND of_candles.series_id = $6
    ) AS asked CROSS JOIN LATERAL (
        {fold}
    ) AS made
)
SELECT timestamp, open, high, low, close, volume FROM folded
UNION ALL
SELECT stored.timestamp, stored.open, stored.high, stored.low, stored.close, stored.volume
FROM spans
CROSS JOIN LATERAL (
    SELECT * FROM candles
    WHERE candles.series_id = spans.series_id
      AND candles.timestamp >= at_us(spans.start_us) AND candles.timestamp < at_us(spans.end_us)
      AND candles.timestamp >= $2 AND candles.timestamp < $3
      AND NOT (spans.series_id = $6 AND candles.timestamp IN (SELECT folded.timestamp FROM folded))
) AS stored

-- name: rolled_candles
-- The source is one of the two above, the bucket one of the two below.
SELECT {bucket} AS bucket,
       (array_agg(open ORDER BY timestamp))[1],
       max(high),
       min(low),
       (array_agg(close ORDER BY timestamp DESC))[1],
       sum(volume::text::numeric)::double precision
FROM ({source}) AS source
GROUP BY 1
ORDER BY 1

-- name: bucket_of_width
date_bin(interval '{width_us} microseconds', timestamp, at_us({origin_us}))

-- name: bucket_of_months
(date_trunc('month', timestamp AT TIME ZONE 'UTC')
 - ((extract(year FROM timestamp AT TIME ZONE 'UTC') * 12
     + extract(month FROM timestamp AT TIME ZONE 'UTC') - 1)::integer % {count}) * interval '1 month')
AT TIME ZONE 'UTC'

-- name: last_close
-- Since $4, the later one of the last candle and, where trades are not stored as candles, the last trade.
(SELECT us_of(timestamp) AS timestamp_us, close FROM candles
 WHERE series_id = $1 AND timestamp >= $4 AND timestamp < $3
 ORDER BY timestamp DESC LIMIT 1)
UNION ALL
(SELECT us_of(timestamp), price FROM trades
 WHERE series_id = $2 AND timestamp >= $4 AND timestamp < $3
 ORDER BY timestamp DESC, length(trade_id) DESC, trade_id DESC LIMIT 1)
ORDER BY timestamp_us DESC LIMIT 1

-- name: trades
SELECT timestamp, price, volume, side, order_type, CASE WHEN occurrence = 0 THEN trade_id END AS trade_id
FROM trades
WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3
ORDER BY timestamp, length(trade_id), trade_id, occurrence
LIMIT $4

-- name: recent_trades
SELECT timestamp, price, volume, side, order_type, CASE WHEN occurrence = 0 THEN trade_id END AS trade_id
FROM (
    SELECT * FROM trades WHERE series_id = $1 AND timestamp >= $3 AND timestamp < $4
    ORDER BY timestamp DESC, length(trade_id) DESC, trade_id DESC, occurrence DESC LIMIT $2
) AS newest
ORDER BY timestamp, length(trade_id), trade_id, occurrence

-- name: take_writer_lock
-- True where the lock is this session's, now or already. A bigint key shows in pg_locks as two halves.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid()
      AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295
) OR pg_try_advisory_lock($1)

-- name: writer_lock_holder
SELECT pid, coalesce(host(client_addr), 'this machine') AS host, backend_start
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()
  AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: say_why
SELECT set_config('fullon.why', $1, true)

-- name: revisions
SELECT series_id, us_of(revised_at) AS revised_at_us, why, us_of(timestamp) AS timestamp_us,
       open, high, low, close, volume, trades, new_open, new_high, new_low, new_close, new_volume, new_trades
FROM revisions
WHERE series_id = $1 AND timestamp >= at_us($2) AND timestamp < at_us($3)
ORDER BY revision_id

-- name: set_states
INSERT INTO market_states (exchange, symbol, state, reason, since, market_id)
SELECT exchange, symbol, state, reason, at_us(since_us), market_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
    AS given(exchange, symbol, state, reason, since_us, market_id)
ON CONFLICT (exchange, symbol) DO UPDATE SET
    state = excluded.state, reason = excluded.reason, since = excluded.since,
    market_id = CASE market_states.market_id WHEN '' THEN excluded.market_id ELSE market_states.market_id END

-- name: read_states
SELECT exchange, symbol, state, reason, us_of(since) AS since_us, market_id FROM market_states
WHERE $1::text IS NULL OR exchange = $1

-- name: tally
-- Count what this transaction has added to ($3 > 0) or taken from the days of series.
INSERT INTO tallies (series_id, day, rows)
SELECT * FROM unnest($1::int[], $2::date[], $3::bigint[])
ON CONFLICT (series_id, day) DO UPDATE SET rows = tallies.rows + excluded.rows

-- name: tallied_days
SELECT min(day), max(day) FROM tallies WHERE series_id = $1

-- name: unlike_days_of_candles
-- One statement and so one snapshot: rows and tallies are written together.
SELECT day, coalesce(tallied.rows, 0) AS written, coalesce(found.rows, 0) AS stored
FROM (
    SELECT day_of(timestamp) AS day, count(*) AS rows FROM candles
    WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3
    GROUP BY 1
) AS found
FULL JOIN (SELECT day, rows FROM tallies WHERE series_id = $1 AND day >= $4 AND day < $5) AS tallied USING (day)
WHERE coalesce(tallied.rows, 0) <> coalesce(found.rows, 0)
ORDER BY day

-- name: unlike_days_of_trades
SELECT day, coalesce(tallied.rows, 0) AS written, coalesce(found.rows, 0) AS stored
FROM (
    SELECT day_of(timestamp) AS day, count(*) AS rows FROM trades
    WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3
    GROUP BY 1
) AS found
FULL JOIN (SELECT day, rows FROM tallies WHERE series_id = $1 AND day >= $4 AND day < $5) AS tallied USING (day)
WHERE coalesce(tallied.rows, 0) <> coalesce(found.rows, 0)
ORDER BY day

-- name: set_tally
INSERT INTO tallies (series_id, day, rows, losses) VALUES ($1, $2, $3, $4)
ON CONFLICT (series_id, day) DO UPDATE SET rows = excluded.rows, losses = tallies.losses + excluded.losses
RETURNING losses

-- name: deriving_trades
SELECT series_id, exchange, symbol, channel FROM series WHERE candles_id = $1

-- name: has_removable
SELECT EXISTS (SELECT FROM tallies WHERE series_id = $1 AND day < $3)
    OR EXISTS (SELECT FROM coverage WHERE series_id = $1 AND covered && span_us(0, $2))

-- name: tallied_rows
SELECT day, rows FROM tallies WHERE series_id = $1 AND day < $2 ORDER BY day

-- name: first_tallied
SELECT min(day) FROM tallies WHERE series_id = ANY($1::int[]) AND rows > 0

-- name: underived
-- Minutes before $2 that trades are stored of and that are not accounted for as candles, where candles are made of them.
SELECT us_of(lower(span)) AS start_us, us_of(upper(span)) AS end_us
FROM series
JOIN coverage AS of_trades ON of_trades.series_id = series.series_id
JOIN coverage AS of_candles ON of_candles.series_id = series.candles_id
CROSS JOIN LATERAL (
    SELECT range_agg(unavailable.intervals) AS spans FROM unavailable WHERE unavailable.series_id = series.candles_id
) AS lost
CROSS JOIN LATERAL unnest(
    minutes_touched(of_trades.covered * tstzmultirange(span_us(0, $2)))
    - of_candles.covered - coalesce(lost.spans, '{}')
) AS span
WHERE series.series_id = $1

-- name: remove_old_revisions
DELETE FROM revisions WHERE series_id = $1 AND timestamp >= $2 AND timestamp < $3

-- name: remove_tallies
DELETE FROM tallies WHERE series_id = ANY($1::int[]) AND day >= $2 AND day < $3

-- name: mark_removed
INSERT INTO unavailable (series_id, reason, intervals)
SELECT series_id, $4::text, covered * tstzmultirange(span_us($2, $3)) FROM coverage
WHERE series_id = ANY($1::int[]) AND covered && span_us($2, $3)
ON CONFLICT (series_id, reason) DO UPDATE SET intervals = unavailable.intervals + excluded.intervals

-- name: forget_removed
UPDATE coverage SET covered = covered - tstzmultirange(span_us($2, $3)),
                    confirmed = confirmed - tstzmultirange(span_us($2, $3))
WHERE series_id = ANY($1::int[]) AND (covered && span_us($2, $3) OR confirmed && span_us($2, $3))

-- name: mark_missing
-- What is unknown before $2; of trades that candles are made of, before $3 and where the candles are accounted for.
INSERT INTO unavailable (series_id, reason, intervals)
SELECT series.series_id, $4::text, missing.spans
FROM series
JOIN coverage USING (series_id)
LEFT JOIN coverage AS of_candles ON of_candles.series_id = series.candles_id
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(unavailable.intervals), '{}') AS spans
    FROM unavailable WHERE unavailable.series_id = series.series_id
) AS lost
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(unavailable.intervals), '{}') AS spans
    FROM unavailable WHERE unavailable.series_id = series.candles_id
) AS candles_lost
CROSS JOIN LATERAL (
    SELECT CASE WHEN series.candles_id IS NULL THEN tstzmultirange(span_us(0, $2))
                ELSE tstzmultirange(span_us(0, $3)) * (of_candles.covered + candles_lost.spans) END
           - coverage.covered - lost.spans AS spans
) AS missing
WHERE series.series_id = $1 AND NOT isempty(missing.spans)
ON CONFLICT (series_id, reason) DO UPDATE SET intervals = unavailable.intervals + excluded.intervals

-- name: want_again
UPDATE unavailable SET intervals = intervals - tstzmultirange(tstzrange(at_us($2), NULL))
WHERE series_id = $1 AND reason = $3 AND intervals && tstzrange(at_us($2), NULL)

-- name: all_series
SELECT series_id, exchange, symbol, channel FROM series ORDER BY exchange, symbol, channel

-- name: foldable
-- Minutes of [$3, $4) that trades ($1) cover and candles ($2) do not.
SELECT us_of(lower(span)) AS start_us, us_of(upper(span)) AS end_us
FROM coverage AS of_trades, coverage AS of_candles,
     unnest(minutes_inside(of_trades.covered * tstzmultirange(span_us($3, $4))) - of_candles.covered) AS span
WHERE of_trades.series_id = $1 AND of_candles.series_id = $2

-- name: underivable
-- Minutes of [$2, $3) whose trades ($1) retention has removed.
SELECT us_of(lower(span)) AS start_us, us_of(upper(span)) AS end_us
FROM unavailable, unnest(minutes_touched(intervals * tstzmultirange(span_us($2, $3)))) AS span
WHERE series_id = $1 AND reason = $4

-- name: missing_grants
-- $1 the shared tables, $2 the schemas of exchanges.
WITH place AS (
    SELECT count(*) = count(to_regnamespace(quote_ident(name))) AND count(*) > 0 AS all_there
    FROM unnest($2::text[]) AS wanted(name)
), needs AS (
    SELECT 'TEMPORARY' AS privilege, format('DATABASE %I', current_database()) AS object, 1 AS rank
    WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
    UNION ALL
    SELECT 'CREATE', format('DATABASE %I', current_database()), 2
    FROM place
    WHERE NOT all_there AND NOT has_database_privilege(current_database(), 'CREATE')
    UNION ALL
    SELECT privilege, format('SCHEMA %I', name), 3
    FROM unnest($2::text[]) AS wanted(name), unnest(ARRAY['USAGE', 'CREATE']) AS privilege
    WHERE to_regnamespace(quote_ident(name)) IS NOT NULL
      AND NOT has_schema_privilege(to_regnamespace(quote_ident(name)), privilege)
    UNION ALL
    SELECT privilege, format('TABLE %s', to_regclass(name)), 4
    FROM unnest($1::text[]) AS wanted(name), unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
)
SELECT format('GRANT %s ON %s TO %I', string_agg(privilege, ', '), object, current_user)
FROM needs
GROUP BY object, rank
ORDER BY rank, object
