#!/usr/bin/env bash
# vsock.sh [TEST...]: `lkvm run --vsock` and `lkvm vsock` with Linux guests, on this machine if its KVM can run Linux,
# else in two emulated hosts whose root is this machine's file tree. TAP; the tests are in vsock-job.sh. $LKVM is the
# lkvm to test, VSOCK_MIB how much goes each way (8), VSOCK_CONNS how many connections there are (300; at once 100).
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}" VSOCK_MIB=${VSOCK_MIB:-8} VSOCK_CONNS=${VSOCK_CONNS:-300}

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "lkvm run --vsock"

for kernel in cloud backport; do
	folder=$(./kernels.sh $kernel)
	declare -x "${kernel^^}=$(echo "$folder"/boot/vmlinuz-*)"
done

status=0
./host.sh --auto --hosts 2 --tree --memory 3072 --timeout "${VSOCK_TIMEOUT:-900}" -- "$PWD/vsock-job.sh" "$@" || status=$?
exit "$status"
