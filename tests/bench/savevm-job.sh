#!/usr/bin/env bash
# savevm-job.sh ROUNDS: the part of savevm.sh in the emulated host. A line for each that was saved and went on:
#	figures lkvm|savevm|mapped SILENT-ms SAVED-ms GOES-ON-ms
set -eu
work=/tmp/bench
mkdir -p "$work"
cp "$CLOUD" "$work/kernel"
cp "$INITRD" "$work/initrd"
cp "$LKVM" "$work/lkvm"
cp "$BENCH/stamp" "$work/stamp"
export LKVM_DIR=$work/sockets
for name in proc dev sys run tmp; do
	mount --rbind "/$name" "$PEERS/$name"
done
cd "$work"
mkfifo monitor.in monitor.out
exec 7<>monitor.in 8<>monitor.out
tick='guest: tick'

now_ms() { echo $((${EPOCHREALTIME/[^0-9]/} / 1000)); }
ticks() { grep -c "$tick" "$1" || true; }

# until_ticks FILE N: it has so many; it is given a minute
until_ticks()
{
	local i
	for ((i = 0; i < 1200; i++)); do
		[ "$(ticks "$1")" -lt "$2" ] || return 0
		sleep 0.05
	done
	echo "savevm-job: $1 is silent:"
	tail -n 5 "$1" errors
	return 1
}

# qemu OPTION...: into the file "stamps" or "again"
qemu()
{
	# shellcheck disable=SC2086
	exec ./stamp chroot "$PEERS" qemu-system-x86_64 -M q35 -accel kvm -cpu "$MICROVM_CPU" -m 256 -nodefaults \
		-no-user-config -display none -serial stdio -chardev "pipe,id=monitor,path=$work/monitor" \
		-mon chardev=monitor,mode=control -drive "if=virtio,file=$work/disk.qcow2" -kernel "$work/kernel" \
		-initrd "$work/initrd" -append "console=ttyS0 quiet cryptomgr.notests lkvm.test=ticks:64" "$@"
}

# qmp COMMAND [ARGUMENTS]: its reply is $reply
qmp()
{
	printf '{"execute":"%s","arguments":{%s}}\n' "$1" "${2-}" >&7
	while read -r -t 120 reply <&8; do
		[[ $reply != *'"return"'* && $reply != *'"error"'* ]] || break
	done
	[[ $reply == *'"return"'* ]] || {
		echo "savevm-job: $1: $reply"
		return 1
	}
}

boot_lkvm() { exec ./stamp ./lkvm run --name base -c 1 -m 256 -k kernel -i initrd -p "quiet lkvm.test=ticks:64"; }
save_lkvm() { ./lkvm snapshot base saved --force >errors 2>&1; }
again_lkvm() { exec ./stamp ./lkvm run --name base --restore saved; }
end_lkvm() { ./lkvm stop base >errors 2>&1; }

boot_savevm() { qemu; }
save_savevm() { qmp human-monitor-command '"command-line":"savevm one"'; }
again_savevm() { qemu -loadvm one; }
end_savevm() { qmp quit; }

# It ends standing still.
boot_mapped() { qemu -global migration.mapped-ram=on; }
save_mapped()
{
	qmp migrate '"uri":"file:'"$work"'/ram"'
	until qmp query-migrate && [[ $reply == *'"status": "completed"'* ]]; do
		[[ $reply != *'"status": "failed"'* ]] || return 1
		sleep 0.01
	done
	qmp cont
}
again_mapped() { qemu -global migration.mapped-ram=on -incoming "file:$work/ram"; }
end_mapped() { end_savevm; }

# longest FILE FROM: time between two of its lines, but for the first FROM
longest()
{
	grep "$tick" "$1" | awk -v from="$2" '
		NR > from + 1 && $1 - last > most { most = $1 - last }
		{ last = $1 }
		END { printf "%.0f\n", most / 1000 }'
}

# once NAME: it is started, saved, ended, and goes on
once()
{
	local from saved on
	rm -rf saved ram disk.qcow2
	qemu-img create -q -f qcow2 disk.qcow2 1G
	"boot_$1" </dev/null >stamps 2>errors &
	until_ticks stamps 50
	[ "$1" = lkvm ] || qmp qmp_capabilities
	from=$(now_ms)
	"save_$1"
	saved=$(($(now_ms) - from))
	until_ticks stamps $(($(ticks stamps) + 20))
	"end_$1"
	wait
	sync
	"again_$1" </dev/null >again 2>errors &
	until_ticks again 20
	[ "$1" = lkvm ] || qmp qmp_capabilities
	on=$(grep -m 1 "$tick" again | awk '{ printf "%.0f", $1 / 1000 }')
	"end_$1"
	wait
	echo "figures $1 $(longest stamps 30) $saved $on"
}

for ((round = 0; round < $1; round++)); do
	for name in lkvm savevm mapped; do
		(once "$name") || pkill -x qemu-system-x86 || true
	done
done
