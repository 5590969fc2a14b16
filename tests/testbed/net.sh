#!/usr/bin/env bash
# net.sh [TEST...]: Linux's network driver on lkvm's device, on this machine if its KVM can run Linux, else in an
# emulated host. TAP; the tests are in net-job.sh. $LKVM is the lkvm to test, $UDP_GSO udp-gso.c. NET_KERNEL=backport: with
# Linux 6.12 in the guests, and in the emulated host.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux's network driver"

kernel=${NET_KERNEL:-cloud} UDP_GSO=${UDP_GSO:-../../build/tests/testbed/udp-gso}
folder=$(./kernels.sh "$kernel")
./initrd.sh guest "$work/initrd"
./initrd.sh modules "$work/modules" "$folder" virtio_pci virtio_mmio virtio_net 8021q
./initrd.sh programs "$work/programs" ethtool "$UDP_GSO"

./host.sh --auto --kernel "$kernel" --memory 3072 --timeout 900 --module tun --module vhost_net --program ethtool --program "$UDP_GSO" \
	--file "$(echo "$folder"/boot/vmlinuz-*)=kernel" --file "$work/modules" --file "$work/programs" \
	--file "$work/initrd" --file job.sh net-job.sh "$@"
