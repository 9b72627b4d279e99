-- Which market a symbol means: a name may move from one market to another, the exchange's own id does not.

ALTER TABLE market_states ADD COLUMN market_id text COLLATE "C" NOT NULL DEFAULT '';
COMMENT ON COLUMN market_states.market_id IS
    'the exchange''s own id of the market that is collected; empty until it is first listed, then never changed';
