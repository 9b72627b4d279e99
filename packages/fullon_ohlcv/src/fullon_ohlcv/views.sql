-- The documented relations of a symbol. {trades_id} and {candles_id} are its series, {schema} holds
-- the tables.

-- name: trades
SELECT timestamp, price, volume, side, order_type AS type, CASE WHEN occurrence = 0 THEN trade_id END AS trade_id
FROM {schema}.trades
WHERE series_id = {trades_id}

-- name: candles
SELECT timestamp, open, high, low, close, volume AS vol, trades
FROM {schema}.candles
WHERE series_id = {candles_id}

-- name: view
-- Minutes that trades prove are stored as candles already, where candles are derived from them; elsewhere they are folded
-- here. Where no coverage of trades was ever recorded (the library used without the service) they are taken as they are.
-- A candle that is covered itself needs no fold. `complete` is false for a minute that the ledger does not know (any more).
WITH folded AS (
    SELECT minute_at AS timestamp, open, high, low, close, volume AS vol, trades,
           NOT isempty(of_trades.covered) OR isempty(of_candles.covered) AS complete
    FROM {schema}.coverage AS of_trades,
         {schema}.coverage AS of_candles,
         unnest(CASE WHEN isempty(of_trades.covered) THEN '{{(,)}}' ELSE {schema}.minutes_inside(of_trades.covered) END
                - {schema}.minutes_inside(of_candles.covered)) AS span,
         {schema}.fold_minutes({trades_id}, coalesce(lower(span), '-infinity'), coalesce(upper(span), 'infinity'))
    WHERE of_trades.series_id = {trades_id} AND of_candles.series_id = {candles_id}
)
SELECT * FROM folded
UNION ALL
SELECT timestamp, open, high, low, close, volume AS vol, trades,
       (SELECT isempty(covered) OR covered @> tstzrange(timestamp, timestamp + interval '1 minute')
        FROM {schema}.coverage WHERE series_id = {candles_id}) AS complete
FROM {schema}.candles
WHERE series_id = {candles_id} AND NOT EXISTS (SELECT FROM folded WHERE folded.timestamp = candles.timestamp)

-- name: main_candles
SELECT timestamp, open, high, low, close, volume AS vol, trades,
       (SELECT isempty(covered) OR covered @> tstzrange(timestamp, timestamp + interval '1 minute')
        FROM {schema}.coverage WHERE series_id = {candles_id}) AS complete
FROM {schema}.candles
WHERE series_id = {candles_id}

-- name: from_trades
-- Trades alone: every minute that they cover whole; all they have where no coverage was ever recorded.
SELECT minute_at AS timestamp, open, high, low, close, volume AS vol, trades, true AS complete
FROM {schema}.coverage AS of_trades,
     unnest(CASE WHEN isempty(of_trades.covered) THEN '{{(,)}}' ELSE {schema}.minutes_inside(of_trades.covered) END)
         AS span,
     {schema}.fold_minutes({trades_id}, coalesce(lower(span), '-infinity'), coalesce(upper(span), 'infinity'))
WHERE of_trades.series_id = {trades_id}
