-- +goose Up
CREATE INDEX ledger_entry_made ON ledger_entry (made, kind);
