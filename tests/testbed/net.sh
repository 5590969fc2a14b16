#!/usr/bin/env bash
# net.sh [TEST...]: Linux's network driver on lkvm's device, on this machine if its KVM can run Linux, else in an
# emulated host. TAP; the tests are in net-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux's network driver"

folder=$(./kernels.sh cloud)
./initrd.sh guest "$work/initrd"
./initrd.sh modules "$work/modules" "$folder" virtio_pci virtio_mmio virtio_net 8021q
./initrd.sh programs "$work/programs" ethtool

./host.sh --auto --memory 3072 --timeout 900 --module tun --module vhost_net --program ethtool \
	--file "$(echo "$folder"/boot/vmlinuz-*)=kernel" --file "$work/modules" --file "$work/programs" \
	--file "$work/initrd" --file job.sh net-job.sh "$@"
