#!/usr/bin/env bash
# The host ends the guest: stop, time-out, signals; what is left behind each time.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

# A guest that never ends by itself, one that sleeps for ever, and one that never stops writing.
for program in loop halt flood; do
	g_start $program.bin
	cat <&3 >/dev/null &
	t_ok "$t_command: stop" "$LKVM" stop test
	t_is "$t_command: it is gone when stop returns" "$(ls "$LKVM_DIR")" ''
	g_wait
	t_status 0
	for signal in INT TERM HUP QUIT; do
		g_start $program.bin
		cat <&3 >/dev/null &
		kill -$signal "$g_pid"
		g_wait
		t_is "$t_command: SIG$signal" "$t_rc" "$((128 + $(kill -l $signal)))"
		g_no_leftovers "$t_command: SIG$signal"
	done
	start=$SECONDS
	g_run $program.bin --timeout 1
	t_status 124
	t_ok "$t_command: takes a second" test $((SECONDS - start)) -le 10
done
g_start loop.bin -c 8
t_ok "$t_command: stop" "$LKVM" stop test
g_wait
t_status 0

# Paused, resumed, and stopped while paused.
g_start halt.bin
t_ok 'resume of a guest that runs, asleep in KVM_RUN' timeout 5 "$LKVM" resume test
t_ok 'pause' "$LKVM" pause test
t_ok 'resume' "$LKVM" resume test
t_ok 'pause again' "$LKVM" pause test
t_ok 'stop while paused' "$LKVM" stop test
g_wait
t_status 0

# A signal during set-up does not wait for its end: here it comes when some of 4 GB are allocated.
"$LKVM" run -c 1 -m 4G --mem-prealloc --name test -k "$GUESTS/halt.bin" </dev/null >/dev/null 2>"$T_TMP/err" &
pid=$!
until read -r _ resident _ <"/proc/$pid/statm" && [ "$resident" -gt 5000 ]; do :; done
kill -TERM $pid
wait $pid
t_is 'SIGTERM during set-up: status' $? 143
t_is 'SIGTERM during set-up: no machine was there to be stopped' "$(cat "$T_TMP/err")" ''

# nohup: the hang-up of the terminal is not for this guest.
(
	trap '' HUP
	exec "$LKVM" run -c 1 -m 64 --name test -k "$GUESTS/halt.bin" </dev/null >/dev/null
) &
pid=$!
until "$LKVM" stat test >/dev/null 2>&1; do :; done
kill -HUP $pid
t_ok 'an ignored SIGHUP stays ignored' "$LKVM" stat test
"$LKVM" stop test >/dev/null
wait $pid
t_is 'and the guest was stopped later' $? 0

# A crash of lkvm itself leaves no socket either.
for signal in SEGV BUS ABRT; do
	g_start halt.bin
	kill -$signal "$g_pid"
	g_wait 2>/dev/null
	t_is "SIG$signal: status" "$t_rc" "$((128 + $(kill -l $signal)))"
	g_no_leftovers "SIG$signal"
done

# SIGKILL leaves the socket, which the next command removes.
g_start halt.bin
kill -KILL "$g_pid"
g_wait
t_status 137
t_is 'SIGKILL leaves the socket and nothing else' "$(ls "$LKVM_DIR")" test.sock
t_run "$LKVM" list
t_status 0
t_unlike 'a killed guest is not listed' "$(t_stdout)" test
t_is 'and its socket is gone' "$(ls "$LKVM_DIR")" ''
g_no_leftovers 'at the end'
t_done
