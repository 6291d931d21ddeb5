package main

import (
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/node/admin"
)

func TestTheLedgerIsShownAsATable(t *testing.T) {
	source := &statusSource{admin.Status{
		Ready: true, Log: admin.LogStatus{ReserveWanted: 16 << 20, Lost: 20, RetentionHeld: "the clock is not synchronised"},
		Topics: []admin.Topic{
			{Name: "__consumer_offsets", Internal: true, Priority: 5, Ledger: admin.Ledger{Accepted: 5, Stored: 5}, Partitions: []admin.Partition{{End: 5}}},
			{Name: "telemetry", Priority: 5, Ledger: admin.Ledger{Accepted: 578442, Stored: 578342, Forwarded: 578423, Expired: 60, Lost: 20, Superseded: 13, Damaged: 7},
				Partitions: []admin.Partition{{Upstream: &admin.PartitionUpstream{}}}},
			{Name: "zigbee", Priority: 9, Ledger: admin.Ledger{Accepted: 10, Stored: 1, Expired: 9}, Partitions: []admin.Partition{{End: 1}}},
		},
	}}
	url := source.serve(t)
	code, stdout, stderr := cli(t, "", "status", "--http", url, "--ledger")
	want := `TOPIC      PRIORITY  ACCEPTED  STORED  EXPIRED  LOST  SUPERSEDED  DAMAGED  FORWARDED
telemetry  5         578442    578342  60       20    13          7        578423
zigbee     9         10        1       9        0     0           0        -
(all)      -         578452    578343  69       20    13          7        578423
`
	if code != exitOK || stdout != want {
		t.Errorf("exit code %d, %q\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	if _, stdout, _ = cli(t, "", "status", "--http", url, "--ledger", "--internal"); !strings.Contains(stdout, "__consumer_offsets  5         5         5 ") {
		t.Errorf("with the node's own topics:\n%s", stdout)
	}
	_, stdout, _ = cli(t, "", "status", "--http", url)
	for _, want := range []string{
		"LOST          20 records gone before they were forwarded; `culvert status --ledger` tells of which topics\n",
		"EXPIRY WAITS  the clock is not synchronised\n",
		"RESERVE       0 B of 16.0 MiB are held for alarms: they have used it, or there is no room\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	source.s.Topics = nil
	if _, stdout, _ = cli(t, "", "status", "--http", url, "--ledger"); stdout != "no topics yet\n" {
		t.Errorf("the ledger of a new node: %s", stdout)
	}
}
