// Package load generates load for brokers and measures what they make of it: any MQTT 3.1.1 broker (RunMQTT), any broker of
// the native protocol (RunProduce, RunFetch), what idle connections cost (RunIdle), the machine's own yardsticks (RunDisk,
// RunCopy), and all of it side by side against other brokers in one run (RunSuite).
//
// It shares the machine with the broker it measures, so it is built to cost little: MQTT connections are served by one
// thread's epoll loop with two system calls for a burst of acknowledgements, packets are copied from templates with only
// packet id and sequence number patched, and nothing is allocated for a message.
package load
