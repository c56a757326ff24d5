// Package commands holds the subcommands of cf pg-migrate, one file each, and the one table that parser, help, cf's own
// help and the "did you mean" come from.
//
// What a command needs of the world comes in through [Environment]; it never touches the process's streams, clock or
// environment by itself.
package commands
