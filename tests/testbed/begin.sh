# shellcheck shell=bash
# begin.sh TITLE: what the test programs here (linux.sh and others) begin with. They read this file, in
# this folder. $work is a folder that goes away with them; where no kernel can be had, TITLE is skipped.

# shellcheck source=tests/apt.sh
. ../apt.sh
if ! apt_usable && [ -z "${LKVM_CACHE-}" ]; then
	echo "1..1"
	echo "ok 1 - $1 # SKIP no apt-get to fetch Debian kernels with, and no \$LKVM_CACHE"
	exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
