#!/usr/bin/env bash
# The device tree: what --no-acpi gives the guest, and what --dump-dtb writes.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

for cpus in 1 2 8; do
	g_run dtb.bz --no-acpi -c $cpus -p alpha=7 -p cpus=$cpus
	t_status 1
	t_stdout_is ''
done

# Only on request: kernels that know both would find every device twice.
g_run dtb.bz -p alpha=7 -p cpus=1
t_status 3
t_stdout_like '^tests/guest/dtb\.c:[0-9]+: !!\(dtb != 0\) is 0x0, not 0x1$'

# Nor with devices on the command line, whose interrupts do not go with it.
g_run dtb.bz --no-acpi --virtio-transport mmio,cmdline -p alpha=7 -p cpus=1
t_status 3
t_stdout_like '^tests/guest/dtb\.c:[0-9]+: !!\(dtb != 0\) is 0x0, not 0x1$'

dtb=$T_TMP/dtb
dts()
{
	t_run dtc -I dtb -O dts "$dtb"
	t_status 0
	t_stderr_is ''
}

g_run bzimage.bz -i "$T_TMP/missing" --dump-dtb "$dtb"
t_status 125
t_ok "nothing is written for a kernel that is not loaded" test ! -e "$dtb"

g_run dtb.bz --dump-dtb="$dtb" -m 4096 -c 2 --no-acpi -p alpha=7 -p cpus=2
t_status 1
dts
t_stdout_like 'bootargs = ".* alpha=7 cpus=2";'
t_stdout_like 'memory@100000000 \{'
t_stdout_like 'reg = <0x01 0x00 0x00 0x30000000>;'
t_stdout_like 'cpu@1 \{'

rm "$dtb"
g_run hello.bin --dump-dtb="$dtb"
t_status 0
dts
t_stdout_like 'serial@i3f8 \{'

t_fails 125 "write device tree '$T_TMP/none/dtb': No such file or directory" \
	"$LKVM" run -m 64 -k "$GUESTS/hello.bin" --dump-dtb "$T_TMP/none/dtb"
t_done
