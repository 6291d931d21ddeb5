package main

import (
	"fmt"
	"io"

	"github.com/culvert-mq/culvert/node/admin"
)

// printLedger shows what became of every topic's records, and of all together.
func printLedger(w io.Writer, s *admin.Status, internal bool) error {
	t := table{header: []string{"TOPIC", "PRIORITY", "ACCEPTED", "STORED", "EXPIRED", "LOST", "SUPERSEDED", "DAMAGED", "FORWARDED"}}
	var total admin.Ledger
	forwards := false
	for i := range s.Topics {
		topic := &s.Topics[i]
		if topic.Internal && !internal {
			continue
		}
		_, forwarded := topic.Lag()
		forwards = forwards || forwarded
		total.Add(topic.Ledger)
		t.add(append([]string{topic.Name, decimal(topic.Priority)}, ledgerCells(topic.Ledger, forwarded)...)...)
	}
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(w, "no topics yet")
		return err
	}
	t.add(append([]string{"(all)", ""}, ledgerCells(total, forwards)...)...)
	return t.print(w)
}

func ledgerCells(l admin.Ledger, forwarded bool) []string {
	sent := ""
	if forwarded {
		sent = decimal(l.Forwarded)
	}
	return []string{decimal(l.Accepted), decimal(l.Stored), decimal(l.Expired), decimal(l.Lost), decimal(l.Superseded), decimal(l.Damaged), sent}
}
