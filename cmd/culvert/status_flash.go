package main

import (
	"fmt"
	"time"

	"github.com/culvert-mq/culvert/node/admin"
)

// addFlash adds what a day of writing costs, and how long the medium lasts, to the table of the store.
func addFlash(t *table, l *admin.LogStatus) {
	f := l.Flash
	if f == nil {
		return
	}
	day := "in the last 24h"
	if known := time.Duration(f.Known * float64(time.Second)); known < 24*time.Hour {
		day = "in " + humanSeconds(known.Round(time.Minute).Seconds()) + " that are known of the last 24h"
	}
	if f.Budget > 0 {
		t.add("budget", fmt.Sprintf("%.0f %% used: %s of %s written %s", 100*f.BudgetUsed, humanBytes(f.DayBytes), humanBytes(f.Budget), day))
	} else {
		t.add("day", fmt.Sprintf("%s written %s", humanBytes(f.DayBytes), day))
	}
	if f.Exceeding {
		t.add("OVER BUDGET", "log.write_budget cannot be kept, although commits wait; raise it or commit.max_delay, or publish less often")
	}
	linger := humanSeconds(f.Linger)
	if f.Budget > 0 {
		linger += fmt.Sprintf(" (%s to %s, as the budget needs it)", humanSeconds(f.MinLinger), humanSeconds(f.MaxLinger))
	}
	t.add("linger", linger)
	if life := lifeLeft(f); life != "" {
		t.add("lasts", life)
	}
}

// lifeLeft tells how long the medium lasts, "" if nothing is known of that.
func lifeLeft(f *admin.Flash) string {
	if f.LifeUsed > 1 {
		return "the " + f.Medium + " says that its life is used up"
	}
	var text string
	switch {
	case f.YearsLeft >= 100:
		text = "more than 100 years at this rate"
	case f.YearsLeft >= 10:
		text = fmt.Sprintf("%.0f years at this rate", f.YearsLeft)
	case f.YearsLeft >= 0:
		text = fmt.Sprintf("%.1f years at this rate", f.YearsLeft)
	case f.Endurance > 0:
		text = "not known yet"
	}
	if text != "" && f.Endurance > 0 {
		text += fmt.Sprintf(", %s of %s written so far", humanBytes(f.Written), humanBytes(f.Endurance))
	}
	if f.LifeUsed > 0 {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("the %s says that up to %.0f %% of its life is used", f.Medium, 100*f.LifeUsed)
	}
	return text
}
