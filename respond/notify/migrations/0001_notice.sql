-- +goose Up
CREATE TABLE notice (
	id        TEXT PRIMARY KEY, -- random
	casefile  TEXT NOT NULL,
	subject   TEXT NOT NULL,    -- pseudonym; name and contact are never here
	channel   TEXT NOT NULL,
	family    TEXT NOT NULL,    -- which template
	device    TEXT NOT NULL,
	service   TEXT NOT NULL,
	language  TEXT NOT NULL,    -- empty: the person's own
	seen      BIGINT NOT NULL,  -- Unix nanoseconds, as all times; 0 none
	reference TEXT NOT NULL,    -- 12 digits
	proof     BYTEA NOT NULL UNIQUE, -- keyed hash of the reference, by which it is looked up
	state     TEXT NOT NULL,
	reason    TEXT NOT NULL,
	attempts  BIGINT NOT NULL,
	due       BIGINT NOT NULL,  -- not to be sent before
	batch     TEXT NOT NULL,    -- of letters
	rule      TEXT NOT NULL,    -- of the grant under which it went out
	receipt   TEXT NOT NULL,    -- what the next hop answered
	proposer  TEXT NOT NULL,
	proposed  BIGINT NOT NULL,
	changed   BIGINT NOT NULL,
	sent      BIGINT NOT NULL   -- when it was handed over, or may have been
);
CREATE INDEX notice_state ON notice (state, channel, due);
CREATE INDEX notice_subject ON notice (subject, sent);
CREATE INDEX notice_casefile ON notice (casefile);

CREATE TABLE notice_change (
	notice TEXT NOT NULL REFERENCES notice (id),
	n      BIGINT NOT NULL,   -- from 1
	made   BIGINT NOT NULL,
	before TEXT NOT NULL,
	after  TEXT NOT NULL,
	who    TEXT NOT NULL,     -- a role or a user, never a subscriber
	why    TEXT NOT NULL,
	PRIMARY KEY (notice, n)
);
