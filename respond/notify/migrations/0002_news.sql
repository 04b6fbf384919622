-- +goose Up
ALTER TABLE notice_change ADD COLUMN said TEXT NOT NULL DEFAULT ''; -- by the subscriber: seen or fixed
ALTER TABLE notice_change ADD COLUMN heard BIGINT NOT NULL DEFAULT 0; -- 1 once the case has followed it
CREATE INDEX notice_change_heard ON notice_change (heard, made);
