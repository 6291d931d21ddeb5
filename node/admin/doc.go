// Package admin owns the node's HTTP side: /healthz, /readyz, /metrics, /status and, only when asked for, Go's profiles.
// It owns the form of the status, the client that reads it, and the meter of bytes that reach the disk. What it shows it
// asks of the interfaces it declares; it knows no other package of culvert's.
//
//	GET /healthz       200 while the process can go on; 503 with the reasons, one a line, when only a restart can help
//	GET /readyz        200 when the node serves, else 503 with the reasons, one a line
//	GET /metrics       Prometheus
//	GET /status        a [Status] as JSON; `culvert status` shows it as a table
//	GET /debug/pprof/  profiles, when the configuration says so
//
// Answers are small, requests have no body, and headers, times and connections are limited: where there are too many, those
// that ask for nothing make room for those that come.
package admin
