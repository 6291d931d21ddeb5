//go:build powercut

package powercut

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	cutsFlag    = flag.Int("cuts", 2000, "power cuts of TestNoCutLosesWhatWasAcknowledged")
	seedFlag    = flag.Uint64("seed", 0, "seed of all chance, 0 for a new one; it is printed")
	keepFlag    = flag.String("keep", os.TempDir(), "directory for the journals of sessions in which a cut failed")
	sessionFlag = flag.String("session", "", "journal of a session to look at instead of recording: see TestRecordedSession")
	atFlag      = flag.Int("at", -1, "entry of that session before which the power is cut; -1 for all of them")
	variantFlag = flag.String("variant", "", "what the disk makes of that cut, as a failure prints it")
)

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleVar); role {
	case "":
		os.Exit(m.Run())
	case "recorder":
		err = recorderMain(os.Stdin, os.Stdout)
	case "driver":
		err = driverMain(os.Stdin)
	case "prober":
		err = proberMain(os.Stdin)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
