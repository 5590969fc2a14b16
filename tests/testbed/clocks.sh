#!/usr/bin/env bash
# clocks.sh: each clock of a guest against the host's for a minute ($CLOCKS_SECONDS), while the host is busy and the
# guest, too; on this machine if it has a /dev/kvm, else in an emulated host. As it takes that long, `make check`
# leaves it out; `make check-clocks-long` runs it. TAP, with a table. $LKVM is the lkvm to test, $GUESTS the folder
# of the guest programs.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}" CLOCKS_SECONDS=${CLOCKS_SECONDS:-60}
export GUESTS="${GUESTS:-$PWD/../../build/tests/guest}"
exec ./tree.sh -- "$PWD/clocks-job.sh"
