#!/usr/bin/env bash
# screen.sh: a screen of 1024x768 for a VNC viewer, of which all changes with each frame (tests/guest/screen-bench.c), by lkvm
# and by QEMU's microvm, in turn, three rounds each; the best of each. Columns: frames a second, of as many as the guest can
# show; CPU of a frame in ms where there are 20 a second, without vCPUs; how often a second threads are woken when nothing
# changes. LKVM, GUESTS and MICROVM_CPU are set.
set -u
: "${LKVM:?}" "${GUESTS:?}" "${MICROVM_CPU:?}"
here=$(cd "${0%/*}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit
export LKVM_DIR=$work/sockets

# start VMM PARAMS: in the background
start()
{
	rm -f vnc console
	mkfifo console
	case $1 in
	lkvm) exec "$LKVM" run -c 1 -m 64 -k "$GUESTS/screen-bench.pvh" -p "$2" --gpu --vnc "unix:$work/vnc" ;;
	qemu)
		exec qemu-system-x86_64 -M microvm -accel kvm -cpu "$MICROVM_CPU" -m 64 -nodefaults -no-user-config \
			-no-reboot -serial stdio -global virtio-mmio.force-legacy=false -device virtio-gpu-device,xres=1024,yres=768 \
			-vnc "unix:$work/vnc" -kernel "$GUESTS/screen-bench.pvh" -append "$2"
		;;
	esac </dev/null >console 2>errors &
	pid=$!
	grep -qm1 ready console
}

# look VMM PARAMS SECONDS [still]: what the viewer says
look()
{
	start "$1" "$2" && timeout 60 python3 "$here/screen.py" vnc "$pid" "${@:3}" || echo "- -"
	kill "$pid"
	wait "$pid" 2>/dev/null
}

vmms=(lkvm)
command -v qemu-system-x86_64 >/dev/null && vmms+=(qemu)
for _ in 1 2 3; do
	for vmm in "${vmms[@]}"; do
		fast=$(look "$vmm" "rate=0 frames=100000000" 3 2>>log | sed -n '1s/ .*//p')
		{
			read -r _ ms
			read -r wakes
		} < <(look "$vmm" "rate=20 frames=160" 4 still 2>>log)
		echo "$vmm $fast $ms $wakes" >>figures
	done
done
if grep -q ' -' figures; then
	cat log errors >&2
	exit 1
fi
for vmm in "${vmms[@]}"; do
	awk -v vmm="$vmm" '$1 == vmm { if ($2 > fast) fast = $2; if (!ms || $3 < ms) ms = $3; if (!n++ || $4 < wakes) wakes = $4 }
		END { print vmm, fast, ms, wakes }' figures
done
