#!/usr/bin/env bash
# Every way in which a guest ends, and what lkvm makes of it.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

# last_line REGEX: of standard error
last_line()
{
	t_like "$t_command: the last line is the reason" "$(t_stderr | tail -n 1)" "$1"
}

# ---- the guest ends by itself ----

for program in reset reset-acpi poweroff; do
	g_run "$program.bin"
	t_status 0
	t_stdout_is ''
	t_stderr_is ''
done
g_run hello.bin
t_status 0
t_stdout_is 'hello from the guest'
t_stderr_is ''
g_run pvpanic.bin
t_status 120
t_stderr_like '^lkvm: .*panic'

# ---- debug exit: status (V << 1) | 1, for every width and at every port asked for ----

# flat NAME BYTE...: a program of these bytes, in hexadecimal
flat()
{
	local name=$1 IFS=
	shift
	printf '%b' "${*/#/\\x}" >"$T_TMP/$name"
}

# run_flat NAME [OPTION]...
run_flat()
{
	local name=$1
	shift
	t_run "$LKVM" run -c 1 -m 64 -k "$T_TMP/$name" "$@"
	t_command="run $name${*:+ $*}"
}

for v in 0 1 42 63 127; do
	flat "exit-$v" b0 "$(printf %02x $v)" e6 f4 f4 # mov $v, %al; out %al, $0xf4; hlt
	run_flat "exit-$v" --debug-exit
	t_status $((v << 1 | 1))
	t_stderr_is "lkvm: warning: kernel '$T_TMP/exit-$v' has no known kernel header: taken as a flat binary"
done
flat word b8 2a 00 e7 f4 f4                # mov $42, %ax; out %ax, $0xf4
run_flat word --debug-exit
t_status 85
flat dword 66 b8 2a 00 00 00 66 e7 f4 f4   # the same with %eax
run_flat dword --debug-exit
t_status 85
flat port ba 01 05 b0 07 ee f4             # at 0x501
run_flat port --debug-exit=0x501
t_status 15
flat unasked b0 07 e6 f4 b0 fe e6 64 f4    # without the option the port is nobody's: reset follows
run_flat unasked
t_status 0

# ---- every way to reset a PC ----

flat port-92 b0 01 e6 92 f4
flat port-cf9 ba f9 0c b0 02 ee b0 06 ee f4
flat i8042-output b0 d1 e6 64 b0 fe e6 60 f4
flat jump-ffff-0 ea 00 00 ff ff
flat jump-f000-fff0 ea f0 ff 00 f0
for way in port-92 port-cf9 i8042-output jump-ffff-0 jump-f000-fff0; do
	run_flat $way --result "$T_TMP/$way.json"
	t_status 0
	t_ok "$way is a reset" grep -q '"reason": "re' "$T_TMP/$way.json"
done
run_flat port-cf9 --virtio-transport mmio # without the PCI host bridge, which has it else
t_status 0
run_flat jump-ffff-0 --no-acpi --reset-status 9
t_status 9

# A sleeping state that the machine does not have, S3 here, is answered at once: WAK_STS.
flat sleep ba 04 06 b8 00 2c ef ba 00 06 ed a9 00 80 74 fa b0 2a e6 f4 f4
run_flat sleep --debug-exit
t_status 85

# ---- what its kernel says last ----

# says NAME TEXT [BYTE]...: a program that prints TEXT (for printf), and then does what the bytes do
says()
{
	local name=$1 text=$2
	shift 2
	printf -v text %b "$text"
	# cs: rep outsb from behind the program to the first serial port
	flat "$name" be "$(printf %02x $((12 + $#)))" 00 b9 "$(printf %02x ${#text})" 00 ba f8 03 f3 2e 6e "$@"
	printf %s "$text" >>"$T_TMP/$name"
}

# taken_as_flat NAME: all that lkvm says of such a program
taken_as_flat()
{
	echo "lkvm: warning: kernel '$T_TMP/$1' has no known kernel header: taken as a flat binary"
}

stop=(fa f4 eb fd)         # cli; 1: hlt; jmp 1b
power_off=(ba 04 06 b8 00 34 ef "${stop[@]}")
reset=(b0 fe e6 64 "${stop[@]}")

