-- +goose Up
-- Mitigations go to where all acts are kept. The right to announce goes with them: who
-- has it still stands by what it told the routers.
INSERT INTO act (id, kind, about, object, state, grant_id, standing, rules, proposed, version, doc)
	SELECT id, 'mitigation', attack, object, state, grant_id, standing, rules, proposed, version, doc FROM mitigation;
INSERT INTO act_change (act, n, made, before, after, who, ja, en)
	SELECT mitigation, n, made, before, after, who, ja, en FROM mitigation_change;
INSERT INTO act_lease (name, holder, until) SELECT 'mitigation', holder, until FROM mitigation_lease;
DROP TABLE mitigation_change;
DROP TABLE mitigation;
DROP TABLE mitigation_lease;
