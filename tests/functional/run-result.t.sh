#!/usr/bin/env bash
# --result FILE: how each kind of run ended, as JSON, and the same as the exit status.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

FILE=$T_TMP/result.json

# field NAME: its value as written
field()
{
	sed -n "s/^  \"$1\": \(.*[^,]\),\{0,1\}$/\1/p" "$FILE"
}

# result PROGRAM STATUS REASON [OPTION]...
result()
{
	local program=$1 status=$2 reason=$3
	shift 3
	rm -f "$FILE"
	g_run "$program" --result "$FILE" --name result-test "$@"
	t_status "$status"
	t_is "$t_command: status and reason" "$(field status) $(field reason)" "$status \"$reason\""
}

result poweroff.bin 0 poweroff
t_is 'name' "$(field name)" '"result-test"'
t_is 'kernel' "$(field kernel)" "\"$GUESTS/poweroff.bin\""
t_is 'no panic' "$(field panic)" null
t_is 'no fault' "$(field fault)" null
t_is 'the times add up' $(($(field setup_ns) + $(field guest_ns))) "$(field total_ns)"
t_ok 'the guest took some time' test "$(field guest_ns)" -gt 0
result reset.bin 0 reset
result hello.bin 0 poweroff
t_is 'console' "$(field console_tail)" '"hello from the guest\u000a"'
result msr.bin 1 debug-exit
t_is 'what the guest wrote' "$(field debug_exit)" 0
result pvpanic.bin 120 panic
result fault.bin 121 fault
result triple-fault.bin 121 fault
t_is 'why' "$(field fault)" '"triple fault"'
result loop.bin 124 timeout --timeout 1
t_ok 'a second of it' test "$(field guest_ns)" -ge 1000000000
result no-such-file 125 error

g_start halt.bin --result "$FILE"
kill -TERM "$g_pid"
g_wait
t_status 143
t_is 'SIGTERM' "$(field status) $(field reason) $(field signal)" '143 "signal" 15'
g_start halt.bin --result "$FILE"
t_ok 'stop' "$LKVM" stop test
g_wait
t_is 'stop' "$(field status) $(field reason)" '0 "stop"'

# A file that cannot be made is an error before the guest starts.
g_run hello.bin --result "$T_TMP/no/such/folder"
t_status 125
t_stdout_is ''
t_stderr_like "^lkvm: create '.*/no/such/folder': No such file or directory"
t_done
