package main

import (
	"fmt"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// figure is one measurement.
type figure struct {
	Part     string             `json:"part"`
	Database string             `json:"database"`
	Tool     string             `json:"tool"`
	Run      int                `json:"run"`
	Seconds  float64            `json:"seconds"`
	CPU      cpu                `json:"cpu"`
	Steps    []step             `json:"steps"`
	Values   map[string]float64 `json:"values,omitempty"` // what the part measures besides
	Error    string             `json:"error,omitempty"`
}

// step is a part of the time of a figure.
type step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	CPU     cpu     `json:"cpu"`
}

// meter measures the steps of a figure. Time between end and the next begin does not count.
type meter struct {
	figure
	bench *bench
	at    time.Time
	used  cpu
	err   error // the first that a reading gave
}

// begin starts the time of the next step.
func (m *meter) begin() {
	m.used = m.readCPU()
	m.at = time.Now()
}

// end ends a step and starts the next one.
func (m *meter) end(name string) {
	now := time.Now()
	used := m.readCPU()
	s := step{Name: name, Seconds: now.Sub(m.at).Seconds(), CPU: used.minus(m.used)}
	m.Steps = append(m.Steps, s)
	m.Seconds += s.Seconds
	m.CPU = m.CPU.plus(s.CPU)
	m.at, m.used = now, used
}

// step measures one call.
func (m *meter) step(name string, do func() error) error {
	m.begin()
	err := do()
	m.end(name)
	return err
}

func (m *meter) readCPU() cpu {
	c, err := m.bench.readCPU()
	if m.err == nil {
		m.err = err
	}
	return c
}

// profile writes a CPU profile of this process until the function that it gives is called.
func (b *bench) startProfile(name string) (stop func(), err error) {
	if !b.profile {
		return func() {}, nil
	}
	file, err := os.Create(b.file(name))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}

func (b *bench) newMeter(part, database, tool string, run int) *meter {
	return &meter{bench: b, figure: figure{Part: part, Database: database, Tool: tool, Run: run}}
}

// note keeps the figure, with what went wrong.
func (m *meter) note(err error) {
	if err == nil {
		err = m.err
	}
	if err != nil {
		m.Error = err.Error()
	}
	m.bench.Figures = append(m.bench.Figures, m.figure)
	m.bench.say("%s", m)
}

// String is the figure on one line.
func (f figure) String() string {
	text := fmt.Sprintf("%s of %s with %s, run %d: %.2f s (%s)", f.Part, f.Database, f.Tool, f.Run, f.Seconds, f.steps())
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		text += fmt.Sprintf(", %s %.4g", name, f.Values[name])
	}
	if f.Error != "" {
		text += " FAILED: " + f.Error
	}
	return text
}

func (f figure) steps() string {
	var words []string
	for _, s := range f.Steps {
		words = append(words, fmt.Sprintf("%s %.2f", s.Name, s.Seconds))
	}
	return strings.Join(words, ", ")
}
