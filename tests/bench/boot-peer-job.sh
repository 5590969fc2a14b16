#!/bin/busybox sh
# shellcheck shell=dash
# boot-peer-job.sh ROUNDS: inside the emulated host: boots of the same kernel and initrd by lkvm and
# by QEMU's microvm in turn, from start to power-off. One line each on standard output:
#	NAME wall-median-us wall-min-us cpu-median-us maxrss-KiB status output-bytes
words="lkvm.test=poweroff"
lkvm="lkvm run -c 1 -m 256 -i initrd -p $words"
echo "#!/bin/sh
exec qemu-system-x86_64 -L . -M microvm -accel kvm -cpu host,-arch-capabilities -m 256 -nodefaults -no-user-config \
-display none -no-reboot -serial stdio -initrd initrd -append 'console=ttyS0 earlyprintk=ttyS0 panic=-1 cryptomgr.notests $words' -kernel \"\$1\"" >qemu
chmod +x qemu
for kernel in bzImage vmlinux; do
	./measure "$1" "$lkvm -k $kernel" "./qemu $kernel" >figures || exit
	sed "1s/^/$kernel,lkvm /; 2s/^/$kernel,microvm /" figures
done
