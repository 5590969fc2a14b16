#!/usr/bin/env bash
# More disks than a PCI bus has slots, all of them live at once, and what ends their number.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

for ((i = 0; i < 255; i++)); do
	truncate -s $(((i + 1) * 512)) "$T_TMP/$i"
done

# disks N [OPTION]...: a guest finds N disks, uses them all, and ends well
disks()
{
	local n=$1 i options=()
	shift
	for ((i = 0; i < n; i++)); do
		options+=(-d "$T_TMP/$i,serial=$(printf disk%03d "$i")")
	done
	t_run "$LKVM" run --debug-exit -c 1 -m 128 -k "$GUESTS/disks.mb" -p "disks=$n" "$@" "${options[@]}"
	t_command="$n disks${*:+, $*}"
}

for n in 31 32; do
	disks $n
	t_status 1
	t_stderr_is ''
done
disks 255 --rng=off --no-balloon
t_status 1
t_stderr_is ''
disks 255
t_status 125
t_stderr_is 'lkvm: put rng0 on the PCI bus: No space left on device'

disks 127 --virtio-transport mmio --no-balloon
t_status 1
t_stderr_is ''
disks 128 --virtio-transport mmio
t_status 125
t_stderr_is 'lkvm: put rng0 on the MMIO bus: No space left on device'

# The limit of open files is raised as far as that is allowed.
(
	ulimit -S -n 256
	disks 100
	exit "$t_rc"
)
t_is '100 disks with a soft limit of 256 open files' $? 1
(
	ulimit -n 128
	disks 100
	t_stderr >"$T_TMP/why"
	exit "$t_rc"
)
t_is '100 disks with a hard limit of 128 open files' $? 125
t_like 'what says so' "$(cat "$T_TMP/why")" '^lkvm: [^:]*: Too many open files$'
t_done
