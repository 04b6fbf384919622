-- +goose Up
-- Who let themselves through the wall, by notice.
CREATE TABLE portal_release (
	notice TEXT NOT NULL,
	n      BIGINT NOT NULL, -- from 1
	made   BIGINT NOT NULL, -- Unix nanoseconds
	ends   BIGINT NOT NULL, -- Unix nanoseconds
	PRIMARY KEY (notice, n)
);
