package mqtt

import "strings"

// branches are the children of a level in a tree of topics or filters, by the name of the level. Most levels have one
// child or none, for which no map is made; levelCost is about what a level then takes.
type branches[N any] struct {
	name string
	only *N
	many map[string]*N // if there are several
}

// levelCost is the memory that a level of a tree is charged with, in bytes.
const levelCost = 96

// levelsCost is the memory that a topic or filter takes in a tree at most.
func levelsCost(s string) int { return len(s) + levelCost*(1+strings.Count(s, "/")) }

// get returns the child, or nil.
func (b *branches[N]) get(name string) *N {
	if b.only != nil {
		if b.name == name {
			return b.only
		}
		return nil
	}
	return b.many[name]
}

// add stores a child that is not there.
func (b *branches[N]) add(name string, n *N) {
	name = strings.Clone(name)
	switch {
	case b.many != nil:
		b.many[name] = n
	case b.only != nil:
		b.many = map[string]*N{b.name: b.only, name: n}
		b.name, b.only = "", nil
	default:
		b.name, b.only = name, n
	}
}

// remove removes a child.
func (b *branches[N]) remove(name string) {
	if b.only != nil {
		if b.name == name {
			b.name, b.only = "", nil
		}
		return
	}
	delete(b.many, name)
	if len(b.many) == 0 {
		b.many = nil
	}
}

// each visits every child.
func (b *branches[N]) each(visit func(name string, n *N)) {
	if b.only != nil {
		visit(b.name, b.only)
		return
	}
	for name, n := range b.many {
		visit(name, n)
	}
}

func (b *branches[N]) empty() bool { return b.only == nil && len(b.many) == 0 }
