// Command cf_cli_pg_migrate_plugin is the plugin pg-migrate of the cf CLI: it moves a PostgreSQL service instance to
// another one while its applications keep running.
package main

import (
	"os"

	"github.com/cf-pg-migrate/cf-pg-migrate/plugin"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() {
	os.Exit(plugin.Main(os.Args, version))
}
