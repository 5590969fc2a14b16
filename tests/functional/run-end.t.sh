#!/usr/bin/env bash
# Nothing keeps lkvm from ending: not a vCPU, a device or the host itself that hangs while the machine
# is taken apart, and not a standard error that nobody reads. INJECT_HANG makes one of these hang.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
: "${INJECT:?is the path of inject.so}"
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0

declare -A program=([KVM_RUN]=loop.bin [getrandom]=virtio-mmio.bin [munmap]=loop.bin)
declare -A named=(
	[KVM_RUN]='vCPU 0 is still in KVM_RUN'
	[getrandom]='rng0 still has requests in flight'
	[munmap]='it hangs in: RAM'
)

# hang_start CALL OPTION...: returns when there is somebody who hangs, or will
hang_start()
{
	local call=$1
	shift
	env --default-signal=INT LD_PRELOAD="$INJECT" INJECT_HANG="$call" "$LKVM" run -c 1 -m 64 \
		--name test --virtio-transport mmio --no-balloon -k "$GUESTS/${program[$call]}" "$@" \
		</dev/null >/dev/null 2>"$T_TMP/stderr" &
	g_pid=$!
	t_command="run ${program[$call]}${*:+ $*}, $call hangs"
	if [ "$call" = munmap ]; then
		t_ok "$t_command: starts" until_true "$LKVM" stat test
	else
		t_ok "$t_command: starts" until_true in_pause
	fi
}

# A thread is in pause(2), which is where INJECT_HANG makes it wait.
in_pause()
{
	grep -q '^34 ' /proc/"$g_pid"/task/*/syscall 2>/dev/null
}

# The machine is ending: its socket says so, or is gone already.
is_ending()
{
	[ ! -e "$LKVM_DIR/test.sock" ] || "$LKVM" list --json 2>/dev/null | grep -q stopping
}

# signal_heard NAME: sent, and taken by lkvm
signal_heard()
{
	kill "-$1" "$g_pid"
	until_true eval "! grep -Eq '^(Sig|Shd)Pnd:.*[1-9a-f]' /proc/$g_pid/status 2>/dev/null"
}

# ends_within SECONDS STATUS NAME
ends_within()
{
	local begin=$SECONDS
	g_wait
	t_is "$t_command: $3: status" "$t_rc" "$2"
	t_ok "$t_command: $3: took $((SECONDS - begin)) s" test $((SECONDS - begin)) -le "$1"
	g_no_leftovers "$t_command: $3"
}

for call in KVM_RUN getrandom munmap; do
	# The deadline.
	hang_start "$call" --stop-timeout 1 --gdb="unix:$T_TMP/gdb"
	t_ok "$t_command: a debugger has a socket" [ -S "$T_TMP/gdb" ]
	t_ok "$t_command: stop" "$LKVM" stop test
	ends_within 15 125 'after its time limit'
	t_like "$t_command: what hangs is named" "$(t_stderr)" "^lkvm: guest 'test' has not ended in time: ${named[$call]}\$"
	t_ok "$t_command: no socket for a debugger is left" [ ! -e "$T_TMP/gdb" ]

	# One signal during the end: a second more. Two: at once.
	hang_start "$call" --stop-timeout 1000
	"$LKVM" stop test >/dev/null &
	t_ok "$t_command: is ending" until_true is_ending
	signal_heard TERM
	ends_within 15 125 'after one late signal'

	hang_start "$call" --stop-timeout 1000
	"$LKVM" stop test >/dev/null &
	t_ok "$t_command: is ending" until_true is_ending
	signal_heard TERM
	kill -INT "$g_pid"
	g_wait
	case $t_rc in
	125 | 130) t_report 0 "$t_command: two late signals" ;; # the second of time may have been faster
	*) t_report 1 "$t_command: two late signals" "status $t_rc" ;;
	esac
	g_no_leftovers "$t_command: two late signals"

	# The first signal is what ends it: the second ends it at once.
	hang_start "$call" --stop-timeout 1000
	signal_heard INT
	t_ok "$t_command: is ending" until_true is_ending
	kill -TERM "$g_pid"
	ends_within 10 143 'two signals'
	wait
done

# ---- standard error is a pipe that nobody reads ----

printf '\xb0\x48\xba\xf8\x03\xee\xe4\x99\xeb\xfc' >"$T_TMP/talk.bin" # 'H' to 0x3f8; in al, 0x99; jmp
mkfifo "$T_TMP/err"
exec 4<>"$T_TMP/err"

# talk OPTION...: a guest at whose every step there is a message, until the pipe is full
talk()
{
	"$LKVM" run -c 1 -m 64 --name test -k "$T_TMP/talk.bin" --debug ioport "$@" \
		</dev/null >/dev/null 2>"$T_TMP/err" &
	g_pid=$!
	t_command="run talk.bin${*:+ $*}, unread standard error"
	t_ok "$t_command: the guest goes on" until_true full
}

full()
{
	"$LKVM" stat --json test 2>/dev/null | jq -es '.[0].vcpus[0].io > 5000' >/dev/null
}

talk
for command in pause resume stat; do
	T_LIMIT=10 t_run "$LKVM" $command test
	t_status 0
done
timeout 10 cat <&4 >"$T_TMP/read" &
reader=$!
t_ok "read again, it says how much was lost" \
	until_true grep -aqE '^lkvm: [0-9]+ messages were lost: standard error was full' "$T_TMP/read"
kill "$reader"
wait "$reader" 2>/dev/null
T_LIMIT=20 t_run "$LKVM" stop test
t_status 0
wait "$g_pid"
t_is "talk.bin: status after stop" $? 0

limit=5
! t_emulated || limit=30
talk --timeout $limit
wait "$g_pid"
t_is "talk.bin: status after --timeout" $? 124

# It is full already: not even what is said before the guest runs may hold anything up.
dd if=/dev/zero of="$T_TMP/err" oflag=nonblock bs=4096 2>/dev/null
timeout -s KILL 20 "$LKVM" run -c 1 -m 64 -k "$T_TMP/talk.bin" --verbose --timeout 1 \
	</dev/null >/dev/null 2>"$T_TMP/err"
t_is "talk.bin: status after --timeout, standard error full from the start" $? 124
g_no_leftovers 'unread standard error'
t_done
