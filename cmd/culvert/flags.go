package main

import "github.com/culvert-mq/culvert/node/config"

// sizeFlag is a flag for a number of bytes, written as in the configuration.
type sizeFlag config.Size

func (s *sizeFlag) String() string { return config.Size(*s).String() }
func (s *sizeFlag) Type() string   { return "size" }

// Set reads the flag.
func (s *sizeFlag) Set(text string) error { return (*config.Size)(s).UnmarshalText([]byte(text)) }