says halt '[    1.5] reboot: System halted\r\n' "${stop[@]}"
run_flat halt --result "$T_TMP/halt.json"
t_status 0
t_stderr_like "^lkvm: guest '.*' ended: its kernel has halted"
t_ok 'the result says so' grep -q '"reason": "halt"' "$T_TMP/halt.json"
says power 'reboot: Power down\n' "${stop[@]}"
run_flat power
t_status 0
t_stderr_like "^lkvm: guest '.*' ended: its kernel has halted"
run_flat halt --no-end-on-halt --timeout 3
t_status 124
says down '[    1.5] reboot: Power down\n' "${power_off[@]}"
run_flat down
t_status 0
t_stderr_is "$(taken_as_flat down)"
g_run restart.bin --reset-status 9 # it was announced
t_status 0
t_stderr_is ''
g_run unannounced.bin
t_status 121
t_stderr_like '^lkvm: .*triple fault'
# What --fail-on forbids, but not what its file allows.
warning='WARNING: CPU: 0 PID: 1 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110'
says splat "[    1.5] $warning\\n[    1.6] RIP: 0010:foo+0x1/0x2\\n" "${power_off[@]}"
run_flat splat --fail-on bug,warn --result "$T_TMP/splat.json"
t_status 123
last_line "^lkvm: guest '.*': forbidden kernel message: WARNING: CPU: 0 PID: 1 at lib/refcount\\.c:28 refcount_warn"
t_ok 'the result has it' grep -qF "\"splats\": [\"$warning\"]" "$T_TMP/splat.json"
run_flat splat --fail-on all,-warn
t_status 0
printf '# known\n\n0010:fo+\n' >"$T_TMP/allow"
run_flat splat --fail-on all --allow "$T_TMP/allow"
t_status 0
t_stderr_is "$(taken_as_flat splat)"
says quoted "[    1.5] x\\n> [ 1.5 ] $warning\\n" "${power_off[@]}"
run_flat quoted --fail-on all
t_status 0
# Tests of the kernel; a line without a time is not its own.
k='[    1.5] '
says tests "${k}KTAP version 1\\n${k}1..2\\n$k    # Subtest: s\\n$k    1..2\\nok 9\\n$k    ok 1 a\\n$k    not ok 2 b\\n${k}not ok 1 s\\n${k}ok 2 t # SKIP\\n" \
	"${power_off[@]}"
run_flat tests --ktap
t_status 1
t_stderr_is "$(taken_as_flat tests)
lkvm: ktap: failed: s.b
lkvm: ktap: 1 passed, 1 failed, 1 skipped"
run_flat tests --junit "$T_TMP/junit.xml"
t_status 1
t_ok 'JUnit XML' grep -q '<testcase classname="s" name="b"><failure></failure>' "$T_TMP/junit.xml"
t_ok 'with its totals' grep -q '<testsuites tests="3" failures="1" errors="0" skipped="1">' "$T_TMP/junit.xml"
run_flat tests
t_status 0
run_flat down --ktap
t_status 0
last_line '^lkvm: ktap: no tests were seen$'
# A panic stays one, whatever the crash kernel does.
says crash '[    9.9] Kernel panic - not syncing: x\n[    1.5] reboot: Restarting system\n' "${reset[@]}"
run_flat crash
t_status 120
says dump '[    9.9] Kernel panic - not syncing: x\n[    1.5] reboot: Power down\n' "${power_off[@]}"
run_flat dump
t_status 120
flat pvpanic ba 05 05 b0 02 ee "${power_off[@]}" # PVPANIC_CRASH_LOADED
run_flat pvpanic
t_status 120
says corrupt 'XZ-compressed data is corrupt\n\n -- System halted\n' "${stop[@]}"
run_flat corrupt
t_status 120
t_stderr_like 'panicked: XZ-compressed data is corrupt'

# ---- KVM cannot go on ----

g_run triple-fault.bin
t_status 121
t_stdout_is ''
t_stderr_like '^lkvm: .*triple fault'
t_stderr_like '(RIP|rip)'
last_line "^lkvm: guest '.*' ended: triple fault; it never printed anything: see .lkvm check.$"
# SVM does not tell where a triple fault happened, and KVM resets the CPU then.
if grep -q 'rip    000000000000fff0' "$T_TMP/stderr"; then
	t_stderr_like 'those after the reset'
else
	t_unlike "the registers are those of the fault" "$(t_stderr)" "those after the reset"
fi
g_run fault.bin
t_status 121
t_stderr_like '^lkvm: .*suberror 1'
t_stderr_like 'd8 03' # the instruction's bytes
last_line "^lkvm: guest '.*' ended: KVM internal error, suberror 1 .*: see .lkvm check.$"

# ---- the reason is the last line ----

flat silent fa f4 eb fd # cli; 1: hlt; jmp 1b
run_flat silent --timeout 1s
t_status 124
t_stderr_like '^  rip  '
last_line "^lkvm: guest '.*' ended: --timeout 1s passed; it never printed anything: see .lkvm check.$"
g_run flood.bin --timeout 1s
t_status 124
last_line "^lkvm: guest '.*' ended: --timeout 1s passed$"
g_run flood.bin --timeout 3 --idle-timeout 1
t_status 124
last_line "^lkvm: guest '.*' ended: --timeout 3 passed$"
g_run loop.bin --timeout 30 --idle-timeout 1 --result "$T_TMP/idle.json"
t_status 124
last_line "^lkvm: guest '.*' ended: --idle-timeout 1 passed"
t_ok 'the result says which' grep -q '"limit": "--idle-timeout"' "$T_TMP/idle.json"
g_start halt.bin
t_ok 'stop' "$LKVM" stop test
g_wait
t_status 0
last_line "^lkvm: guest 'test' ended: by .lkvm stop.$"

t_is 'nothing is left behind' "$(ls "$LKVM_DIR" 2>/dev/null)" ''
t_done
