#!/usr/bin/env bash
# The console on a terminal: raw while the guest runs, restored on every way out; escape keys; job
# control. pty checks the terminal's settings at the end of each run (status 98).
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
: "${PTY:?is the program that runs a command on a terminal}"

echo_guest=("$LKVM" run -c 1 -m 64 --debug-exit --name test -k "$GUESTS/echo.bin")
ctrl_a=$'\001' nl=$'\n'

# on_tty NAME STATUS [STEP]... -- CMD [ARG]...
on_tty()
{
	local name=$1 status=$2
	shift 2
	t_run "$PTY" "$@"
	t_command=$name
	sed -i '/has no known kernel header: taken as a flat binary/d' "$T_TMP/stdout" # as these guests are
	t_status "$status"
}

# ---- keys ----

on_tty 'typed and echoed' 1 expect '>' raw send hello expect hello send q expect q -- "${echo_guest[@]}"
t_stdout_is '>helloq'
keys=$'\002\003\004\005\010\t\n\v\r\017\021\023\025\026\032\034\033[A\177'
on_tty 'control keys are for the guest' 1 expect '>' raw send "$keys" \
	expect "$keys" send q -- "${echo_guest[@]}"
t_stdout_is ">${keys}q"
on_tty 'Ctrl-a a' 1 expect '>' raw send "${ctrl_a}a" expect "$ctrl_a" \
	send "${ctrl_a}${ctrl_a}q" -- "${echo_guest[@]}"
t_stdout_is ">${ctrl_a}${ctrl_a}q"
on_tty 'Ctrl-a x' 0 expect '>' raw send "${ctrl_a}x" -- "${echo_guest[@]}"
t_is 'Ctrl-a x: the reason has a line of its own' "$(t_stdout)" \
	$'>\r\nlkvm: guest \'test\' ended: by Ctrl-a x\r'
on_tty 'Ctrl-a x, the guest deaf' 0 raw send "typed${ctrl_a}x" -- \
	"$LKVM" run -c 1 -m 64 -k "$GUESTS/halt.bin"
for key in '?' h; do
	on_tty "Ctrl-a $key" 1 expect '>' raw send "${ctrl_a}$key" expect 'Ctrl-a x  ' expect 'this list' \
		send q -- "${echo_guest[@]}"
	t_stdout_like $'^lkvm: Ctrl-a b  send a break\r$'
done
on_tty 'Ctrl-a and a key that means nothing' 1 expect '>' raw send "${ctrl_a}cq" -- "${echo_guest[@]}"
t_stdout_is '>q'

on_tty '--escape ^]' 0 expect '>' raw send "${ctrl_a}x" expect "${ctrl_a}x" send $'\035?' expect 'Ctrl-] x  ' \
	send $'\035]' expect $'\035' send $'\035x' -- "${echo_guest[@]}" --escape '^]'
t_stdout_like "^lkvm: guest 'test' ended: by Ctrl-\] x"
on_tty '--escape none' 1 expect '>' raw send "${ctrl_a}x"$'\035xq' -- "${echo_guest[@]}" --escape none
t_stdout_is ">${ctrl_a}x"$'\035xq'

# ---- every way out ----

for how in reset reset-acpi poweroff; do
	on_tty "$how" 0 -- "$LKVM" run -c 1 -m 64 -k "$GUESTS/$how.bin"
done
on_tty 'fault' 121 -- "$LKVM" run -c 1 -m 64 -k "$GUESTS/fault.bin"
t_unlike 'fault: lines end in CR LF' "$(t_stdout)" $'[^\r]$'
on_tty 'triple fault' 121 -- "$LKVM" run -c 1 -m 64 -k "$GUESTS/triple-fault.bin"
on_tty 'panic' 120 -- "$LKVM" run -c 1 -m 64 -k "$GUESTS/pvpanic.bin"
panic='---[ end Kernel panic - not syncing: typed ]---'
on_tty 'panic on the console' 120 expect '>' raw send "$nl$panic$nl" -- "${echo_guest[@]}"
on_tty 'panic in the middle of a line' 1 expect '>' raw send "# $panic${nl}q" -- "${echo_guest[@]}"
on_tty '--timeout' 124 -- "${echo_guest[@]}" --timeout 1
on_tty 'no such kernel' 125 -- "$LKVM" run -k "$T_TMP/none"
on_tty 'wrong option' 125 -- "$LKVM" run --nonsense
for signal in HUP INT TERM; do
	number=$(kill -l "$signal")
	on_tty "SIG$signal" $((128 + number)) expect '>' raw kill "$number" -- "${echo_guest[@]}"
