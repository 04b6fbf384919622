-- +goose Up
-- Announcements go to where all acts are kept. The right to announce goes with them: who
-- has it still stands by what it told the routers.
INSERT INTO act (id, kind, about, object, state, grant_id, standing, rules, proposed, version, doc)
	SELECT id, 'announcement', incident, '', state, grant_id, standing, prefixes, proposed, version, doc FROM route_act;
INSERT INTO act_change (act, n, made, before, after, who, ja, en)
	SELECT act, n, made, before, after, who, ja, en FROM route_act_change;
INSERT INTO act_lease (name, holder, until) SELECT 'announcement', holder, until FROM route_act_lease;
DROP TABLE route_act_change;
DROP TABLE route_act;
DROP TABLE route_act_lease;
