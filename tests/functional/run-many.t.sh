#!/usr/bin/env bash
# A thousand runs of a guest that resets at once (thirty where the host is emulated), with 1, 2 and 8
# CPUs: every one ends well. Most of a run is waiting for the host's kernel, so several run at a time.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

t_emulated && RUNS=30 || RUNS=1000
RUNS=${LKVM_TEST_RUNS:-$RUNS}

# shellcheck disable=SC2016
one_run='timeout -s KILL 30 "$LKVM" run -c "$0" -m 64 -k "$GUESTS/reset.bin" </dev/null >/dev/null 2>&1; echo "status $?"'

for cpus in 1 2 8; do
	outcome=$(seq "$RUNS" | xargs -P 8 -I@ sh -c "$one_run" $cpus | sort | uniq -c)
	t_is "$cpus CPUs" "${outcome#"${outcome%%[! ]*}"}" "$RUNS status 0"
done
g_no_leftovers "after $((3 * RUNS)) runs"
t_done
