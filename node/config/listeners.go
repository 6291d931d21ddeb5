package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// listeners checks the addresses to listen on: their form, that they differ, and that what other machines can reach is
// open to anybody only where that is written out.
func (v *validator) listeners() {
	c := v.c
	all := []struct {
		section string
		address string
		open    bool
	}{
		{"kafka", c.Kafka.Listen, c.Kafka.AllowAnonymous},
		{"mqtt", c.MQTT.Listen, c.MQTT.AllowAnonymous},
		{"http", c.HTTP.Listen, c.HTTP.AllowAnonymous},
	}
	for i, l := range all {
		key := l.section + ".listen"
		if l.address == "" {
			continue
		}
		host, port, err := splitAddress(l.address)
		if err != nil {
			v.wrong(key, fmt.Sprintf("is %s: %v", quote(l.address), err), `write it like "127.0.0.1:9092"`)
			continue
		}
		if !isLoopback(host) && !l.open {
			v.wrong(key, fmt.Sprintf("is %s, which other machines can reach, and nobody is asked for a password", quote(l.address)),
				"write allow_anonymous = true into ["+l.section+"] if that is meant, or listen on 127.0.0.1")
		}
		for _, other := range all[:i] {
			if port != 0 && sameAddress(l.address, other.address) {
				v.conflict([]string{key, other.section + ".listen"}, fmt.Sprintf("is %s, and %s.listen is %s",
					quote(l.address), other.section, quote(other.address)), "give each its own port")
			}
		}
	}
	if c.Kafka.Listen == "" && c.MQTT.Listen == "" {
		v.conflict([]string{"kafka.listen", "mqtt.listen"}, "and mqtt.listen are empty, so nothing could reach the node",
			"give one of them an address")
	}
	if a := c.Kafka.Advertise; a != "" {
		host, port, err := splitAddress(a)
		if addr, e := netip.ParseAddr(host); err != nil || port == 0 || host == "" || e == nil && addr.IsUnspecified() {
			v.wrong("kafka.advertise", "is "+quote(a)+", where no client can connect to", `write it like "gateway-7.example:9092"`)
		}
		if c.Kafka.Listen == "" {
			v.conflict([]string{"kafka.advertise", "kafka.listen"}, "is set, but kafka.listen is empty", "")
		}
	}
}

// splitAddress reads host:port. The port is a number; the host may be empty, a name, or an IP address.
func splitAddress(address string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("it has no port, or more than one")
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("the port %s is no number up to 65535", quote(digits))
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, uint16(n), nil
	}
	for i := range len(host) {
		if !isNameByte(host[i]) || host[i] == '_' && i == 0 {
			return "", 0, fmt.Errorf("the host %s is neither a name nor an IP address", quote(host))
		}
	}
	return host, uint16(n), nil
}

// isLoopback reports whether only this machine can reach what listens on host. Of names only localhost is known to.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// sameAddress reports whether a listener on a gets in the way of one on b: the same port, and the same host or one that
// stands for all.
func sameAddress(a, b string) bool {
	hostA, portA, errA := splitAddress(a)
	hostB, portB, errB := splitAddress(b)
	if errA != nil || errB != nil || portA != portB {
		return false
	}
	return canonicalHost(hostA) == canonicalHost(hostB) || isWildcard(hostA) || isWildcard(hostB)
}

// isSelf reports whether a connection to target certainly ends at the listener.
func isSelf(target, listener string) bool {
	host, port, err := splitAddress(target)
	if err != nil || port == 0 || !sameAddress(target, listener) {
		return false
	}
	own, _, _ := splitAddress(listener)
	return isLoopback(host) || canonicalHost(host) == canonicalHost(own)
}

func canonicalHost(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}

func isWildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}
