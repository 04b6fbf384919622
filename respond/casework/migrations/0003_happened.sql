-- +goose Up
-- What happened outside and was followed: it counts once.
CREATE TABLE casework_happened (
	happening TEXT PRIMARY KEY,
	case_id   TEXT NOT NULL,
	at        BIGINT NOT NULL -- Unix nanoseconds
);
