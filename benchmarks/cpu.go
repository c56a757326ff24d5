package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpu is processor time in seconds.
type cpu struct {
	Client float64 `json:"client"` // our own process, and the programs that it ran and that have ended
	Source float64 `json:"source"` // the source's server
	Target float64 `json:"target"`
	Others float64 `json:"others"` // everything else on the machine: how much the figures can be trusted
	Steal  float64 `json:"steal"`  // taken by other machines on the same host
}

func (c cpu) minus(d cpu) cpu {
	return cpu{c.Client - d.Client, c.Source - d.Source, c.Target - d.Target, c.Others - d.Others, c.Steal - d.Steal}
}

func (c cpu) plus(d cpu) cpu {
	return cpu{c.Client + d.Client, c.Source + d.Source, c.Target + d.Target, c.Others + d.Others, c.Steal + d.Steal}
}

// ticks is the kernel's unit of time in /proc, the same on all Linux systems.
const ticks = 100

func (b *bench) readCPU() (c cpu, err error) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			return c, fmt.Errorf("reading our processor time: %w", err)
		}
		c.Client += time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	if c.Source, err = serverCPU(b.source.PID()); err != nil {
		return c, err
	}
	if c.Target, err = serverCPU(b.target.PID()); err != nil {
		return c, err
	}
	all, steal, err := machineCPU()
	if err != nil {
		return c, err
	}
	c.Others, c.Steal = all-c.Client-c.Source-c.Target, steal
	return c, nil
}

// serverCPU adds up the main process, its children that have ended, which the kernel adds to it, and those that live.
func serverCPU(pid int) (float64, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, fmt.Errorf("listing the server's processes: %w", err)
	}
	sum, err := processCPU(pid, 4)
	if err != nil {
		return 0, err
	}
	for _, field := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("listing the server's processes: %w", err)
		}
		own, err := processCPU(child, 2)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended just now
		}
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// processCPU adds up n of utime, stime, cutime, cstime.
func processCPU(pid, n int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses, and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime = 11
	return sumTicks(fields[utime : utime+n])
}

// machineCPU gives what all processors worked, and what was stolen from them.
func machineCPU() (busy, steal float64, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("reading the machine's processor time: %w", err)
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if busy, err = sumTicks([]string{f[1], f[2], f[3], f[6], f[7]}); err != nil {
		return 0, 0, err
	}
	steal, err = sumTicks(f[8:9])
	return busy, steal, err
}

func sumTicks(fields []string) (float64, error) {
	var sum float64
	for _, field := range fields {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, fmt.Errorf("reading a processor time: %w", err)
		}
		sum += n / ticks
	}
	return sum, nil
}
