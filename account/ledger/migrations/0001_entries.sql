-- +goose Up
CREATE TABLE ledger_entry (
	seq     BIGINT PRIMARY KEY, -- from 1, without gaps
	made    BIGINT NOT NULL,    -- Unix nanoseconds
	kind    TEXT NOT NULL,
	who     TEXT NOT NULL,      -- a role or a user, never a subscriber
	what    TEXT NOT NULL,      -- JSON without personal data
	private TEXT NOT NULL,      -- sum of the personal data that is kept apart, hexadecimal; empty none
	prev    BYTEA NOT NULL,
	hash    BYTEA NOT NULL
);
CREATE INDEX ledger_entry_kind ON ledger_entry (kind, seq);

-- Personal data of an entry. It may be erased: the chain holds without it.
CREATE TABLE ledger_private (
	seq  BIGINT PRIMARY KEY,
	salt BYTEA NOT NULL,
	data BYTEA NOT NULL
);

-- Where the chain begins after old entries were removed: one row.
CREATE TABLE ledger_anchor (
	seq  BIGINT PRIMARY KEY, -- of the last entry that was removed
	hash BYTEA NOT NULL
);
