#!/usr/bin/env bash
# vng-job.sh ROUNDS: the part of session.sh that is about virtme-ng, in the emulated host: `lkvm run -- true` and
# `vng -- true` in turn, both in the Debian 13 tree (peers.sh), with the same kernel. Two lines of measure's.
set -eu
work=/tmp/bench
release=${CLOUD##*/vmlinuz-}
mkdir -p "$work" "$PEERS/boot" "$PEERS/lib/modules"
cp "$CLOUD" "$PEERS/boot/"
cp -r "$(dirname "$CLOUD")/../lib/modules/$release" "$PEERS/lib/modules/"
chroot "$PEERS" depmod "$release" # as the kernel's package would have: vng takes the modules of its initramfs from there
cp "$LKVM" "$work/lkvm"
for name in proc dev sys run; do
	mount --rbind "/$name" "$PEERS/$name"
done
mount --rbind /tmp "$PEERS/tmp"

# The emulated CPU has not the register that goes with arch-capabilities (MICROVM_CPU in bench.mk), and the
# self-test of Linux's AES in AVX, which vng's udev loads, dies on it: then vng waits for udev's time limit.
cat >"$work/vng" <<END
#!/bin/sh
export HOME=$work
exec vng --run $release --cpus 1 --memory 256M --qemu-opts='-cpu $MICROVM_CPU,-aes' -- true
END
chmod +x "$work/vng"

# shown COMMAND...: what it says if it fails
shown()
{
	"$@" </dev/null >"$work/out" 2>&1 || {
		echo "vng-job: status $? of: $*"
		tail -n 20 "$work/out"
	}
}

shown chroot "$PEERS" "$work/lkvm" run -c 1 -m 256 -k "/boot/vmlinuz-$release" -- true
shown chroot "$PEERS" "$work/vng"
"$BENCH/measure" "$1" "chroot $PEERS $work/lkvm run -c 1 -m 256 -k /boot/vmlinuz-$release -- true" \
	"chroot $PEERS $work/vng" | sed 's/^/figures /'
