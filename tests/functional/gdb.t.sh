#!/usr/bin/env bash
# `lkvm gdb` and --gdb with a real gdb: breakpoints in software and in debug registers, steps, registers, memory, Ctrl-C,
# two CPUs, real mode, what a client leaves behind. tests/guest/debug.c is the guest.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
command -v gdb >/dev/null || { echo "1..1"; echo "not ok 1 - gdb is not installed"; exit 1; }
cd "$T_TMP" || exit
symbols=$GUESTS/debug.mb.elf
export HOME=$T_TMP # no .gdbinit
seconds=30
t_emulated && seconds=300

# debug COMMAND...: gdb's commands at the guest "test"; what it prints is stdout, without gdb's own welcome
debug()
{
	local words=() command
	for command; do
		words+=(-ex "$command")
	done
	t_run timeout "$seconds" "$LKVM" gdb test --symbols "$symbols" -- -batch -ex "set pagination off" "${words[@]}"
	t_command="gdb: $*"
}

# says REGEX: a line of what it printed
says() { t_like "$t_command: $1" "$(t_stdout)" "$1"; }
says_not() { t_unlike "$t_command: not $1" "$(t_stdout)$(t_stderr)" "$1"; }

start() { g_start debug.mb -p "cpus=$1" -c "$1" "${@:2}"; }
ended_well()
{
	g_wait
	t_is "$1" "$t_rc" 1
}

# held_up PROGRAM OPTION...: the guest has come to its end, at which a debugger is waited for
held_up()
{
	rm -f out err
	"$LKVM" run -c 1 -m 64 --name test -k "$GUESTS/$1" --gdb-on-panic "${@:2}" >out 2>err </dev/null &
	g_pid=$!
	until_true grep -q 'waits for a debugger' err
}

# An end that a debugger wants to see is what it would have been without.
test_ends()
{
	held_up triple-fault.bin
	t_like "it says so" "$(cat err)" "guest 'test' would end, and waits for a debugger: .lkvm gdb test."
	debug 'print 8' c
	says '^\$1 = 8$'
	says 'exited with code 0171'
	g_wait
	t_is "and ends as it would have" "$t_rc" 121
	t_like "for the same reason" "$(cat err)" 'ended: triple fault'
	held_up triple-fault.bin
	"$LKVM" stop test >/dev/null
	g_wait
	t_is "a fault is one, also if the guest is stopped then" "$t_rc" 121
	t_like "for the same reason" "$(cat err)" 'ended: triple fault'
	held_up triple-fault.bin
	debug 'print 9' 'shell '"'$LKVM'"' stop test >/dev/null' 'print 10'
	g_wait
	t_is "and if a debugger looks at it" "$t_rc" 121
	held_up reset.bin --reset-status 9
	debug c
	says 'exited with code 011'
	g_wait
	t_is "the debugger is told lkvm's own status" "$t_rc" 9
}

# QEMU's CPU gives INT3 to the guest itself, and does not load DR7 as it enters it: what is left there.
if t_emulated; then
	start 2
	debug 'info threads' 'stepi' 'stepi' 'stepi' 'set scheduler-locking on' 'stepi 20' 'set scheduler-locking off' \
		'set $st0 = 1.5' 'set var $xmm0.v4_int32[1] = 7' 'set var $r12 = 0x1234' 'maintenance flush register-cache' \
		'print $st0' 'print $xmm0.v4_int32[1]' 'print/x $r12' 'x/2bx beat' 'monitor memmap' 'monitor translate 100020'
	says '^. 1 +Thread 1 .vCPU 0, running'
	says '^\$1 = 1.5$'
	says '^\$2 = 7$'
	says '^\$3 = 0x1234$'
	says '<beat>:	0x48	0x8b'
	t_like "page tables" "$(t_stderr)" 'physical 0000000000100020'
	debug 'set var quit = 1' c
	says 'exited with code 01'
	ended_well "it ends well"
	test_ends
	t_skip "breakpoints and watchpoints" "NOT TESTED: the emulated host's CPU does not stop at them"
	t_done
	exit
fi

# ---- one CPU ----

