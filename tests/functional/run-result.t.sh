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
result reset.bin 77 reset --reset-status 77
t_stderr_like "^lkvm: guest 'result-test' ended: it reset the machine without an orderly reboot"
result hello.bin 0 poweroff
t_is 'console' "$(field console_tail)" '"hello from the guest\n"'
result msr.bin 1 debug-exit
t_is 'what the guest wrote' "$(field debug_exit)" 0
result pvpanic.bin 120 panic
result fault.bin 121 fault
result triple-fault.bin 121 fault
t_is 'why' "$(field fault)" '"triple fault"'
result loop.bin 124 timeout --timeout 1
# Two clocks of the host: an emulated one corrects one of them while it runs.
t_ok 'a second of it' test "$(field guest_ns)" -ge 990000000
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

# ---- the file ----

t_is 'what was asked for' "$(field ram_bytes) $(field cpus) $(field kernel_release)" '67108864 1 null'
t_is 'the version' "$(field version)" "\"$("$LKVM" version | cut -d' ' -f2-)\""
t_like 'the arguments' "$(field arguments)" '^\["lkvm", "run", "--debug-exit", "-c", "1", '
result no-such-file 125 error
t_is 'the message' "lkvm: $(field error | tr -d '"')" "$(t_stderr)"
t_run "$LKVM" run --nonsense --result "$FILE"
t_status 125
t_is 'a wrong option' "$(field status) $(field error)" \
	"125 \"unknown option '--nonsense' (try 'lkvm run --help')\""
echo old >"$FILE"
t_run "$LKVM" run --nonsense --result "$FILE" --dry-run
t_status 125
t_is 'a dry run leaves it alone, also one that is wrong in front of --dry-run' "$(cat "$FILE")" old
g_start halt.bin --result "$FILE"
t_ok 'none while the guest runs' test ! -e "$FILE"
kill -KILL "$g_pid"
g_wait
t_is 'none after SIGKILL' "$(cd "$T_TMP" && ls ./result*)" ''
rm -f "$LKVM_DIR"/*
g_run hello.bin --result -
t_status 0
t_is 'on standard output, behind the console' "$(t_stdout | head -n 2)" $'hello from the guest\n{'
t_like 'on standard output' "$(t_stdout)" '"reason": "poweroff"'
g_run hello.bin --result /dev/full
t_status 125
t_stderr_like "^lkvm: write '/dev/full': No space left on device"

# A file that cannot be made is an error before the guest starts.
g_run hello.bin --result "$T_TMP/no/such/folder"
t_status 125
t_stdout_is ''
t_stderr_like "^lkvm: create '.*/no/such/folder': No such file or directory"
t_done
