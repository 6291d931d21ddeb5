// Package node puts culvert together: it builds the parts in the order in which they need each other, starts them, and
// stops them in reverse. What one part declares as an interface and another part has is joined here.
package node
