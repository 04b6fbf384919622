-- +goose Up
-- How many entries there are of a kind, family and state: kept up with each change, so that
-- nobody counts a million rows for the total of a page.
CREATE TABLE cnc_count (
	kind   TEXT NOT NULL,
	family TEXT NOT NULL,
	state  TEXT NOT NULL,
	n      BIGINT NOT NULL,
	PRIMARY KEY (family, kind, state)
);
INSERT INTO cnc_count (kind, family, state, n) SELECT kind, family, state, count(*) FROM cnc_entry GROUP BY kind, family, state;

-- A page goes through an index in order. That of families finds what there is little of: cnc_count
-- says under which families, kinds and states to look.
DROP INDEX cnc_entry_state;
DROP INDEX cnc_entry_family;
DROP INDEX cnc_entry_value;
DROP INDEX cnc_entry_opened;
DROP INDEX cnc_entry_two;
DROP INDEX cnc_entry_waits;
CREATE INDEX cnc_entry_score ON cnc_entry (state, score, key, kind, family);
CREATE INDEX cnc_entry_family ON cnc_entry (family, kind, state, key);
CREATE INDEX cnc_entry_value ON cnc_entry (value, key, kind);
CREATE INDEX cnc_entry_opened ON cnc_entry (opened, key, kind);
CREATE INDEX cnc_entry_two ON cnc_entry (score, key, state, kind) WHERE two <> '';
CREATE INDEX cnc_entry_waits ON cnc_entry (score, key, state, kind) WHERE waits <> '';
CREATE INDEX cnc_entry_enforced ON cnc_entry (key, expires) WHERE state = 'enforced';
CREATE INDEX cnc_entry_candidate ON cnc_entry (score, key) WHERE state = 'candidate' AND waits = '';

-- Blocks of a day by family, whatever becomes of the entries.
CREATE TABLE cnc_blocks (
	day    BIGINT NOT NULL,
	family TEXT NOT NULL,
	n      BIGINT NOT NULL,
	PRIMARY KEY (day, family)
);
INSERT INTO cnc_blocks (day, family, n)
	SELECT h.day, e.family, sum(h.n) FROM cnc_hit h JOIN cnc_entry e ON e.key = h.key WHERE h.zone NOT IN ('', 'sinkhole') GROUP BY h.day, e.family;
