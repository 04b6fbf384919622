-- +goose Up
CREATE INDEX casework_event_at ON casework_event (at);
CREATE INDEX casework_case_due ON casework_case (due, id);

-- Deadlines that the law sets, from when something is known.
CREATE TABLE casework_clock (
	case_id TEXT NOT NULL,
	statute TEXT NOT NULL,
	began   BIGINT NOT NULL, -- Unix nanoseconds, as all times
	due     BIGINT NOT NULL,
	done    BIGINT NOT NULL, -- 0 not yet
	PRIMARY KEY (case_id, statute)
);

-- What is to be done to many cases, after a while in which it can be stopped.
CREATE TABLE casework_bulk (
	id     TEXT PRIMARY KEY,
	action TEXT NOT NULL,   -- move, assign, hold, release
	target TEXT NOT NULL,   -- the state, or whose
	why    TEXT NOT NULL,
	who    TEXT NOT NULL,
	asked  BIGINT NOT NULL,
	at     BIGINT NOT NULL, -- when it is done
	state  TEXT NOT NULL    -- waiting, done, stopped
);
CREATE TABLE casework_bulk_case (
	bulk_id TEXT NOT NULL,
	case_id TEXT NOT NULL,
	was     TEXT NOT NULL, -- its state when it was asked
	result  TEXT NOT NULL, -- '' not yet, done, refused
	reason  TEXT NOT NULL,
	PRIMARY KEY (bulk_id, case_id)
);
CREATE INDEX casework_bulk_state ON casework_bulk (state, at);
