#!/usr/bin/env bash
# A guest that remembers all it did (tests/guest/witness.c) is saved at random moments while it is at it: each
# snapshot goes on, and finds nothing wrong. $SNAPSHOT_MOMENTS is how many for each kind of rings and transport;
# `make check-snapshot-long` makes a thousand.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"
moments=${SNAPSHOT_MOMENTS:-3}

# Software that virtualizes has no x87, and not all of SSE.
fpu=fpu
truncate -s 1M disk0
begin witness.mb -d disk0 -p "disks=1 fpu"
if heard '^ready$' && printf a >&4 && heard '^[0-9]+$'; then
	finish 1 "the guest has x87 and SSE registers"
else
	fpu=
	kill -KILL "$g_pid" 2>/dev/null
	g_wait
	exec 4>&-
	t_skip "x87 and SSE registers" "NOT TESTED: the KVM here cannot run such instructions"
fi

# moments NAME PARAMETERS OPTION...
moments()
{
	local name=$1 params=$2 i good=0
	shift 2
	begin witness.mb -p "$params $fpu" "$@"
	t_ok "$name: the guest starts" heard '^ready$'
	for ((i = 1; i <= moments; i++)); do
		sleep "0.$(printf %03d $((RANDOM % 300)))" # that is what a moment is
		t_run "$LKVM" snapshot test moment --force
		[ "$t_rc" -eq 0 ] || t_status 0
		restore moment aq
		if [ "$t_rc" -eq 1 ] && grep -Eq '^[0-9]+.?$' "$T_TMP/stdout"; then
			good=$((good + 1))
		else
			t_report 1 "$name: moment $i" "status $t_rc: $(t_stdout) $(t_stderr)"
			cp -r moment "bad-$i"
		fi
	done
	t_is "$name: of $moments moments" "$good" "$moments"
	finish 1 "$name: the guest itself finds nothing wrong"
	rm -rf moment
}

truncate -s 1M disk1 disk2 disk3
moments "split rings, PCI" disks=2 -d disk0 -d disk1,queues=2
moments "packed rings, PCI" "disks=1 packed" -d disk2,packed
moments "split rings, MMIO" disks=2 --virtio-transport mmio -d disk0 -d disk1
moments "packed rings, MMIO" "disks=1 packed" --virtio-transport mmio -d disk3,packed
t_done