start 1
debug "break beat" c "print beats" c "print beats" "x/2bx beat" "bt 1" "info threads" "delete" detach
says '^Breakpoint 1, beat '
says '<beat>:	0x48	0x8b' # without the breakpoint instruction
says '#0 +beat '
says 'Thread 1 .vCPU 0, running'
t_is "one more beat each time" "$(t_stdout | sed -n 's/^\$[0-9]* = //p' | xargs | awk '{ print $2 - $1 }')" 1
debug "hbreak touch" c 'print value' c 'print value' "delete" "print traps"
says 'Breakpoint 1, touch '
says '^\$3 = 0$'
t_is "one more each time" "$(t_stdout | sed -n 's/^\$[12] = //p' | xargs | awk '{ print $2 - $1 }')" 1
debug "hbreak many_steps" c "delete" "stepi 10000" 'print $ecx' 'stepi' 'stepi' 'stepi' 'print $ecx'
says '^\$1 = 1$' # 10,000 instructions: one to begin with, then 3333 rounds of three
says '^\$2 = 0$'
debug "hbreak touch" c delete finish "hbreak many_steps" c delete next "bt 1" 'print $_exitcode'
says '^guest_main '
says '#0 +guest_main '
debug 'set var text[0] = 0x58' 'x/s &text' \
	'print/x *(unsigned char (*)[4]) beat' 'print *(int *)0xd0000000'
says '"X123456789abcde"'
t_like "the gap has no memory" "$(t_stderr)" 'Cannot access memory at address 0xd0000000'
debug 'maintenance packet Qqemu.PhyMemMode:1' 'maintenance packet qqemu.PhyMemMode' 'x/1bx 0x100020' \
	'maintenance packet mffffffffff000,8' 'info mem' 'monitor help' 'monitor memmap' 'monitor translate 100020' \
	'monitor clock' 'monitor nosuch' 'monitor translate q'
says 'received: "1"'
says 'received: "E0e"'
says '0x8000000000000000 0x10000000000000000 rw|0x8000000000000000 .* rw'
t_like "help" "$(t_stderr)" '^sysrq +CHAR'
t_like "memory" "$(t_stderr)" '^gap, without RAM'
t_like "page tables" "$(t_stderr)" 'physical 0000000000100020'
t_like "clocks" "$(t_stderr)" 'kvm-clock|TSC'
t_like "what is unknown" "$(t_stderr)" "unknown command 'nosuch'"
t_like "what is wrong" "$(t_stderr)" "'q' is not a hexadecimal address"

# Each register is written, and read back by the next client. Those that make the CPU what it is keep their values.
names=(rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15)

for name in "${names[@]}"; do
	debug "print/x \$$name" "set var \$$name = 0x123456789abcdef0" 'maintenance flush register-cache' "print/x \$$name" \
		"set var \$$name = \$1" 'maintenance flush register-cache' "print \$$name == \$1"
	says '^\$2 = 0x123456789abcdef0$'
	says '^\$3 = 1$'
done
debug 'set $st0 = 1.5' 'set $st7 = -3' 'set $fctrl = 0x27f' 'set var $xmm0.v4_int32[1] = 7' 'set var $xmm15.v2_int64[1] = 9' \
	'set $mxcsr = 0x1fa0' 'set $fs_base = 0x1234' 'set $gs_base = 0x5678' 'set $k_gs_base = 0x9abc' 'set $dr0 = 0x1000' \
	'set $cr2 = 0x4000' 'set $es = 0x10' 'set $eflags = 0x46' 'maintenance flush register-cache' 'print $eflags'
says '^\$1 = \[ PF ZF \]$'
says_not 'E[0-9][0-9]|rror'
debug 'print $st0' 'print $st7' 'print/x $fctrl' 'print $xmm0.v4_int32[1]' 'print $xmm15.v2_int64[1]' 'print/x $mxcsr' \
	'print/x $fs_base' 'print/x $gs_base' 'print/x $k_gs_base' 'print/x $dr0' 'print/x $cr2' 'print $es' \
	'print/x $cr0 & 0x80000001' 'print/x $efer & 0x500' 'print $cr3 != 0' 'print $ftag >= 0'
t_is "they are there" "$(t_stdout | sed -n 's/^\$[0-9]* = //p' | xargs -d '\n')" \
	"1.5 -3 0x27f 7 9 0x1fa0 0x1234 0x5678 0x9abc 0x1000 0x4000 16 0x80000001 0x500 1 1"
debug 'set $cr4 = 0xffffffffffffffff' 'print 5'
says '^\$1 = 5$'
t_like "what no CPU takes is refused" "$(t_stderr)" 'Could not write register "cr4"'

