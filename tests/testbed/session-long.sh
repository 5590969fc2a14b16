#!/usr/bin/env bash
# session-long.sh [TEST...]: what of `lkvm run -- CMD` takes long to prove, on this machine if its KVM can run
# Linux, else in two emulated hosts whose root is this machine's file tree. It builds a small kernel first, so
# `make check` leaves it out; `make check-session-long` runs it. TAP; the tests are in session-long-job.sh.
# $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "lkvm run -- CMD, long"

folder=$(./kernels.sh cloud)
CLOUD=$(echo "$folder"/boot/vmlinuz-*)
SMALL=$(./small-kernel.sh session)
export CLOUD SMALL

status=0
./host.sh --auto --hosts 2 --tree --memory 3072 --timeout 7200 -- "$PWD/session-long-job.sh" "$@" || status=$?
exit "$status"
