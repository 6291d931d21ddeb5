package main

import "testing"

func TestOptionsAreTheMachinesWords(t *testing.T) {
	o, err := parseOptions("console=ttyS0 mount=/x machine.mount=nodelalloc,commit=1 machine.dirty=5 machine.config=W25vZGVdCg== quiet\n")
	if err != nil || o.mount != "nodelalloc,commit=1" || o.dirty != "5" || string(o.config) != "[node]\n" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parseOptions("console=ttyS0\n"); err != nil || o.mount != "" || o.dirty != "" || o.config != nil {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parseOptions("machine.config=%"); err == nil {
		t.Error("no error of a configuration that is none")
	}
}
