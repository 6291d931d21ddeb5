// Package config owns culvert's configuration: one TOML file as one struct.
//
// A configuration is made in four layers, the later ones winning: [Default], the file, the environment
// (CULVERT_SECTION_KEY), and the command line. [Load] stacks them, fills in what depends on the machine
// ([Config.Resolve]) and checks the result, field by field and fields against each other ([Config.Validate]).
// Whatever is wrong is reported all at once as [Problems], each with the place it came from (file and line,
// variable or flag) and, where there is one, the name that was probably meant.
//
// The struct in config.go is also the reference documentation: its field comments and tags are what
// `culvert config default` prints. A field is described by these tags:
//
//	toml     the key
//	min,max  smallest and largest value, as the type reads them
//	also     a value outside min and max that has a meaning of its own
//	oneof    the values allowed, separated by spaces
//	reload   "yes": a SIGHUP may change it
//
// The package imports nothing of culvert's.
package config
