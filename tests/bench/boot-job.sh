#!/bin/busybox sh
# shellcheck shell=dash
# The Linux part of the benchmark, inside the emulated host: boots each kernel with lkvm, from start
# to power-off, and says where the time goes. One line a run on standard output:
#	NAME vmm decompress kernel user shutdown total	(milliseconds)
#
# The guest is not touched for this. stamp notes when each console line came; a line's own printk
# time tells when the kernel's clock had been 0, which is when it started; --result has the time from
# lkvm's start to the first instruction of the guest.

# boot LKVM NAME LKVM-RUN-OPTION...
boot() {
	local lkvm=$1 name=$2
	shift 2
	./stamp "$lkvm" run -c 1 -m 256 -i initrd -p lkvm.test=poweroff --result result.json "$@" \
		</dev/null >stamps 2>errors
	if ! tail -n 1 stamps | grep -q ' exit 0$'; then
		echo "boot of $name failed:" >&2
		tail -n 20 stamps errors >&2
		return 1
	fi
	awk -v name="$name" '
		FILENAME == "result.json" { if (/"setup_ns"/) vmm = substr($2, 1, length($2) - 1) / 1e6; next }
		{ sub("\r$", "") }
		/Run \/init as init process/ { at_init = $1 / 1e3; kernel = seconds($0) * 1e3 }
		/^[0-9]+ guest: user space/ { user = $1 / 1e3 }
		/reboot: Power down/ { down = $1 / 1e3 }
		/^[0-9]+ exit / { total = $1 / 1e3 }
		function seconds(line) {
			match(line, /\[ *[0-9]+\.[0-9]+\]/)
			return substr(line, RSTART + 1, RLENGTH - 2) + 0
		}
		END {
			printf "%s %.0f %.0f %.0f %.0f %.0f %.0f\n", name, vmm, at_init - kernel - vmm, kernel,
				down - at_init, total - down, total
		}' result.json stamps
}

for kernel in bzImage vmlinux; do
	boot lkvm warm-up -k $kernel >/dev/null || exit 1 # the file is in the page cache from now on
	boot lkvm $kernel -k $kernel || exit 1
	[ ! -x before ] || boot ./before $kernel,before -k $kernel || exit 1
	[ -x kvmtool ] || continue
	[ $kernel = bzImage ] || continue # it takes no vmlinux
	./stamp ./kvmtool run -c 1 -m 256 -k $kernel -i initrd -p lkvm.test=reboot </dev/null >stamps 2>errors
	awk -v name="$kernel,kvmtool" '
		/^[0-9]+ exit / { printf "%s - - - - - %s\n", name, $3 ? "failed" : sprintf("%.0f", $1 / 1e3) }' stamps
done
