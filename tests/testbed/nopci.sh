#!/usr/bin/env bash
# nopci.sh [TEST...]: a Linux without PCI, on this machine if its KVM can run Linux, else in two emulated
# hosts. TAP; the tests are in nopci-job.sh. It builds that kernel first, so `make check` leaves it out;
# `make check-nopci` runs it. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux without PCI"

kernel=$(./nopci-kernel.sh)
./initrd.sh guest "$work/initrd"
status=0
./host.sh --auto --hosts 2 --memory 2048 --timeout 600 --file "$kernel=kernel" --file "$work/initrd" \
	--file job.sh nopci-job.sh "$@" || status=$?
exit "$status"
