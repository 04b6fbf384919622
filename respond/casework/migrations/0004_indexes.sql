-- +goose Up
-- The queue is read in its order, and what it is filtered by stands beside it.
DROP INDEX casework_case_due;
DROP INDEX casework_case_state;
CREATE INDEX casework_case_queue ON casework_case ((due = 0), due, id, state, family, device, assignee, held, merged, subject);
-- The figures are counted without a look at the cases and events themselves.
CREATE INDEX casework_case_figures ON casework_case (merged, state, family, device, held, assignee, due);
DROP INDEX casework_event_at;
CREATE INDEX casework_event_what ON casework_event (what, at, case_id);
