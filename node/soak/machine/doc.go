// Package machine owns an emulated computer that loses its power: QEMU with a real kernel and a real file system on a
// disk whose write cache is volatile. What the machine has not flushed when it is cut off is dropped, reordered and
// torn by chance, what it has flushed stays, and it boots again on what is left. The first process of the machine is
// the program in guest.
package machine
