-- +goose Up
CREATE TABLE dns_counts (
    hour BIGINT NOT NULL, -- its start, Unix seconds
    resolver TEXT NOT NULL,
    zone TEXT NOT NULL, -- '' with family '': the totals of the resolver
    family TEXT NOT NULL,
    queries BIGINT NOT NULL,
    responses BIGINT NOT NULL,
    nxdomain BIGINT NOT NULL,
    blocked BIGINT NOT NULL,
    would BIGINT NOT NULL,
    sinkholed BIGINT NOT NULL,
    reached BIGINT NOT NULL,
    malformed BIGINT NOT NULL,
    unread BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    broken BIGINT NOT NULL,
    PRIMARY KEY (hour, resolver, zone, family)
);

CREATE TABLE dns_files (
    digest TEXT PRIMARY KEY, -- SHA-256 of what was read
    name TEXT NOT NULL,
    taken BIGINT NOT NULL -- Unix nanoseconds
);

-- How many distinct clients asked for a watched name in a day; -1: fewer than the floor.
CREATE TABLE dns_reach (
    day BIGINT NOT NULL, -- its start, Unix seconds
    name TEXT NOT NULL,
    clients BIGINT NOT NULL,
    PRIMARY KEY (day, name)
);
