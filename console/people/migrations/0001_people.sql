-- +goose Up
CREATE TABLE people_user (
	id        TEXT PRIMARY KEY,
	name      TEXT NOT NULL UNIQUE, -- RFC 8265, case mapped; of the removed with their id
	roles     TEXT NOT NULL,        -- words, by commas
	state     TEXT NOT NULL,        -- invited, active, locked, removed
	password  TEXT NOT NULL,        -- Argon2id with its parameters; empty none
	issuer    TEXT NOT NULL,        -- who vouches for them at sign-in; empty nobody
	created   BIGINT NOT NULL,      -- Unix nanoseconds
	signed_in BIGINT NOT NULL       -- last; 0 never
);

-- Whom an issuer of OpenID Connect means by a subject.
CREATE TABLE people_identity (
	issuer  TEXT NOT NULL,
	subject TEXT NOT NULL,
	user_id TEXT NOT NULL REFERENCES people_user (id),
	PRIMARY KEY (issuer, subject)
);

-- Secrets that open something: API and login tokens, sessions, one-time links.
CREATE TABLE people_secret (
	id        TEXT PRIMARY KEY,
	kind      TEXT NOT NULL,        -- api, login, session; first, invite, reset
	sum       TEXT NOT NULL UNIQUE, -- SHA-256 of the secret, hexadecimal
	name      TEXT NOT NULL,        -- what it is for
	user_id   TEXT NOT NULL,        -- empty nobody's
	who       TEXT NOT NULL,        -- who acts with one that is nobody's
	roles     TEXT NOT NULL,        -- words, by commas; of a user's session empty: the user's
	read_only BIGINT NOT NULL,      -- 0 or 1
	parent    TEXT NOT NULL,        -- id of the API token that a session was opened with
	origin    TEXT NOT NULL,        -- address from which a session was opened
	created   BIGINT NOT NULL,
	expires   BIGINT NOT NULL,
	used      BIGINT NOT NULL       -- last, to the minute; 0 never
);
CREATE INDEX people_secret_user ON people_secret (user_id, kind);
CREATE INDEX people_secret_parent ON people_secret (parent);
CREATE INDEX people_secret_expires ON people_secret (expires);

-- Networks from which users have signed in: strangers' failures don't hold them up there.
CREATE TABLE people_seen (
	user_id TEXT NOT NULL REFERENCES people_user (id),
	network TEXT NOT NULL, -- an IPv4 address or an IPv6 /64
	last    BIGINT NOT NULL,
	PRIMARY KEY (user_id, network)
);