# A client that disappears leaves nothing behind; one at a time; a guest that stands still is seen to.
mkfifo gdb.in
"$LKVM" gdb --stdio test <gdb.in >gdb.out &
client=$!
exec 5>gdb.in
printf '+$Z0,100020,1#36$c#63' >&5
until_true grep -q OK gdb.out
"$LKVM" gdb --stdio test < <(:) 2>second.err | cat >/dev/null
t_is "a second one is told" "$(cat second.err)" "lkvm: guest 'test': another debugger is connected"
until_true grep -q 'swbreak:;' gdb.out
t_like "it stops there" "$(tr -d '\0' <gdb.out)" 'T05thread:1;swbreak:;'
kill -KILL $client
exec 5>&-
wait $client 2>/dev/null
until_true eval '"$LKVM" gdb --stdio test </dev/null 2>&1 | cat >/dev/null; sleep 0.1; ! "$LKVM" gdb --stdio test < <(:) 2>&1 | grep -q another'
debug 'print beats' 'x/1bx beat'
says '<beat>:	0x48'
before=$(t_stdout | sed -n 's/^\$1 = //p')
debug 'print beats'
t_ok "the guest has run on" [ "$(t_stdout | sed -n 's/^\$1 = //p')" -gt "$before" ]

# Garbage is answered or left alone, and ends nothing.
head -c 300000 /dev/urandom >garbage
"$LKVM" gdb --stdio test <garbage 2>/dev/null | cat >/dev/null
printf '$m0,ffffffffffffffff#00$X0,10:#00$G#00$vCont;r#00\3\3\3-----+++$Hg#00$qRcmd,#00' | "$LKVM" gdb --stdio test | cat >/dev/null
debug 'print 1 + 1' 'set var quit = 1' c
says '^\$1 = 2$'
says 'exited with code 01'
ended_well "after all of that it ends well"

# ---- pause, wait, kill ----

start 1
t_run "$LKVM" pause test
debug 'print 1 + 2' 'c'
says '^\$1 = 3$'
t_like "what is paused by others stays so" "$(t_stderr)$(t_stdout)" 'E10'
t_run "$LKVM" resume test
t_status 0
debug 'interrupt' 'kill'
g_wait
t_is "killed" "$t_rc" 0

rm -f out err
"$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/debug.mb" -p cpus=1 --gdb-wait >out 2>err </dev/null &
g_pid=$!
until_true "$LKVM" stat test >/dev/null 2>&1
sleep 0.2 # in which it would
t_is "it does not run before" "$(cat out)" ''
debug 'print/x $rip' 'print $cr0 & 1' 'hbreak guest_main' 'c' 'delete' 'print beats'
says '^\$2 = 1$'
says 'Breakpoint 1, guest_main '
says '^\$3 = 0$'
debug 'set var quit = 1' c
exec 3</dev/null
ended_well "then it runs"
t_is "to its end" "$(tr -d '\r' <out)" ready

# ---- a guest that is saved while its memory has a breakpoint ----

start 1
debug 'set breakpoint always-inserted on' 'break beat' 'monitor snapshot saved' 'monitor snapshot nowhere/saved' \
	'monitor snapshot' 'monitor dmesg' c 'print 1 + 5'
t_like "it is saved" "$(t_stderr)" '^saved, [0-9]+ MB'
t_like "or not" "$(t_stderr)" '^it was not saved: No such file or directory'
t_like "it wants a name" "$(t_stderr)" 'which folder is it to be'
t_like "no Linux, no log" "$(t_stderr)" "^no kernel's log is found: No such file or directory"
says 'Breakpoint 1, beat'
debug 'set var quit = 1' c
ended_well "the guest that was saved ends well"
"$LKVM" run --name test --restore saved >out 2>err </dev/null &
g_pid=$!
until_true "$LKVM" stat test >/dev/null 2>&1
debug 'x/2bx beat' 'print beats > 0' 'set var quit = 1' c
says '<beat>:	0x48	0x8b'
exec 3</dev/null
ended_well "and so does the one that goes on"

start 1
debug 'set breakpoint always-inserted on' 'break beat' "shell '$LKVM' dump test dumped" 'set var quit = 1' 'delete' c
ended_well "a guest that was dumped meanwhile ends well"
offset=$(($(readelf -lW dumped | awk '$1 == "LOAD" && $4 ~ /^0x0+$/ { print $2 }')))
t_is "no breakpoint is in the dump" "$(od -An -tx1 -N2 -j $((offset + 0x100020)) dumped)" ' 48 8b'

# ---- an address of its own ----

