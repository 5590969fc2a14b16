#!/usr/bin/env bash
# user.sh [TEST...]: networks without a privilege (`lkvm run -n`) with Debian's cloud kernel, on this machine if its
# KVM can run Linux, else in an emulated host whose root is this machine's file tree. TAP; the tests are in
# user-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "networks without a privilege"

folder=$(./kernels.sh cloud)
CLOUD=$(echo "$folder"/boot/vmlinuz-*)
export CLOUD
./host.sh --auto --tree --memory "${USER_HOST_MB:-3072}" --timeout 1500 -- "$PWD/user-job.sh" "$@"
