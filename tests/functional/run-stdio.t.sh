#!/usr/bin/env bash
# Standard input and output of every kind: nothing hangs, nothing is lost, nothing is added.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

LINE='hello from the guest'

run_hello()
{
	timeout -s KILL 30 "$LKVM" run -c 1 -m 64 -k "$GUESTS/hello.bin"
}

# The guests here have no header, and that is said on standard error.
without_warning()
{
	sed '/has no known kernel header: taken as a flat binary/d'
}

# ---- standard input ----

t_is 'closed' "$(run_hello <&- 2>&1 | without_warning)" "$LINE"
t_is '/dev/null' "$(run_hello </dev/null 2>&1 | without_warning)" "$LINE"
t_is 'a file' "$(run_hello <"$0" 2>&1 | without_warning)" "$LINE"
t_is 'a pipe that ends' "$(: | run_hello 2>&1 | without_warning)" "$LINE"
mkfifo "$T_TMP/open"
exec 4<>"$T_TMP/open"
t_is 'a pipe that stays open' "$(run_hello <&4 2>&1 | without_warning)" "$LINE"
exec 4<&-
t_is 'HOME unset' "$(unset HOME; run_hello </dev/null 2>&1 | without_warning)" "$LINE"

# ---- input reaches the guest, each byte of it, whatever it comes from ----

text=$(seq 500)q
echo_guest()
{
	timeout -s KILL 60 "$LKVM" run -c 1 -m 64 --debug-exit -k "$GUESTS/echo.bin"
}
t_is 'echo of a pipe' "$(printf %s "$text" | echo_guest)" ">$text"
printf %s "$text" >"$T_TMP/input"
t_is 'echo of a file' "$(echo_guest <"$T_TMP/input")" ">$text"
t_is 'escape keys are for terminals: Ctrl-a from a pipe is input' \
	"$(printf '\001xq' | echo_guest | od -An -c | tr -d ' ')" '>001xq'

# ---- standard output ----

t_run bash -c 'exec "$LKVM" run -c 1 -m 64 -k "$GUESTS/hello.bin" >&-'
t_command='output closed'
t_ok 'output closed: ends' test "$t_rc" -ne 137
t_run bash -c 'exec "$LKVM" run -c 1 -m 64 -k "$GUESTS/hello.bin" >/dev/full'
t_status 125
t_is 'output to a full device: the last line says so' "$(t_stderr | tail -n 1 | cut -d: -f3-)" \
	' its output is incomplete: No space left on device'
# shellcheck disable=SC2016
t_run bash -c 'exec "$LKVM" run -c 1 -m 64 -k "$GUESTS/hello.bin" --result "$0" >/dev/full' "$T_TMP/result"
t_ok 'output to a full device: the result says so' \
	grep -q '"error": "No space left on device"' "$T_TMP/result"
t_run bash -c 'exec "$LKVM" run -c 1 -m 64 -k "$GUESTS/fault.bin" >/dev/full'
t_status 121
# shellcheck disable=SC2016
t_run bash -c 'ulimit -f 1; exec "$LKVM" run -c 1 -m 64 --timeout 20 -k "$GUESTS/flood.bin" >"$0"' "$T_TMP/small"
t_command='output beyond ulimit -f'
t_stderr_like '^lkvm: write to standard output: File too large'
t_status 124
run_hello >"$T_TMP/file" </dev/null
t_is 'a file' "$(cat "$T_TMP/file")" "$LINE"
t_run bash -c '"$LKVM" run -c 1 -m 64 --timeout 5 -k "$GUESTS/flood.bin" | head -c 5000 | wc -c;
	exit ${PIPESTATUS[0]}'
t_is 'a reader that leaves: got what it wanted' "$(t_stdout)" 5000
t_ok 'a reader that leaves: ends' test "$t_rc" -ne 137

# ---- --log: a copy ----

with_log=("$LKVM" run -c 1 -m 64 -k "$GUESTS/hello.bin" --log)
echo 'an older one, which is longer than the new one' >"$T_TMP/log"
"${with_log[@]}" "$T_TMP/log" </dev/null >"$T_TMP/out"
t_ok 'the copy is the same, byte by byte' cmp "$T_TMP/log" "$T_TMP/out"
t_is 'the copy is whole' "$(cat "$T_TMP/log")" "$LINE"
"${with_log[@]}" "$T_TMP/log" </dev/null | :
t_is 'it does not depend on who reads the console' "$(cat "$T_TMP/log")" "$LINE"
t_run "${with_log[@]}" /dev/full
t_command='--log /dev/full'
t_status 125
t_stdout_is "$LINE"
t_stderr_like "^lkvm: write '/dev/full': No space left on device"
t_run "${with_log[@]}" "$T_TMP/no/such/folder"
t_command='--log to nowhere'
t_status 125
t_stderr_is "lkvm: create '$T_TMP/no/such/folder': No such file or directory"
t_run "$LKVM" run -c 1 -m 64 -k "$GUESTS/hello.bin" --verbose
t_status 0
t_stdout_is "$LINE"
t_stderr_like '^  0x03f8-0x03ff  serial, GSI 4$'

# A reader that stops reading: the pipe is full, the guest waits, and stop still works at once.
g_start flood.bin
dd if=/dev/zero of="$T_TMP/fifo" oflag=nonblock bs=4096 count=64 2>/dev/null
t_ok 'a reader that sleeps: stat' "$LKVM" stat test
t_ok 'a reader that sleeps: stop' timeout 20 "$LKVM" stop test
g_wait
t_status 0
g_no_leftovers 'at the end'
t_done
