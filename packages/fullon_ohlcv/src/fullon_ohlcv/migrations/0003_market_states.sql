-- Whether a market is traded, and if not, why and since when; written when it changes.

CREATE TABLE market_states (
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('active', 'halted', 'delisted', 'closed')),
    reason text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (exchange, symbol)
);
COMMENT ON COLUMN market_states.symbol IS 'empty for the venue itself';
COMMENT ON COLUMN market_states.since IS 'when it was found to be so, exchange time';
