-- Everything this package says to TimescaleDB 2.x, once, when the schema is made. Nothing elsewhere depends on it.
-- Four weeks a chunk keep a thousand series of 1m candles near forty million rows, which sort in memory.

SELECT create_hypertable('candles', 'timestamp', chunk_time_interval => interval '28 days',
                         create_default_indexes => false);
SELECT create_hypertable('trades', 'timestamp', chunk_time_interval => interval '7 days',
                         create_default_indexes => false);

-- compression (needs the community licence, see schema.py)

ALTER TABLE candles SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
                         timescaledb.compress_orderby = 'timestamp');
ALTER TABLE trades SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id',
                        timescaledb.compress_orderby = 'timestamp, trade_id, occurrence');
SELECT add_compression_policy('candles', interval '60 days');
SELECT add_compression_policy('trades', interval '14 days');
