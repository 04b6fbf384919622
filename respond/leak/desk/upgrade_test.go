package desk

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

// TestUpgrade: what was kept before all acts were kept together (two acts as they were
// written then) is read, and stays under control: who announced it has the right to until
// its lease is over; then what stands is taken back with its grant, and what is proposed
// can be approved.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	kept, err := os.ReadFile("testdata/kept.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(strings.TrimSpace(string(kept)), "\n")
	first, err := migrations.ReadFile("migrations/0001_route_act.sql")
	if err != nil {
		t.Fatal(err)
	}
	const stands, waits = "R-2PG2A6NPLY7RESLVMJDCLMBO43", "R-TEI4DH2UO3AYOCFBOQIJECJWG4"
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		if err := db.Migrate(t.Context(), "route_act", fstest.MapFS{"0001_route_act.sql": {Data: first}}); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		now := w.Now().UnixNano()
		if err := db.Tx(t.Context(), func(tx *relation.Tx) error {
			const row = `INSERT INTO route_act (id, incident, state, grant_id, standing, prefixes, proposed, version, doc) VALUES ($1, 'I-1', $2, $3, $4, $5, $6, $7, $8)`
			if _, err := tx.Exec(t.Context(), row, stands, "announced", "G-OLD", 1, 2, now, 5, docs[0]); err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), row, waits, "proposed", "", 0, 1, now+1, 1, docs[1]); err != nil {
				return err
			}
			for n, to := range []string{"proposed", "proposed", "approved", "announced"} {
				if _, err := tx.Exec(t.Context(), `INSERT INTO route_act_change (act, n, made, before, after, who, ja, en) VALUES ($1, $2, $3, '', $4, 'network:taro', '旧', 'old')`, stands, n+1, now, to); err != nil {
					return err
				}
			}
			_, err := tx.Exec(t.Context(), `INSERT INTO route_act_lease (name, holder, until) VALUES ('announce', 'R-HOLDER', $1)`, now+int64(20*time.Second))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		d := w.desk(t, db, forReal)
		a := at(t, d, stands, respond.Announced)
		if a.Incident != "I-1" || len(a.Prefixes) != 2 || !a.Standing || a.Grant.Rule != Rule || len(a.Approvals) != 2 || len(a.Changes) != 4 || a.Changes[3].To != respond.Announced {
			t.Errorf("%+v", a)
		}
		if list, err := d.List(t.Context(), respond.Query{About: "I-1", Live: true}); err != nil || len(list) != 2 || list[0].ID != waits {
			t.Error(list, err)
		}
		if n, _, err := d.Budget(t.Context()); n != 2 || err != nil {
			t.Error(n, err)
		}
		for _, who := range []string{"network:hanako", "admin:jiro"} {
			if _, err := d.Approve(t.Context(), waits, who, "fine"); err != nil {
				t.Error(err)
			}
		}
		if tally := w.tick(t, d); !tally.Standby {
			t.Errorf("%+v: the lease of before counts no more", tally)
		}
		w.router.has[stands] = a.Prefixes
		w.pass(21 * time.Second)
		if tally := w.tick(t, d); tally.Withdrawn != 1 || tally.Announced != 1 || len(w.router.ids()) != 1 {
			t.Errorf("%+v, %v", tally, w.router.ids())
		}
		if a = at(t, d, stands, respond.Withdrawn); a.Standing || !strings.Contains(a.Reason.EN, a.Grant.ID) || len(a.Changes) != 5 {
			t.Errorf("%+v", a)
		}
		at(t, d, waits, respond.Announced)
		if err := db.QueryRow(t.Context(), `SELECT id FROM route_act`).Err(); err == nil {
			t.Error("the table of before is still there")
		}
		at(t, w.desk(t, db, Policy{}), waits, respond.Announced) // again, with nothing to move
	})
}
