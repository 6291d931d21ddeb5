package rig

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken from below the kernel's ephemeral range (32768 and up): while a node is down between two
// runs, no outgoing connection can take its port.
const (
	lowestPort  = 18000
	highestPort = 32000
)

// freePorts returns n distinct loopback ports on which nothing listens now.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var found []int
	var lc net.ListenConfig
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		// Held until all are found, so that they are distinct.
		defer l.Close()
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, errors.New("no free ports on loopback")
}
