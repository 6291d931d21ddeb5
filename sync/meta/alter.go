package meta

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func errFixed(keys string) error {
	return fmt.Errorf("%w: %s can only be changed in the configuration file", ErrInvalidRequest, keys)
}

func (c *AlterTopicConfigs) apply(s *State) (*State, Result, error) {
	t, err := s.find(c.Name, TopicID{})
	if err != nil {
		return nil, Result{}, err
	}
	configs, err := alter(TopicConfigs, t.Configs, c.Ops, c.Replace)
	if err != nil {
		return nil, Result{}, err
	}
	if err := checkTopicConfigs(configs); err != nil {
		return nil, Result{}, err
	}
	if maps.Equal(configs, t.Configs) {
		return s, Result{Topic: t}, nil
	}
	if err := s.checkConfigRoom(t.Configs, configs); err != nil {
		return nil, Result{}, err
	}
	n := *t
	n.Configs = configs
	return s.withTopic(&n), Result{Topic: &n}, nil
}

func (c *AlterBrokerConfigs) apply(s *State) (*State, Result, error) {
	old := s.ClusterConfigs
	if c.Broker != AllBrokers {
		if _, ok := s.Brokers[c.Broker]; !ok {
			return nil, Result{}, fmt.Errorf("%w: %d", ErrUnknownBroker, c.Broker)
		}
		old = s.BrokerConfigs[c.Broker]
	}
	configs, err := alter(BrokerConfigs, old, c.Ops, c.Replace)
	if err != nil {
		return nil, Result{}, err
	}
	if err := checkDynamic(configs); err != nil {
		return nil, Result{}, err
	}
	if maps.Equal(configs, old) {
		return s, Result{}, nil
	}
	if err := s.checkConfigRoom(old, configs); err != nil {
		return nil, Result{}, err
	}
	n := s.clone()
	if c.Broker == AllBrokers {
		n.ClusterConfigs = configs
		return n, Result{}, nil
	}
	n.BrokerConfigs = maps.Clone(s.BrokerConfigs)
	if len(configs) == 0 {
		delete(n.BrokerConfigs, c.Broker)
	} else {
		n.BrokerConfigs[c.Broker] = configs
	}
	return n, Result{}, nil
}

// alter returns old after the operations, none of which is checked for its value yet. Where old has
// nothing of a list, elements are appended to the key's default, as in Kafka (KIP-339).
func alter(table *ConfigTable, old map[string]string, ops []ConfigOp, replace bool) (map[string]string, error) {
	out := map[string]string{}
	if !replace {
		maps.Copy(out, old)
	}
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if seen[op.Key] {
			return nil, fmt.Errorf("%w: configuration %.100q is given twice", ErrInvalidRequest, op.Key)
		}
		seen[op.Key] = true
		d, err := table.find(op.Key, op.Value)
		if err != nil {
			return nil, err
		}
		if len(op.Value) > MaxConfigValue {
			return nil, d.Check(op.Value)
		}
		if replace && op.Op != OpSet {
			return nil, fmt.Errorf("%w: replacing all configurations can only set them", ErrInvalidRequest)
		}
		switch op.Op {
		case OpSet:
			out[op.Key] = strings.TrimSpace(op.Value)
		case OpDelete:
			delete(out, op.Key)
		case OpAppend, OpSubtract:
			if d.Type != TypeList {
				return nil, fmt.Errorf("%w: %s is not a list, nothing can be appended to it or subtracted from it", ErrInvalidConfig, op.Key)
			}
			have, ok := out[op.Key]
			if !ok {
				have = d.Default
			}
			out[op.Key] = alterList(have, op)
		default:
			return nil, fmt.Errorf("%w: configuration %s: operation %d is unknown", ErrInvalidRequest, op.Key, op.Op)
		}
	}
	return out, nil
}

func alterList(have string, op ConfigOp) string {
	list := splitList(have)
	for _, e := range splitList(op.Value) {
		switch at := slices.Index(list, e); {
		case op.Op == OpAppend && at < 0:
			list = append(list, e)
		case op.Op == OpSubtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ",")
}

// checkConfigRoom refuses to replace one configuration by another where all together would exceed
// [MaxConfigBytes].
func (s *State) checkConfigRoom(old, configs map[string]string) error {
	more := configBytes(configs) - configBytes(old)
	if more <= 0 {
		return nil
	}
	total := configBytes(s.ClusterConfigs)
	for _, c := range s.BrokerConfigs {
		total += configBytes(c)
	}
	for _, t := range s.Topics {
		total += configBytes(t.Configs)
	}
	if total+more > MaxConfigBytes {
		return fmt.Errorf("%w: all configurations together would take %d bytes, %d are allowed", ErrPolicyViolation, total+more, MaxConfigBytes)
	}
	return nil
}

func configBytes(configs map[string]string) (n int) {
	for k, v := range configs {
		n += len(k) + len(v)
	}
	return n
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// parseLong reads a value that was checked; a wrong one is 0.
func parseLong(v string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	return n
}

func formatLong(n int64) string { return strconv.FormatInt(n, 10) }
