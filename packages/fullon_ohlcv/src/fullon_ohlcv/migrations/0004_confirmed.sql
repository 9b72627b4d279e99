-- Which part of what is covered the exchange's history has confirmed; what live alone has told is read again.

ALTER TABLE coverage ADD COLUMN confirmed tstzmultirange NOT NULL DEFAULT '{}';
COMMENT ON COLUMN coverage.confirmed IS 'read from, or compared with, the history the exchange serves';
