package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// VariablePrefix begins the name of every environment variable of culvert's.
const VariablePrefix = "CULVERT_"

// Variables that begin with [VariablePrefix] and are no keys of the configuration.
const (
	VariableConfig = "CULVERT_CONFIG" // path of the configuration file, instead of --config
	VariableBroker = "CULVERT_BROKER" // native address that client commands use, instead of --broker
	VariableHTTP   = "CULVERT_HTTP"   // HTTP address that `culvert status` asks, instead of --http
)

// Variable returns the name of the environment variable that overrides key, like CULVERT_MQTT_LISTEN for mqtt.listen.
func Variable(key string) string {
	return VariablePrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// foreign reports whether a variable is none of the node's business: those that Kubernetes (and Docker before it) gives
// every container when a service is named culvert (CULVERT_SERVICE_HOST, CULVERT_PORT, CULVERT_PORT_1883_TCP_ADDR and so
// on), and those that tell the project's own tests what must not be skipped.
func foreign(name string) bool {
	return name == "CULVERT_INTEROP" || name == "CULVERT_CROSS" ||
		strings.HasPrefix(name, VariablePrefix+"SERVICE_") || name == VariablePrefix+"PORT" ||
		strings.HasPrefix(name, VariablePrefix+"PORT_")
}

// setVariables puts the environment's CULVERT_ variables over c. Unknown ones are refused, because a setting that
// silently does nothing is worse than a start that fails.
func (c *Config) setVariables(env []string) (problems Problems) {
	places := map[string]place{}
	c.walk(func(path string, f field, v reflect.Value) { places[Variable(path)] = place{path, v} })
	for _, e := range env {
		name, text, ok := strings.Cut(e, "=")
		if !ok || !strings.HasPrefix(name, VariablePrefix) || foreign(name) ||
			slices.Contains([]string{VariableConfig, VariableBroker, VariableHTTP}, name) {
			continue
		}
		origin := Origin{Variable: name}
		p, ok := places[name]
		if !ok {
			var names []string
			for n := range places {
				names = append(names, n)
			}
			problems.add(origin, "", "is no setting of culvert's", didYouMean(nearest(name, names)))
			continue
		}
		c.set(p, origin, text, &problems)
	}
	return problems
}

// setFlags puts values from the command line over c.
func (c *Config) setFlags(overrides []Override) (problems Problems) {
	places := map[string]place{}
	c.walk(func(path string, f field, v reflect.Value) { places[path] = place{path, v} })
	for _, o := range overrides {
		origin := Origin{Flag: o.Flag}
		p, ok := places[o.Key]
		if !ok {
			problems.add(origin, o.Key, "is an unknown key", didYouMean(nearest(o.Key, keys())))
			continue
		}
		c.set(p, origin, o.Value, &problems)
	}
	return problems
}

// place is a key and where its value goes.
type place struct {
	key string
	v   reflect.Value
}

// set reads text into a place. Lists are separated by commas.
func (c *Config) set(p place, origin Origin, text string, problems *Problems) {
	wrong := func(message, hint string) { problems.add(origin, p.key, message, hint) }
	switch t := p.v.Type(); {
	case isText(t):
		if err := setText(p.v, text); err != nil {
			wrong("is wrong: "+err.Error(), "")
			return
		}
	case t.Kind() == reflect.String:
		p.v.SetString(text)
	case t.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			wrong("is "+quote(text), "write true or false")
			return
		}
		p.v.SetBool(text == "true")
	case t.Kind() == reflect.Int32:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			wrong("is "+quote(text)+", which is no whole number in range", "")
			return
		}
		p.v.SetInt(n)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		list := []string{}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		p.v.Set(reflect.ValueOf(list))
	default:
		wrong("is too much for one line", "write it into the configuration file")
		return
	}
	if c.origins == nil {
		c.origins = origins{}
	}
	c.origins[p.key] = origin
}
