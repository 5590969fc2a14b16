#!/usr/bin/env bash
# `lkvm exec` with exec-peer in the place of a guest: streams, statuses, signals, terminals, and its own end.
# shellcheck disable=SC2016 # the inner shell is to expand it
# shellcheck source=tests/functional/lib.sh
. "${0%/*}/lib.sh"
: "${EXEC_PEER:?is what takes the commands}" "${PTY:?is the program that runs a command on a terminal}"

cd "$T_TMP" || exit
"$EXEC_PEER" peer &
peer=$!
trap 'kill $peer 2>/dev/null; rm -rf "$T_TMP"' EXIT

t_ok "the peer is there" until_true test -S "$LKVM_DIR/peer.sock" || t_done

# on_tty NAME STATUS [STEP]... -- CMD [ARG]...
on_tty()
{
	local name=$1 status=$2
	shift 2
	t_run "$PTY" "$@"
	t_command=$name
	t_status "$status"
}

# ---- streams and statuses ----

head -c 3000000 /dev/urandom >in
"$LKVM" exec peer -- sh -c 'tee /dev/stderr; exit 7' <in >out 2>err
t_is "status" $? 7
t_ok "standard output" cmp in out
t_ok "standard error" cmp in err
sum=$(sha256sum <in)
# shellcheck disable=SC2002 # a pipe it shall be
t_is "pipes" "$(cat in | "$LKVM" exec peer -- cat | sha256sum)" "$sum"
"$LKVM" exec peer -- sh -c '[ -e /proc/self/fd/0 ] || echo closed' <&- >out 2>err
t_is "a closed standard input" "$(cat out)" closed
t_run "$LKVM" exec peer -- sh -c 'kill -9 $$'
t_status 137
t_fails 127 "command 'no-such-command': No such file or directory" "$LKVM" exec peer -- no-such-command
t_fails 125 "command 'true': its output is incomplete: No space left on device" \
	"$LKVM" exec --env OUTPUT_ERR=28 peer -- true
t_run "$LKVM" exec --env OUTPUT_ERR=28 peer -- sh -c 'exit 7'
t_status 7
t_stderr_is "lkvm: command 'sh': its output is incomplete: No space left on device"
A=one "$LKVM" exec --cwd / --env A --env B=' x ' peer -- sh -c 'echo "$A,$B,$HOME,$PWD"' >out
t_is "environment and folder" "$(cat out)" "one, x ,/root,/"
for ((i = 0; i < 10000; i++)); do words[i]=$'a\t"\n\\\xff'$i; done
t_is "arguments" "$("$LKVM" exec peer -- sh -c 'printf "%s\0" "$@"; echo $#' sh "${words[@]}" | sha256sum)" \
	"$({ printf '%s\0' "${words[@]}"; echo 10000; } | sha256sum)"

# ---- many, signals, its end ----

for i in 1 2 3 4 5 6 7 8; do
	"$LKVM" exec peer -- sh -c "cat; exit $i" <<<"$i" >"out.$i" &
	pids[i]=$!
done
for i in 1 2 3 4 5 6 7 8; do
	wait "${pids[i]}"
	t_is "one of many: $i" "$?,$(cat "out.$i")" "$i,$i"
done

# loop SIGNAL: in the background; at the signal "trapped" is made, and the status is 9. One whose guest is gone ends
# with this test's folder.
loop()
{
	rm -f ready trapped
	env --default-signal=INT,QUIT "$LKVM" exec peer -- sh -c \
		'exec 2>/dev/null; trap ": >trapped; exit 9" '"$1"'; : >ready; while [ -e ready ]; do sleep 0.05; done' </dev/null &
	pid=$!
	until_true test -e ready
}
# ends: wait for it; return its status, 137 if it does not end
ends()
{
	timeout 20 tail --pid=$pid -s 0.02 -f /dev/null || kill -KILL $pid
	wait $pid
}
for signal in INT TERM QUIT HUP; do
	loop $signal
	kill -$signal $pid
	wait $pid
	t_is "SIG$signal goes to the command" $? 9
done
# A command that does not end: the first signal is its own, with the second nobody waits any more.
for signal in 2 15; do
	rm -f ready trapped left
	env --default-signal=INT "$LKVM" exec peer -- sh -c 'exec 2>/dev/null; trap ": >>trapped" INT TERM; trap ": >left; exit" HUP
		: >ready; while :; do sleep 0.05; done' </dev/null &
	pid=$!
	until_true test -e ready
	kill -INT $pid
	t_ok "the first signal goes to the command" until_true test -e trapped
	kill -$signal $pid
	ends
	t_is "the second ends lkvm exec" $? $((128 + signal))
	t_ok "the command has SIGHUP" until_true test -e left
done
loop TERM
kill -STOP $peer
kill -INT $pid
kill -TERM $pid
ends
t_is "the guest's lkvm is stopped: two signals end lkvm exec" $? 143
kill -CONT $peer
loop HUP
kill -KILL $pid
t_ok "lkvm exec is killed: SIGHUP" until_true test -e trapped
wait $pid 2>/dev/null

# ---- terminals ----

on_tty "a terminal" 5 size 100x40 raw expect 100x40 size 90x30 send 'typed' send $'\003\004' expect $'^C^D' \
	shell 'grep -qx 90x30 sizes' send q -- \
	"$LKVM" exec peer -- sh -c 'echo "$TTY"; until [ "$x" = q ]; do x=$(dd bs=1 count=1 2>/dev/null | cat -v); printf "%s" "$x"; done; exit 5'
loop_there='exec 2>/dev/null; trap ": >left; exit" HUP; echo begun; while :; do sleep 0.05; done'
on_tty "Ctrl-a x" 129 raw expect begun send $'\001x' -- "$LKVM" exec peer -- sh -c "$loop_there"
t_ok "the command has SIGHUP" until_true test -e left
on_tty "no terminal for the command" 3 cooked expect none send $'line\r' expect '<line>' send $'\004' expect end -- \
	"$LKVM" exec -T peer -- sh -c 'echo "${TTY-none}"; while read -r x; do echo "<$x>"; done; echo end; exit 3'
on_tty "standard input is a terminal" 0 send $'word\r' expect 'got word' send $'\004' -- \
	sh -c '"$0" exec peer -- cat | sed "s/^/got /"' "$LKVM"
on_tty "much output" 0 expect 'last line' -- "$LKVM" exec peer -- sh -c 'seq 100000; echo last line'

# ---- the guest's end ----

loop TERM
kill $peer
wait $pid
t_is "the guest ends first" $? 1
t_fails 1 "guest 'peer' has died; its control socket was removed" "$LKVM" exec peer -- true

# ---- a guest of another version ----

"$EXEC_PEER" other old &
peer=$!
t_ok "the other is there" until_true test -S "$LKVM_DIR/other.sock"
t_fails 125 "guest 'other': process $peer runs another version of lkvm" "$LKVM" console other
for word in "exec other -- true" "stop other" "pause other" "stat other"; do
	# shellcheck disable=SC2086 # several words
	t_fails 1 "guest 'other': process $peer runs another version of lkvm" "$LKVM" $word
done
t_run "$LKVM" list
t_status 0
t_stderr_is "lkvm: guest 'other': process $peer runs another version of lkvm"
t_done