done
on_tty 'lkvm stop' 0 expect '>' raw shell "$LKVM stop test" -- "${echo_guest[@]}"
t_is 'no socket is left' "$(ls "$LKVM_DIR")" ''

# ---- only one end is a terminal ----

# shellcheck disable=SC2016
to_file='exec "$@" >"$OUT"' to_pipe='"$@" | cat' from_pipe='printf q | "$@"'
# shellcheck disable=SC2016
from_pipe_later='{ read -r go </dev/tty; printf q; } | "$@"'
on_tty 'to a file' 1 shell "grep -q '>' $T_TMP/out" raw send "hello${ctrl_a}aq" -- \
	env OUT="$T_TMP/out" bash -c "$to_file" - "${echo_guest[@]}"
t_is 'to a file: all of it' "$(cat "$T_TMP/out")" ">hello${ctrl_a}q"
on_tty 'to a pipe' 1 expect '>' raw send 'helloq' -- \
	bash -o pipefail -c "$to_pipe" - "${echo_guest[@]}"
t_stdout_is '>helloq'
on_tty 'from a pipe' 1 -- bash -c "$from_pipe" - "${echo_guest[@]}"
t_stdout_is '>q'
on_tty 'from a pipe: not raw' 1 expect '>' cooked send "go$nl" -- \
	bash -c "$from_pipe_later" - "${echo_guest[@]}"

# ---- what is shared with others ----

pid_of_test="\$($LKVM list | awk '\$1 == \"test\" { print \$2 }')"
on_tty 'O_NONBLOCK' 1 expect '>' raw shell "cat /proc/$pid_of_test/fdinfo/[012] >$T_TMP/fdinfo" send q \
	-- "${echo_guest[@]}"
t_is 'O_NONBLOCK: three descriptors' "$(grep -c ^flags: "$T_TMP/fdinfo")" 3
t_unlike 'O_NONBLOCK: is not set' "$(grep ^flags: "$T_TMP/fdinfo")" '[4567]...$'

# ---- job control ----

# shellcheck disable=SC2016
job_background='set -m
"$@" &
read -r line; echo "shell got $line"
fg >/dev/null; echo "status $?"'
on_tty 'background, then fg' 0 expect '>' cooked send "first$nl" expect 'shell got first' raw \
	send hello expect hello send q expect 'status 1' -- \
	bash -c "$job_background" - "${echo_guest[@]}"
# shellcheck disable=SC2016
job_stays='set -m
"$@" &
read -r line; echo "shell got $line"
kill $!; wait $!; echo "status $?"'
on_tty 'background, ended there' 0 expect '>' cooked send "first$nl" expect 'shell got first' \
	expect 'status 143' -- bash -c "$job_stays" - "${echo_guest[@]}"
# shellcheck disable=SC2016
job_suspend='set -m
before=$(stty -g)
"$@"; echo "stopped $?"
stty "$before"
read -r line; echo "shell got $line"
fg >/dev/null; echo "status $?"'
for signal in STOP TSTP; do
	on_tty "SIG$signal, then fg" 0 expect '>' raw send 1 expect 1 \
		shell "kill -$signal $pid_of_test" expect 'stopped 147' cooked \
		send "first$nl" expect 'shell got first' raw send 2q expect 2q expect 'status 1' -- \
		bash -c "$job_suspend" - "${echo_guest[@]}"
done
# The terminal is given back before the stop, not by the shell.
# shellcheck disable=SC2016
on_tty 'SIGTSTP: the shell finds its settings' 0 expect '>' raw \
	shell "kill -TSTP $pid_of_test" expect 'stopped' cooked send "go$nl" -- \
	bash -c 'set -m; "$@"; echo stopped; read -r line; kill -KILL %1' - "${echo_guest[@]}"
rm -f "$LKVM_DIR"/*

on_tty 'timeout(1) puts it into the background' 124 expect '>' cooked -- timeout 2 "${echo_guest[@]}"
t_done
