// Package cross owns the machines that culvert is released for and what is checked of their binaries:
// static, stripped, the same bytes from any directory, small enough, and serving under emulation. The
// checks are behind the build tag cross (make cross).
package cross
