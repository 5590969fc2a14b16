#!/usr/bin/env bash
# Every way in which a guest ends, and what lkvm makes of it.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

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
	t_stderr_is ''
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

# ---- KVM cannot go on ----

g_run triple-fault.bin
t_status 121
t_stdout_is ''
t_stderr_like '^lkvm: .*triple fault'
t_stderr_like '(RIP|rip)'
g_run fault.bin
t_status 121
t_stderr_like '^lkvm: .*suberror 1'
t_stderr_like 'd8 03' # the instruction's bytes
t_is 'nothing is left behind' "$(ls "$LKVM_DIR" 2>/dev/null)" ''
t_done
