package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// leave keeps everything running and tells how to look around and how to end it.
func (s *stage) leave() error {
	var services strings.Builder
	for name, cluster := range map[string]*postgres.Cluster{"source": s.source, "target": s.target} {
		fmt.Fprintf(&services, "[%s]\nhost=%s\nport=%d\ndbname=%s\nuser=%s\npassword=%s\n\n",
			name, cluster.Host, cluster.Port, databaseName, cluster.Superuser, cluster.Password)
	}
	// psql is where the server is.
	environment := fmt.Sprintf("export CF_HOME='%s' PGSERVICEFILE='%s'\nPATH='%s':'%s':$PATH\n",
		s.path("home"), s.path("pg_service.conf"), s.path("bin"), s.target.BinDir)
	for _, file := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"pg_service.conf", services.String(), 0o600},
		{"env", environment, 0o600},
		{"stop", s.stopScript(), 0o700},
	} {
		if err := os.WriteFile(s.path(file.name), []byte(file.text), file.mode); err != nil {
			return fmt.Errorf("leaving the demo running: %w", err)
		}
	}
	if err := os.Symlink(s.Programs.CF, s.path("bin", "cf")); err != nil {
		return fmt.Errorf("leaving the demo running: %w", err)
	}
	fmt.Printf(`
Everything keeps running. To look around:
    . %[1]s/env
    cf pg-migrate replication
    psql service=source
    psql service=target
    less %[1]s/pg-migrate-service.log
To stop and remove it all:
    %[1]s/stop
`, s.dir)
	return nil
}

// stopScript ends what runs and removes the folder. A process that has got the number of one of
// ours since then is not in the folder.
func (s *stage) stopScript() string {
	var pids []string
	for _, pid := range s.PIDs() {
		pids = append(pids, fmt.Sprintf("TERM:%d", pid))
	}
	for _, cluster := range []*postgres.Cluster{s.source, s.target} {
		pids = append(pids, fmt.Sprintf("INT:%d", cluster.PID()))
	}
	return fmt.Sprintf(`#!/bin/sh
dir='%s'
ours() { case $(readlink "/proc/$1/cwd") in "$dir"*) true ;; *) false ;; esac; }
for process in %s; do
	signal=${process%%%%:*} pid=${process#*:}
	if ours "$pid"; then kill -s "$signal" "$pid"; fi
	while ours "$pid"; do sleep 0.1; done
done
rm -rf "$dir"
`, s.dir, strings.Join(pids, " "))
}
