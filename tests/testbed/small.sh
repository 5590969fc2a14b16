#!/usr/bin/env bash
# small.sh [TEST...]: Linux without PCI, or without ACPI, or with a driver for no screen but a plain frame buffer, on this
# machine if its KVM can run Linux, else in two emulated hosts. TAP; the tests are in small-job.sh. It builds those kernels
# first, so `make check` leaves it out; `make check-small` runs it. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "small Linux kernels"

nopci=$(./small-kernel.sh nopci)
noacpi=$(./small-kernel.sh noacpi)
screen=$(./small-kernel.sh screen)
./initrd.sh guest "$work/initrd"
status=0
./host.sh --auto --hosts 2 --memory 2048 --timeout 600 --file "$nopci=nopci" --file "$noacpi=noacpi" --file "$screen=screen" \
	--file "$work/initrd" --file job.sh small-job.sh "$@" || status=$?
exit "$status"
