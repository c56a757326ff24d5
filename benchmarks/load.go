package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
)

var tpsLine = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// load lets pgbench do an application's work, and gives the transactions a second that it reached.
func (b *bench) load(ctx context.Context, on *dataset, args ...string) (float64, error) {
	work, err := databases[on.name].work(b)
	if err != nil {
		return 0, err
	}
	c := b.command(ctx, "pgbench", append(append([]string{"--no-vacuum", "--jobs=2"}, work...), append(args, on.login.URL())...)...)
	var output bytes.Buffer
	c.Stdout = &output
	if err := b.finish(c); err != nil {
		return 0, err
	}
	m := tpsLine.FindSubmatch(output.Bytes())
	if m == nil {
		return 0, fmt.Errorf("pgbench did not say how fast it was: %s", output.Bytes())
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// loadAt does so at a rate for some seconds.
func (b *bench) loadAt(ctx context.Context, on *dataset, rate, seconds int) (float64, error) {
	return b.load(ctx, on, "--client=8", "--rate="+strconv.Itoa(rate), "--time="+strconv.Itoa(seconds))
}
