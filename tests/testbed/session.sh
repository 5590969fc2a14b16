#!/usr/bin/env bash
# session.sh [TEST...]: `lkvm run -- CMD` with Debian's kernels, on this machine if its KVM can run Linux, else
# in two emulated hosts whose root is this machine's file tree. TAP; the tests are in session-job.sh. $LKVM
# is the lkvm to test, $FS_DAX the program fs-dax.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}" PTY="${PTY:-$PWD/../../build/tests/functional/pty}"
export FS_DAX="${FS_DAX:-$PWD/../../build/tests/testbed/fs-dax}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "lkvm run -- CMD"

for kernel in cloud generic rt backport; do
	folder=$(./kernels.sh $kernel)
	declare -x "${kernel^^}=$(echo "$folder"/boot/vmlinuz-*)"
done

status=0
./host.sh --auto --hosts "${HOSTS:-2}" --tree --memory 3072 --timeout 3500 -- "$PWD/session-job.sh" "$@" || status=$?
exit "$status"
