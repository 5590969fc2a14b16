#!/usr/bin/env bash
# How late a guest that is over its time is ended: it is asked for its backtraces first. Those of Linux:
# tests/testbed/session.sh limits.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

# over_time MODE NAME MOST: it is ended within so many ms of its limit, which is two seconds
over_time()
{
	t_run "$LKVM" run --debug-exit -c 1 -m 64 -k "$GUESTS/session.bz" --root / --log "$T_TMP/log" \
		--result "$T_TMP/result" --timeout 2 -p commands=0 -p "then=$1" -- true
	t_command="a guest that $2"
	t_status 124
	late=$(sed -n 's/.*"guest_ns": \([0-9]*\)[0-9]\{6\},.*/\1/p' "$T_TMP/result")
	late=$((late - 2000))
	t_ok "$t_command: ended in time, after $late ms" [ $late -lt "$3" ]
}

# What is allowed is 2000 ms; the rest is for a busy machine.
over_time 3 'says nothing' 2900
over_time 4 'prints all the time' 2900
over_time 5 'prints all the time, and answers' 1900
t_like "$t_command: its backtrace" "$(cat "$T_TMP/log")" 'NMI backtrace for cpu 0'
t_done
