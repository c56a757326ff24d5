package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// target is a system that the plugin is built for.
type target struct {
	os, arch string
	platform string // its name in the plugin index, which has none for all of them
}

// targets are what Go builds. cf takes every Mac for the one platform osx, so that is what universal is for.
var targets = []target{
	{"linux", "amd64", "linux64"},
	{"linux", "arm64", ""},
	{"linux", "386", "linux32"},
	{"windows", "amd64", "win64"},
	{"windows", "arm64", ""},
	{"windows", "386", "win32"},
	{"darwin", "amd64", ""},
	{"darwin", "arm64", ""},
}

// universal is the file that runs on every Mac. It is put together from those that Go builds for darwin.
var universal = target{"darwin", "universal", "osx"}

// file is the name of the target's binary. The plugin index wants the version in each URL.
func (t target) file(v version) string {
	system, suffix := t.os, ""
	switch t.os {
	case "darwin":
		system = "macos"
	case "windows":
		suffix = ".exe"
	}
	return fmt.Sprintf("cf-pg-migrate-%s-%s-%s%s", v.number(), system, t.arch, suffix)
}

// build builds the plugin whose code is in a folder. No library of the system is linked, and neither the folder nor
// the state of git is written into the binary.
func (t target) build(ctx context.Context, folder string, v version, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("building %s: %w", path, err)
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+v.tag(), "-o", path, ".")
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch,
		// Whatever else the caller has set that would make another binary.
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOWORK=off", "GOAMD64=v1", "GO386=sse2", "GOARM64=v8.0", "GOFIPS140=off")
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", filepath.Base(path), err, text)
	}
	return nil
}
