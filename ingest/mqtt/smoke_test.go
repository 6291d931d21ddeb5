package mqtt

import "testing"

func TestSmoke(t *testing.T) {
	s := start(t)
	sub := s.connect("sub")
	sub.send(subscribeBytes(1, 1, "a/#"))
	sub.expect([]byte{0x90, 3, 0, 1, 1})
	pub := s.connect("pub")
	pub.send(publishBytes("a/b", "hello", 1, false, 7))
	pub.expect(puback(7))
	sub.expectMessages("a/b=hello qos1 retain=false")
	pub.send(publishBytes("a/r", "kept", 1, true, 8))
	pub.expect(puback(8))
	sub.expectMessages("a/r=kept qos1 retain=false")
	late := s.connect("late")
	late.send(subscribeBytes(1, 0, "+/r"))
	late.expect([]byte{0x90, 3, 0, 1, 0})
	late.expectMessages("a/r=kept qos0 retain=true")
	late.expectNothing()
	for _, r := range s.log.all("mqtt") {
		t.Log(describe(r))
	}
}
