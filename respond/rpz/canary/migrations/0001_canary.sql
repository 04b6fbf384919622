-- +goose Up
-- What synthetic clients were answered: one row for a resolver and a round. Written once,
-- removed by age alone.
CREATE TABLE canary_round (
	at       BIGINT NOT NULL,  -- begin of the round, Unix nanoseconds
	resolver TEXT NOT NULL,
	proven   BOOLEAN NOT NULL, -- every answer was the one it must be
	serials  TEXT NOT NULL,    -- JSON: zone → serial, as the answers told it
	probes   TEXT NOT NULL,    -- JSON: every question, what it must and what it did get
	PRIMARY KEY (resolver, at)
);
CREATE INDEX canary_round_at ON canary_round (at);
