package commands

import (
	"slices"
	"strings"
)

// parse reads the arguments after a command's name. Flags may stand before, between and after names; "--" ends them.
func parse(c *Command, args []string) (parsed options, asJSON bool, err error) {
	parsed = c.make()
	flags := append(parsed.flags(), jsonFlag(&asJSON))
	var names []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			names = append(names, args...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			names = append(names, arg)
			continue
		}
		if args, err = parseFlag(flags, arg, args); err != nil {
			return nil, false, err
		}
	}
	if err := parsed.names(names); err != nil {
		return nil, false, err
	}
	return parsed, asJSON, nil
}

// parseFlag takes a flag and, if it has one, its value from the arguments after it. It gives what is left of those.
func parseFlag(flags []Flag, arg string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(arg, "=")
	at := slices.IndexFunc(flags, func(f Flag) bool {
		return name == "--"+f.Name || f.Short != "" && name == "-"+f.Short
	})
	if at < 0 {
		var known []string
		for _, f := range flags {
			known = append(known, "--"+f.Name)
		}
		return nil, usageError("%q is not a flag of this subcommand.%s", name, didYouMean(name, known))
	}
	flag := flags[at]
	switch {
	case flag.Value == "" && hasValue:
		return nil, usageError("%s takes no value.", name)
	case flag.Value != "" && !hasValue:
		if len(rest) == 0 || strings.HasPrefix(rest[0], "-") {
			return nil, usageError("%s needs a value: %s %s.", name, name, flag.Value)
		}
		value, rest = rest[0], rest[1:]
	}
	return rest, flag.set(value)
}

// wantsJSON tells whether --json is among arguments that may make no sense otherwise.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json")
}
