-- +goose Up
-- One row for each thing that was ever listed. Its key is made of kind and value.
CREATE TABLE cnc_entry (
	key       BIGINT PRIMARY KEY,
	kind      TEXT NOT NULL,
	value     TEXT NOT NULL,
	port      BIGINT NOT NULL,           -- of an endpoint or URL; 0 none
	role      TEXT NOT NULL,
	family    TEXT NOT NULL,
	state     TEXT NOT NULL,
	score     DOUBLE PRECISION NOT NULL, -- as of scored
	scored    BIGINT NOT NULL,           -- Unix nanoseconds, as all times
	first     BIGINT NOT NULL,           -- seen by whichever source
	last      BIGINT NOT NULL,
	opened    BIGINT NOT NULL,           -- when this round of its life began: reviews count from then
	changed   BIGINT NOT NULL,           -- of the last change of state
	expires   BIGINT NOT NULL,           -- never without
	shadow    BIGINT NOT NULL,           -- since when would-be hits are counted; 0 never
	due       BIGINT NOT NULL,           -- when time brings something next; 0 nothing
	hits      BIGINT NOT NULL,
	would     BIGINT NOT NULL,           -- hits while it was in shadow
	hit       BIGINT NOT NULL,           -- the last one
	flags     BIGINT NOT NULL,           -- 1 sinkholed, 2 emergency, 4 barred, 8 looked up, 16 a person agreed
	two       TEXT NOT NULL,             -- why two people decide, in both languages as JSON; '' one does
	waits     TEXT NOT NULL,             -- why it waits for a person
	reason    TEXT NOT NULL              -- of its state
);
CREATE INDEX cnc_entry_state ON cnc_entry (state, score, key);
CREATE INDEX cnc_entry_family ON cnc_entry (family, state, score, key);
CREATE INDEX cnc_entry_value ON cnc_entry (value, key);
CREATE INDEX cnc_entry_opened ON cnc_entry (opened, key);
CREATE INDEX cnc_entry_due ON cnc_entry (due) WHERE due > 0;
CREATE INDEX cnc_entry_hits ON cnc_entry (hits, key) WHERE hits > 0;
CREATE INDEX cnc_entry_two ON cnc_entry (key) WHERE two <> '';
CREATE INDEX cnc_entry_waits ON cnc_entry (key) WHERE waits <> '';

-- What sources say, and said: a row is never changed in what it claims, but ends.
CREATE TABLE cnc_said (
	source     TEXT NOT NULL,
	key        BIGINT NOT NULL,
	since      BIGINT NOT NULL, -- of the reading that brought it
	gone       BIGINT NOT NULL, -- of the reading that didn't have it so any more; 0 it does
	evidence   TEXT NOT NULL,
	confidence DOUBLE PRECISION NOT NULL,
	family     TEXT NOT NULL,
	first      BIGINT NOT NULL,
	last       BIGINT NOT NULL,
	until      BIGINT NOT NULL,
	digest     BIGINT NOT NULL, -- of all of it
	PRIMARY KEY (source, key, since)
);

CREATE TABLE cnc_source (
	name    TEXT PRIMARY KEY,
	reading BIGINT NOT NULL, -- the last one that counts; 0 none
	at      BIGINT NOT NULL,
	listed  BIGINT NOT NULL
);

-- Each reading of a source, and what came of it.
CREATE TABLE cnc_reading (
	id        BIGINT PRIMARY KEY,
	source    TEXT NOT NULL,
	at        BIGINT NOT NULL,
	whole     BIGINT NOT NULL,
	digest    TEXT NOT NULL,
	who       TEXT NOT NULL,
	state     TEXT NOT NULL,   -- open, held, applied, refused, superseded
	base      BIGINT NOT NULL, -- the reading that it is a change of
	read_n    BIGINT NOT NULL,
	listed    BIGINT NOT NULL, -- size of the source after it
	added     BIGINT NOT NULL,
	removed   BIGINT NOT NULL,
	changed   BIGINT NOT NULL,
	protected BIGINT NOT NULL,
	why       TEXT NOT NULL
);
CREATE INDEX cnc_reading_source ON cnc_reading (source, state, id);

-- What a reading brings, until it counts.
CREATE TABLE cnc_staged (
	reading BIGINT NOT NULL,
	n       BIGINT NOT NULL,
	gone    BIGINT NOT NULL, -- 1: keys that it doesn't have any more
	body    BYTEA NOT NULL,
	PRIMARY KEY (reading, n)
);

-- A lot is one decision, about one entry or a million.
CREATE TABLE cnc_lot (
	id   BIGINT PRIMARY KEY,
	at   BIGINT NOT NULL,
	who  TEXT NOT NULL,
	what TEXT NOT NULL,
	why  TEXT NOT NULL -- in both languages, as JSON
);
CREATE TABLE cnc_event (
	key  BIGINT NOT NULL,
	lot  BIGINT NOT NULL,
	what TEXT NOT NULL, -- a state, or what else happened
	PRIMARY KEY (key, lot, what)
);
CREATE TABLE cnc_review (
	key     BIGINT NOT NULL,
	opened  BIGINT NOT NULL, -- of the round
	who     TEXT NOT NULL,
	at      BIGINT NOT NULL,
	verdict TEXT NOT NULL,
	why     TEXT NOT NULL,
	PRIMARY KEY (key, opened, who)
);

-- What came into force and what left it, in order and without a gap.
CREATE TABLE cnc_change (
	seq       BIGINT PRIMARY KEY,
	key       BIGINT NOT NULL,
	lot       BIGINT NOT NULL,
	at        BIGINT NOT NULL,
	enters    BIGINT NOT NULL,
	emergency BIGINT NOT NULL
);
CREATE INDEX cnc_change_key ON cnc_change (key, seq);

CREATE TABLE cnc_hit (
	key     BIGINT NOT NULL,
	day     BIGINT NOT NULL,
	zone    TEXT NOT NULL, -- '' would-be
	n       BIGINT NOT NULL,
	clients BIGINT NOT NULL,
	PRIMARY KEY (key, day, zone)
);
CREATE TABLE cnc_meta (
	name  TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);
