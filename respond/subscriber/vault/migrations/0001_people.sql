-- +goose Up
-- What a contract is called, and whose it is: sealed, and apart from everything else.
CREATE TABLE subscriber_contract (
	subject BYTEA PRIMARY KEY, -- pseudonym
	key     BIGINT NOT NULL,   -- number of the key it is sealed with
	sealed  BYTEA NOT NULL
);
CREATE TABLE subscriber_person (
	subject BYTEA PRIMARY KEY,
	key     BIGINT NOT NULL,
	sealed  BYTEA NOT NULL
);
CREATE INDEX subscriber_contract_key ON subscriber_contract (key);
CREATE INDEX subscriber_person_key ON subscriber_person (key);
