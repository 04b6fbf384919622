-- +goose Up
CREATE TABLE mitigation (
	id       TEXT PRIMARY KEY, -- random
	attack   TEXT NOT NULL,
	object   TEXT NOT NULL,    -- kind, prefix and name: the same text is the same object
	state    TEXT NOT NULL,
	grant_id TEXT NOT NULL,    -- '' none
	rehearse BIGINT NOT NULL,  -- 1: never announced
	standing BIGINT NOT NULL,  -- 1: something of it may be with a router
	rules    BIGINT NOT NULL,  -- how many a router holds of it
	proposed BIGINT NOT NULL,  -- Unix nanoseconds, as all times
	changed  BIGINT NOT NULL,
	version  BIGINT NOT NULL,  -- one more at each change
	doc      TEXT NOT NULL     -- all of it, JSON
);
CREATE INDEX mitigation_state ON mitigation (state, standing);
CREATE INDEX mitigation_attack ON mitigation (attack);
CREATE INDEX mitigation_grant ON mitigation (grant_id);
CREATE INDEX mitigation_object ON mitigation (object, changed);
CREATE INDEX mitigation_proposed ON mitigation (proposed, id);

CREATE TABLE mitigation_change (
	mitigation TEXT NOT NULL REFERENCES mitigation (id),
	n          BIGINT NOT NULL,  -- from 1
	made       BIGINT NOT NULL,
	before     TEXT NOT NULL,
	after      TEXT NOT NULL,
	who        TEXT NOT NULL,
	ja         TEXT NOT NULL,
	en         TEXT NOT NULL,
	PRIMARY KEY (mitigation, n)
);

CREATE TABLE mitigation_lease (
	name   TEXT PRIMARY KEY,
	holder TEXT NOT NULL,   -- the process that announces
	until  BIGINT NOT NULL
);
