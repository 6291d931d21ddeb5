package mqtt

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naiveMatch follows section 4.7 of the standard level by level.
func naiveMatch(filter, topic string) bool {
	f, l := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "#" || f[0] == "+") {
		return false
	}
	for i := range f {
		if f[i] == "#" {
			return true // i levels matched; there may be none below
		}
		if i >= len(l) || f[i] != "+" && f[i] != l[i] {
			return false
		}
	}
	return len(f) == len(l)
}

var level = rapid.SampledFrom([]string{"", "a", "b", "c", "$s", "ü"})

var anyTopic = rapid.Custom(func(t *rapid.T) string {
	topic := strings.Join(rapid.SliceOfN(level, 1, 5).Draw(t, "levels"), "/")
	if topic == "" {
		return "/"
	}
	return topic
})

var anyFilter = rapid.Custom(func(t *rapid.T) string {
	levels := rapid.SliceOfN(rapid.OneOf(level, rapid.Just("+")), 1, 5).Draw(t, "levels")
	if rapid.Bool().Draw(t, "rest") {
		levels = append(levels[:len(levels)-1], "#")
	}
	if f := strings.Join(levels, "/"); f != "" {
		return f
	}
	return "+"
})

func TestTrieAgainstNaiveMatching(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr trie[int]
		subs := map[string]map[int]byte{}
		count := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			filter, sub := anyFilter.Draw(t, "filter"), rapid.IntRange(0, 3).Draw(t, "sub")
			_, had := subs[filter][sub]
			if rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
				if tr.remove(filter, sub) != had {
					t.Fatalf("remove(%s, %d): had %v", filter, sub, had)
				}
				if had {
					delete(subs[filter], sub)
					count--
				}
			} else {
				qos := byte(rapid.IntRange(0, 1).Draw(t, "qos"))
				if tr.add(filter, sub, qos) == had {
					t.Fatalf("add(%s, %d): had %v", filter, sub, had)
				}
				if subs[filter] == nil {
					subs[filter] = map[int]byte{}
				}
				subs[filter][sub] = qos
				if !had {
					count++
				}
			}
			if tr.count != count {
				t.Fatalf("count %d, want %d", tr.count, count)
			}
			topic := anyTopic.Draw(t, "topic")
			var got, want []int
			for filter, of := range subs {
				if matchFilter(filter, topic) != naiveMatch(filter, topic) {
					t.Fatalf("matchFilter(%s, %s) is %v", filter, topic, matchFilter(filter, topic))
				}
				for sub, qos := range of {
					if naiveMatch(filter, topic) {
						want = append(want, sub*2+int(qos))
					}
				}
			}
			tr.match(topic, func(sub int, qos byte) { got = append(got, sub*2+int(qos)) })
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: got %v, want %v of %v", topic, got, want, subs)
			}
		}
		for filter, of := range subs {
			for sub := range of {
				tr.remove(filter, sub)
			}
		}
		if tr.count != 0 || !tr.root.empty() {
			t.Fatalf("%d subscriptions are left, or nodes", tr.count)
		}
	})
}

func TestFilterOfManyLevels(t *testing.T) {
	var tr trie[int]
	deep := strings.Repeat("a/", 32000) + "#"
	tr.add(deep, 1, 1)
	n := 0
	tr.match(strings.Repeat("a/", 32000)+"x", func(int, byte) { n++ })
	tr.match(strings.Repeat("a/", 31000), func(int, byte) { n++ })
	if n != 1 || !matchFilter(deep, strings.Repeat("a/", 32700)) {
		t.Errorf("matched %d times", n)
	}
	if !tr.remove(deep, 1) || !tr.root.empty() {
		t.Error("not removed")
	}
}

func BenchmarkTrieMatch(b *testing.B) {
	var tr trie[int]
	for i := range 10_000 {
		tr.add("city/north/lamp-"+string(rune('0'+i%10))+strings.Repeat("x", i%100)+"/set", i, 1)
	}
	tr.add("city/+/+/set", -1, 1)
	tr.add("#", -2, 0)
	n := 0
	for b.Loop() {
		tr.match("city/north/lamp-3xxx/set", func(int, byte) { n++ })
	}
}
