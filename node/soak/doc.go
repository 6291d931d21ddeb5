// Package soak owns the tests that kill, fill and damage a running node, and take the power from the machine
// it runs on: the real binary under load from both protocols, with everything it acknowledged written down
// outside and looked up afterwards. They are behind the build tag soak (make soak); the book-keeping they rest
// on is here and tested without it.
package soak
