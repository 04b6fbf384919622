-- +goose Up
CREATE TABLE act (
	id       TEXT PRIMARY KEY, -- random
	kind     TEXT NOT NULL,    -- which mission's
	about    TEXT NOT NULL,    -- the id of the attack or incident
	object   TEXT NOT NULL,    -- whom it protects: the same text is the same object; '' nobody in particular
	state    TEXT NOT NULL,
	grant_id TEXT NOT NULL,    -- '' none
	standing BIGINT NOT NULL,  -- 1: something of it may be with a router
	rules    BIGINT NOT NULL,  -- how many a router holds of it
	proposed BIGINT NOT NULL,  -- Unix nanoseconds, as all times
	version  BIGINT NOT NULL,  -- one more at each change
	doc      TEXT NOT NULL     -- all of it, JSON
);
CREATE INDEX act_state ON act (kind, state, standing);
CREATE INDEX act_about ON act (kind, about);
CREATE INDEX act_grant ON act (kind, grant_id);
CREATE INDEX act_object ON act (kind, object, proposed);
CREATE INDEX act_proposed ON act (kind, proposed, id);

CREATE TABLE act_change (
	act    TEXT NOT NULL REFERENCES act (id),
	n      BIGINT NOT NULL,  -- from 1
	made   BIGINT NOT NULL,
	before TEXT NOT NULL,
	after  TEXT NOT NULL,
	who    TEXT NOT NULL,
	ja     TEXT NOT NULL,
	en     TEXT NOT NULL,
	PRIMARY KEY (act, n)
);

CREATE TABLE act_lease (
	name   TEXT PRIMARY KEY, -- a kind
	holder TEXT NOT NULL,    -- the process that announces acts of it
	until  BIGINT NOT NULL
);
