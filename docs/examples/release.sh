#!/bin/bash
# Moves an app from one PostgreSQL service instance to another. Copy it and make it yours.
# cf is logged in and targets the space; instances and keys are there, as docs/users.md says.
# It may be run again after a failure: a replication that is there already goes on.
#
#   release.sh APP SOURCE_INSTANCE SOURCE_KEY TARGET_INSTANCE TARGET_KEY
set -euo pipefail
app=$1 source=$2 target=$4

# await JOB polls until the job is over. The last line is its status alone, and empty if there was no answer. The exit
# status tells less, since it is 1 for FAILED and for no answer alike, so it is ignored.
await() {
	while status=$(cf pg-migrate "$1" | tail -1) || true; [[ $status =~ ^(WAITING|RUNNING)$ ]]; do
		sleep "${POLL_SECONDS:-10}"
	done
}
fail() { echo "$1" >&2; exit 1; }

cf pg-migrate target "${@:2}"
status=$(cf pg-migrate replication 2>/dev/null | tail -1) || true
if [[ -z $status ]]; then
	cf pg-migrate preflight-check
	cf pg-migrate create-replication
fi
await replication
[[ $status == IN-SYNC ]] || fail "The replication is '$status', not IN-SYNC. Do what 'cf pg-migrate replication' says, then run this again."

cf stop "$app"
if cf pg-migrate create-finalization -f; then await finalization; else status=FAILED; fi
if [[ $status == FAILED ]]; then
	cf start "$app" # the source can be written to again
	fail "The finalization failed, $app runs with $source again. Do what 'cf pg-migrate finalization' says, then run this again."
elif [[ $status != COMPLETED ]]; then
	fail "The finalization is '$status', $app is stopped. Ask 'cf pg-migrate finalization': if FAILED start $app, if COMPLETED bind it to $target first."
fi

cf unbind-service "$app" "$source" --wait
cf bind-service "$app" "$target" --wait
cf start "$app"
