#!/usr/bin/env bash
# numa.sh [TEST...]: nodes of memory and the arrangement of CPUs as Linux sees them, with Debian's kernels; on this machine
# if its KVM can run Linux, else in an emulated host whose root is this machine's file tree. TAP; the tests are in
# numa-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "nodes of memory, arrangement of CPUs"

for kernel in cloud generic; do
	folder=$(./kernels.sh $kernel)
	declare -x "${kernel^^}=$(echo "$folder"/boot/vmlinuz-*)"
done
./host.sh --auto --tree --memory 10240 --timeout "${NUMA_TIMEOUT:-3600}" -- "$PWD/numa-job.sh" "$@"