rm -f out err
"$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/debug.mb" -p cpus=1 --gdb=unix:here >out 2>err </dev/null &
g_pid=$!
until_true grep -q ready out
t_like "it is told where" "$(cat err)" "^lkvm: gdb: listening on 'here'"
t_is "only for its owner" "$(stat -c %a here)" 600
t_run timeout "$seconds" gdb -q -batch "$symbols" -ex 'target remote here' -ex 'print 1 + 3' -ex 'hbreak beat' -ex c -ex detach
t_command='gdb by a socket'
says '^\$1 = 4$'
says 'Breakpoint 1, beat'
t_run "$LKVM" run -k "$GUESTS/debug.mb" -c 1 -m 64 --gdb=unix:here
t_status 125
t_stderr_like "gdb: cannot listen on 'here': Address already in use"
"$LKVM" stop test >/dev/null
g_wait
t_ok "the socket is gone" [ ! -e here ]
rm -f out err
"$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/debug.mb" -p cpus=1 --gdb=tcp::0 >out 2>err </dev/null &
g_pid=$!
until_true grep -q ready out
port=$(sed -n 's/^lkvm: gdb: listening on 127.0.0.1://p' err)
t_run timeout "$seconds" gdb -q -batch "$symbols" -ex "target remote :$port" -ex 'print 2 + 3' -ex 'set var quit = 1' -ex c
t_command='gdb by TCP'
says '^\$1 = 5$'
exec 3</dev/null
ended_well "TCP: it ends well"
for bad in tcp:1 tcp:x:y tcp:1.2.3:4 unix: nothing tcp::70000 'tcp:[::1:5'; do
	t_run "$LKVM" run -k "$GUESTS/debug.mb" --gdb="$bad"
	t_status 125
	t_stderr_like "--gdb '.*': must be unix:PATH or tcp:"
done

# ---- two CPUs ----

start 2
debug 'info threads' 'thread 2' 'bt 1' 'print others' 'stepi 30' 'print others' 'thread 1' 'hbreak beat' c 'info threads' \
	'delete' 'set scheduler-locking on' 'print others' 'stepi 50' 'print others' 'set scheduler-locking off'
says '^. 1 +Thread 1 .vCPU 0, running'
says '^. 2 +Thread 2 .vCPU 1, running'
says '#0 .*ap_main '
counts=$(t_stdout | sed -n 's/^\$[0-9]* = //p' | xargs)
t_ok "thread 2 moves by its steps: $counts" awk "BEGIN { split(\"$counts\", c); exit !(c[2] > c[1] && c[3] >= c[2] && c[4] == c[3]) }"
# Ctrl-C, in a loop that never leaves the guest
(sleep 2; pkill -INT -f 'gdb -q .*debug.mb.elf -ex target remote') &
debug c 'print $_siginfo' 'print 7'
says 'Program received signal SIGINT|received signal SIGINT'
says '= 7$'
debug 'set var quit = 1' c
says 'exited with code 01'
ended_well "two CPUs: it ends well"

# ---- what a kernel says ----

mkfifo said
"$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/echo.bin" <said >out 2>err &
g_pid=$!
exec 4>said
until_true grep -q '>' out
debug "shell printf 'all is well\\nkernel BUG at here.c:1!\\nOops: 0002\\n' >said" c 'print 1 + 8' 'detach'
says 'received signal SIGABRT'
says '= 9$'
exec 4>&-
"$LKVM" stop test >/dev/null
exec 3</dev/null
g_wait

# ---- real mode; an end that a debugger wants to see ----

test_ends

g_start loop.bin
debug 'print/x $cs' 'print $cr0 & 1' 'stepi' 'stepi' 'print/x $cs == 0x1000' 'detach'
says '^\$1 = 0x1000$'
says '^\$2 = 0$'
says '^\$3 = 0x1$'
"$LKVM" stop test >/dev/null
g_wait

rm -f panic.out
held_up pvpanic.bin
# shellcheck disable=SC2094 # what is read is waited for
(printf '+$?#3f'; until_true grep -q T06 panic.out) | "$LKVM" gdb --stdio test 2>/dev/null | cat >panic.out
t_like "a panic is told as SIGABRT" "$(tr -d '\0' <panic.out)" 'T06thread:1;'
g_wait
t_is "a guest that has panicked, and is left, ends as it would have" "$t_rc" 120
held_up pvpanic.bin
"$LKVM" stop test >/dev/null
g_wait
t_is "and one that is stopped, too" "$t_rc" 120
echo precious >victim
t_run "$LKVM" run -k "$GUESTS/debug.mb" -c 1 -m 64 --gdb=unix:victim
t_status 125
t_is "a file that is no socket stays" "$(cat victim)" precious
g_no_leftovers "gdb"
t_done
