#!/usr/bin/env bash
# session.sh: run by bench.sh. `lkvm run -- true` with Debian's cloud kernel, in an emulated host whose clock
# counts instructions, beside the bare boot and power-off of the same kernel there (as in boot.sh).
#
#	VMM       from exec of lkvm to the guest's first instruction: modules and initramfs too
#	boot      until lkvm's init is up: kernel, modules, the root
#	command   true
#	end       the rest
#
# The same again, warm: it goes on from where an earlier one was up. What is saved lies in memory there.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}"
here=$(cd "$(dirname "$0")" && pwd)
testbed=$here/../testbed

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$("$testbed/kernels.sh" cloud)
export CLOUD
CLOUD=$(echo "$folder"/boot/vmlinuz-*)
export INITRD=$BENCH/session-initrd # the emulated host has a /tmp of its own
"$testbed/initrd.sh" guest "$INITRD"
"$testbed/host.sh" --tree --icount --timeout 600 -- "$here/session-job.sh" >"$work/out" || { cat "$work/out" >&2; exit 1; }
tr -d '\r' <"$work/out" | awk '
	$1 == "session" { session = $6; printf "  %-16s %6s ms %6s ms %6s ms %6s ms %6s ms\n", "lkvm run -- true", $2, $3, $4, $5, $6 }
	$1 == "warm" { warm = $6; printf "  %-16s %6s ms %6s ms %6s ms %6s ms %6s ms\n", "the same, warm", $2, $3, $4, $5, $6 }
	$1 == "bare" { bare = $2; printf "  %-16s %48s ms\n", "bare boot", $2 }
	END {
		if (!session || !warm || !bare)
			exit 1
		printf "  aim: a command at most 1.25 times a bare boot: %.2f, %s\n", session / bare,
			session <= 1.25 * bare ? "met" : "missed"
		printf "  aim: a warm start at most 0.15 of a cold one: %.2f, %s\n", warm / session,
			warm <= 0.15 * session ? "met" : "missed"
	}' || { cat "$work/out" >&2; exit 1; }
