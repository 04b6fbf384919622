-- +goose Up
-- Versions of terms, and of wordings of individual consents. Never changed.
CREATE TABLE consent_terms (
	version    TEXT PRIMARY KEY,
	ground     TEXT NOT NULL,    -- individual_consent, comprehensive_consent
	valid_from BIGINT NOT NULL,  -- Unix nanoseconds, as all times here
	text_sum   TEXT NOT NULL,    -- SHA-256 of the text, hexadecimal
	opt_out    BOOLEAN NOT NULL, -- may be declined at any time
	unchanged  BOOLEAN NOT NULL, -- and nothing else changes by it
	limited    BOOLEAN NOT NULL, -- to its purposes
	continues  BOOLEAN NOT NULL, -- consents to the version before go on
	entered    BIGINT NOT NULL,
	who        TEXT NOT NULL
);

CREATE TABLE consent_purpose (
	purpose    TEXT NOT NULL,
	valid_from BIGINT NOT NULL,  -- of the version
	version    TEXT NOT NULL,
	continues  BOOLEAN NOT NULL, -- of the version
	PRIMARY KEY (purpose, valid_from)
);

CREATE TABLE consent_notice (
	seq       BIGINT PRIMARY KEY,
	version   TEXT NOT NULL,
	given     BIGINT NOT NULL,  -- when the notice was given
	channel   TEXT NOT NULL,    -- web, mail, letter
	reference TEXT NOT NULL,    -- where it can be seen
	who       TEXT NOT NULL
);
CREATE INDEX consent_notice_version ON consent_notice (version);

-- What subjects said, in the order in which they did. Never changed.
CREATE TABLE consent_event (
	seq     BIGINT PRIMARY KEY,
	subject TEXT NOT NULL,    -- pseudonym
	purpose TEXT NOT NULL,
	given   BOOLEAN NOT NULL, -- else withdrawn
	version TEXT NOT NULL,    -- to which it was given; of a withdrawal the one in force then, or empty
	made    BIGINT NOT NULL,  -- takes effect then
	channel TEXT NOT NULL,
	who     TEXT NOT NULL
);
CREATE INDEX consent_event_subject ON consent_event (subject, purpose, seq);
CREATE INDEX consent_event_purpose ON consent_event (purpose, seq);
