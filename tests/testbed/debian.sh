#!/usr/bin/env bash
# debian.sh [ssh|ovmf]...: a whole Debian 13, that debian-disk.sh has made, as lkvm's guest: on this machine if its KVM can run
# Linux, else in an emulated host whose root is this machine's file tree. TAP; the tests are in debian-job.sh. Its second
# test wants a clock that counts instructions, as ovmf.sh says, so each has a host of its own.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "a whole Debian"

DEBIAN=$(./debian-disk.sh)
export DEBIAN
[ $# -gt 0 ] || set -- ssh ovmf

status=0
for test; do
	options=()
	[ "$test" != ovmf ] || options=(--icount --silence 900)
	./host.sh --auto --tree --memory 4096 --timeout 4000 "${options[@]}" -- "$PWD/debian-job.sh" "$test" || status=$?
done
exit "$status"
