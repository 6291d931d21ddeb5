// Package logtest makes logs for tests of the tools that read them: the same files, byte for byte but for the journal's
// nonce, whenever and wherever it is called.
package logtest
