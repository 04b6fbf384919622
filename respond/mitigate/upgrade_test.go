package mitigate

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/respond"
)

// TestUpgrade: what was kept before all acts were kept together (two mitigations as they
// were written then, their alternatives shortened) is read, and stays under control: who
// announced it has the right to until its lease is over; then what stands is taken back
// with its grant, and what is proposed can be approved.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	kept, err := os.ReadFile("testdata/kept.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(strings.TrimSpace(string(kept)), "\n")
	first, err := migrations.ReadFile("migrations/0001_mitigation.sql")
	if err != nil {
		t.Fatal(err)
	}
	const stands, waits = "M-GDYNZFHI6HWUOZFS5GRK3FKVCS", "M-AYLIPF62QPFEPJDWWABKUSCWXU"
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		if err := db.Migrate(t.Context(), "mitigate", fstest.MapFS{"0001_mitigation.sql": {Data: first}}); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		now := w.Now().UnixNano()
		if err := db.Tx(t.Context(), func(tx *relation.Tx) error {
			const row = `INSERT INTO mitigation (id, attack, object, state, grant_id, rehearse, standing, rules, proposed, changed, version, doc) VALUES ($1, 'A-1', '203.0.113.7/32', $2, $3, 0, $4, 2, $5, $5, $6, $7)`
			if _, err := tx.Exec(t.Context(), row, stands, "announced", "G-OLD", 1, now, 4, docs[0]); err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), row, waits, "proposed", "", 0, now+1, 1, docs[1]); err != nil {
				return err
			}
			for n, to := range []string{"proposed", "approved", "announced"} {
				if _, err := tx.Exec(t.Context(), `INSERT INTO mitigation_change (mitigation, n, made, before, after, who, ja, en) VALUES ($1, $2, $3, '', $4, 'network:taro', '旧', 'old')`, stands, n+1, now, to); err != nil {
					return err
				}
			}
			_, err := tx.Exec(t.Context(), `INSERT INTO mitigation_lease (name, holder, until) VALUES ('announce', 'M-HOLDER', $1)`, now+int64(20*time.Second))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		d := w.desk(t, db, forReal)
		m := at(t, d, stands, respond.Announced)
		if m.Attack != "A-1" || m.Object.Name != "shop" || len(m.Proposal.Rules) != 2 || m.Proposal.Forms.FlowSpec == "" || !m.Standing || m.Grant.Rule != UnderAttack || len(m.Approvals) != 1 || len(m.Changes) != 3 || m.Changes[2].To != respond.Announced {
			t.Errorf("%+v", m)
		}
		if list, err := d.List(t.Context(), respond.Query{About: "A-1", Object: "203.0.113.7/32", Live: true}); err != nil || len(list) != 2 || list[0].ID != waits {
			t.Error(list, err)
		}
		if n, _, err := d.Budget(t.Context()); n != 2 || err != nil {
			t.Error(n, err)
		}
		if m, err := d.Approve(t.Context(), waits, "network:hanako", "fine"); err != nil || m.State != respond.Approved {
			t.Error(m.State, err)
		}
		if tally := w.tick(t, d); !tally.Standby {
			t.Errorf("%+v: the lease of before counts no more", tally)
		}
		w.router.has[stands] = m.Proposal.Rules
		w.pass(21 * time.Second)
		if tally := w.tick(t, d); tally.Withdrawn != 1 || tally.Announced != 1 || len(w.router.ids()) != 1 {
			t.Errorf("%+v, %v", tally, w.router.ids())
		}
		if m := at(t, d, stands, respond.Withdrawn); m.Standing || !strings.Contains(m.Reason.EN, m.Grant.ID) || len(m.Changes) != 4 {
			t.Errorf("%+v", m)
		}
		at(t, d, waits, respond.Announced)
		if err := db.QueryRow(t.Context(), `SELECT id FROM mitigation`).Err(); err == nil {
			t.Error("the table of before is still there")
		}
		at(t, w.desk(t, db, Policy{}), waits, respond.Announced) // again, with nothing to move
	})
}
