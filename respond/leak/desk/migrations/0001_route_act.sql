-- +goose Up
CREATE TABLE route_act (
	id       TEXT PRIMARY KEY, -- random
	incident TEXT NOT NULL,
	state    TEXT NOT NULL,
	grant_id TEXT NOT NULL,    -- '' none
	standing BIGINT NOT NULL,  -- 1: something of it may be with a router
	prefixes BIGINT NOT NULL,  -- how many are announced of it
	proposed BIGINT NOT NULL,  -- Unix nanoseconds, as all times
	version  BIGINT NOT NULL,  -- one more at each change
	doc      TEXT NOT NULL     -- all of it, JSON
);
CREATE INDEX route_act_state ON route_act (state, standing);
CREATE INDEX route_act_incident ON route_act (incident);
CREATE INDEX route_act_grant ON route_act (grant_id);
CREATE INDEX route_act_proposed ON route_act (proposed, id);

CREATE TABLE route_act_change (
	act    TEXT NOT NULL REFERENCES route_act (id),
	n      BIGINT NOT NULL,  -- from 1
	made   BIGINT NOT NULL,
	before TEXT NOT NULL,
	after  TEXT NOT NULL,
	who    TEXT NOT NULL,
	ja     TEXT NOT NULL,
	en     TEXT NOT NULL,
	PRIMARY KEY (act, n)
);

CREATE TABLE route_act_lease (
	name   TEXT PRIMARY KEY,
	holder TEXT NOT NULL,   -- the process that announces
	until  BIGINT NOT NULL
);
