-- +goose Up
CREATE TABLE lawful_kept (
	id    TEXT PRIMARY KEY,
	state TEXT NOT NULL,    -- waiting, in_force, ending, settled
	until BIGINT NOT NULL,  -- Unix nanoseconds
	body  BYTEA NOT NULL,   -- the decision as JSON; what the seal is over, byte for byte
	seal  BYTEA NOT NULL    -- of the gate; without it a row is nothing
);
CREATE INDEX lawful_kept_state ON lawful_kept (state, until);
