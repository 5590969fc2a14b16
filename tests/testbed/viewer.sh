#!/usr/bin/env bash
# viewer.sh [TEST...]: the screen of a Linux guest, as somebody else's viewer shows it under Xvfb: on this machine if its KVM can run
# Linux, else in an emulated host whose root is this machine's file tree. TAP; the tests are in viewer-job.sh. $LKVM is the
# lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "screens"

folder=$(./kernels.sh generic)
GENERIC=$(echo "$folder"/boot/vmlinuz-*)
export GENERIC
./host.sh --auto --tree --memory 4096 --timeout 2400 -- "$PWD/viewer-job.sh" "$@"
