#!/usr/bin/env bash
# net-selftests.sh [TEST...]: the kernel's own tests of networks and of vsocks in a guest with Debian's kernel, on this
# machine if its KVM can run Linux, else in an emulated host whose root is this machine's file tree. They are built first.
# TAP; the tests are in net-selftests-job.sh. $LKVM is the lkvm to test, $VSOCK_PRELOAD vsock-preload.c.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}" VSOCK_PRELOAD="${VSOCK_PRELOAD:-$PWD/../../build/tests/testbed/vsock-preload.so}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "the kernel's own tests of networks"

folder=$(./kernels.sh generic)
GENERIC=$(echo "$folder"/boot/vmlinuz-*)
SELFTESTS=$(./net-selftests-build.sh)
export GENERIC SELFTESTS
./host.sh --auto --tree --memory 3072 --timeout "${SELFTESTS_TIMEOUT:-5000}" --module tun --module veth --module macvlan \
	-- "$PWD/net-selftests-job.sh" "$@"
