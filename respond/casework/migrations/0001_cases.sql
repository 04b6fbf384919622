-- +goose Up
CREATE TABLE casework_case (
	id       TEXT PRIMARY KEY,
	subject  TEXT NOT NULL,    -- pseudonym
	state    TEXT NOT NULL,
	family   TEXT NOT NULL,
	device   TEXT NOT NULL,
	opened   BIGINT NOT NULL,  -- Unix nanoseconds, as all times
	changed  BIGINT NOT NULL,  -- of the last change of state
	seen     BIGINT NOT NULL,  -- the latest sign
	due      BIGINT NOT NULL,  -- by when the next step is to be done; 0 none
	notices  BIGINT NOT NULL,
	assignee TEXT NOT NULL,
	held     BOOLEAN NOT NULL, -- nothing happens by itself
	reason   TEXT NOT NULL,    -- why it was closed
	merged   TEXT NOT NULL     -- the case that it was merged into
);
CREATE INDEX casework_case_subject ON casework_case (subject);
CREATE INDEX casework_case_state ON casework_case (state, due);

-- Every change, with who, when and why.
CREATE TABLE casework_event (
	case_id TEXT NOT NULL,
	n       BIGINT NOT NULL, -- from 1
	at      BIGINT NOT NULL,
	who     TEXT NOT NULL,
	what    TEXT NOT NULL,   -- a state, or note, assigned, held, released, merged, sign, withdrawn
	why     TEXT NOT NULL,
	PRIMARY KEY (case_id, n)
);

-- What was seen, of this subscriber or of nobody that can be told.
CREATE TABLE casework_sign (
	id        TEXT PRIMARY KEY, -- of the finding or report: it counts once
	case_id   TEXT NOT NULL,    -- empty: nobody's
	source    TEXT NOT NULL,    -- who saw it: telescope, or a feed
	claim     TEXT NOT NULL,
	family    TEXT NOT NULL,
	at        BIGINT NOT NULL,
	came      BIGINT NOT NULL,
	verdict   TEXT NOT NULL,    -- of the attribution
	doubt     TEXT NOT NULL,    -- in words, for nobody's
	mediated  BOOLEAN NOT NULL, -- seen through a resolver: accuses nobody
	withdrawn BOOLEAN NOT NULL
);
CREATE INDEX casework_sign_case ON casework_sign (case_id, at);

CREATE TABLE casework_number (
	year BIGINT PRIMARY KEY,
	last BIGINT NOT NULL
);
