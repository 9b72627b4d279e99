-- Everything this package says to TimescaleDB 2.x. Nothing elsewhere depends on it.

-- name: offered
-- Whether the server offers the extension and has loaded it: its loader defines this setting for everybody.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
   AND current_setting('timescaledb.disable_load', true) IS NOT NULL

-- name: used_version
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'

-- name: size
SELECT (SELECT coalesce(sum(rows), 0)::bigint FROM tallies) AS rows,
       (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
        WHERE oid IN ('candles'::regclass, 'trades'::regclass)) AS bytes

-- name: database_bytes
SELECT pg_database_size(current_database())

-- name: create_extension
CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public

-- name: make_hypertables
-- Four weeks a chunk keep a thousand series of 1m candles near forty million rows, which sort in memory.
SELECT create_hypertable('candles', 'timestamp', chunk_time_interval => interval '28 days',
                         create_default_indexes => false, migrate_data => {migrate_data});
SELECT create_hypertable('trades', 'timestamp', chunk_time_interval => interval '7 days',
                         create_default_indexes => false, migrate_data => {migrate_data});

-- name: may_compress
-- Compression needs the community licence.
SELECT current_setting('timescaledb.license', true) = 'timescale'

-- name: compress
ALTER TABLE candles SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
                         timescaledb.compress_orderby = 'timestamp');
ALTER TABLE trades SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
                        timescaledb.compress_orderby = 'timestamp, trade_id, occurrence');

-- name: compress_by_columnstore
-- The same in the words of 2.18 and later.
ALTER TABLE candles SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id',
                         timescaledb.orderby = 'timestamp');
ALTER TABLE trades SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id',
                        timescaledb.orderby = 'timestamp, trade_id, occurrence');

-- name: compression_policies
SELECT add_compression_policy('candles', interval '{candles_days} days');
SELECT add_compression_policy('trades', interval '{trades_days} days');

-- name: columnstore_policies
CALL add_columnstore_policy('candles', after => interval '{candles_days} days');
CALL add_columnstore_policy('trades', after => interval '{trades_days} days');

-- name: remove_compression
SELECT remove_compression_policy('candles', if_exists => true);
SELECT remove_compression_policy('trades', if_exists => true);

-- name: remove_columnstore
CALL remove_columnstore_policy('candles', if_exists => true);
CALL remove_columnstore_policy('trades', if_exists => true);

-- name: compression_days
-- The older releases say compress_after, the newer ones say it too, of jobs of either name.
SELECT hypertable_name, (extract(epoch FROM (config ->> 'compress_after')::interval) / 86400)::integer AS days
FROM timescaledb_information.jobs
WHERE hypertable_name IN ('candles', 'trades') AND proc_name IN ('policy_compression', 'policy_columnstore')

-- name: retention_policies
SELECT hypertable_name, config ->> 'drop_after' AS drop_after
FROM timescaledb_information.jobs
WHERE hypertable_name IN ('candles', 'trades') AND proc_name = 'policy_retention'
ORDER BY hypertable_name

-- name: is_used
SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL

-- name: last_chunk_end
SELECT max(range_end) FROM timescaledb_information.chunks WHERE hypertable_name = $1 AND range_end <= $2

-- name: drop_chunks
SELECT drop_chunks($1::regclass, older_than => $2::timestamptz)
