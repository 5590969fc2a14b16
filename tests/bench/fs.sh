#!/usr/bin/env bash
# fs.sh: run by bench.sh. Files of the host in a Linux guest: lkvm's virtio-fs, also with DAX, and 9P, beside QEMU with virtiofsd
# and QEMU's own 9P, both Debian 13's (peers.sh), and the emulated host itself. The kernel, init and files of
# all guests are the same. Each has an emulated host of its own with one CPU, whose clock counts instructions:
# so a figure is the work in the guest, the VMM, the server and the host's kernel together, whatever else this
# machine does, and one run of each is enough. LKVM_BENCH_FS="lkvm-fs qemu-fs" measures only these.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}" "${MICROVM_CPU:?}"
here=$(cd "$(dirname "$0")" && pwd)
testbed=$here/../testbed

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$("$testbed/kernels.sh" generic) # the cloud kernel has no 9P
KERNEL=$(echo "$folder"/boot/vmlinuz-*)
INITRD=$BENCH/fs-initrd # the emulated host has a /tmp of its own
export KERNEL INITRD
"$testbed/initrd.sh" guest "$work/guest"
"$testbed/initrd.sh" modules "$work/modules" "$folder" virtio_pci virtiofs 9p 9pnet_virtio
"$testbed/initrd.sh" programs "$work/programs" "$BENCH/files" git
mkdir -p "$work/root/words"
cp "$here/guest-files" "$work/root/words/files"
(cd "$work/root" && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$work/words"
{ gzip -dc "$work/guest" && cat "$work/modules" "$work/programs" "$work/words"; } >"$INITRD"

# repository FOLDER: of git's, 1000 files, none changed. Of what stat() says only their size and time are like
# here when they come out of the image.
repository()
{
	local i j
	mkdir "$1"
	for ((i = 0; i < 50; i++)); do
		mkdir "$1/folder-$i"
		for ((j = 0; j < 20; j++)); do
			echo "$i $j" >"$1/folder-$i/file-$j"
		done
	done
	find "$1" -exec touch -d 2020-01-01 {} +
	git -C "$1" init -q
	git -C "$1" config core.checkStat minimal
	git -C "$1" add .
	git -C "$1" -c user.name=a -c user.email=a commit -qm .
	git -C "$1" repack -adq
}

mkdir "$work/share"
"$BENCH/files" make "$work/share"
repository "$work/share/repository"
/sbin/mke2fs -q -F -t ext4 -O ^has_journal -N 50000 -d "$work/share" "$work/image" 768M

# missing PROGRAM: rows that it was not measured in yet
missing()
{
	local row
	for row in "${rows[@]}"; do
		grep -q "^$1 $row " "$work/lines" || echo "$row"
	done
}

# measure PROGRAM: the emulator's fault with interrupts (host.sh, counting_host) ends a host now and then, one of
# many interrupts sooner: what it has measured counts, and another one measures the rest. Each row of files.c is
# one of its own. A program that does not come to its end so is a failed one in the table.
measure()
{
	local attempt left
	for ((attempt = 1; attempt <= 8; attempt++)); do
		mapfile -t left < <(missing "$1")
		[ ${#left[@]} -gt 0 ] || return 0
		"$testbed/host.sh" --tree --icount --attempts 1 --silence 40 --timeout 900 --image "$work/image" -- \
			"$here/fs-job.sh" "$1" "${left[@]}" >"$work/out" || {
			echo "fs: $1 failed, attempt $attempt:" >&2
			tail -n 8 "$work/out" | sed 's/^/  /' >&2
		}
		tr -d '\r' <"$work/out" | sed -n "s/^guest: files: \([a-z-]* [0-9]*\)\$/$1 \1/p" >>"$work/lines"
	done
	echo "$1 failed" >>"$work/lines"
	failed=1
}

# table FILE: microseconds a file (of git status: all of it; of streams: a MiB), and times of peer / lkvm
table()
{
	awk '
		$2 == "failed" { failed[$1] = 1; next }
		{
			if (!($2 in seen)) { seen[$2] = 1; order[++n_rows] = $2 }
			have[$1] = 1
			ns[$1, $2] = $3
		}
		function us(p, row) { return ((p, row) in ns) ? sprintf("%.1f", ns[p, row] / 1000) : failed[p] ? "failed" : "" }
		function times(a, b, row) { return ((a, row) in ns && (b, row) in ns) ? sprintf("%.2f", ns[a, row] / ns[b, row]) : "" }
		function line(name, h, d, l, p, lp, l9, p9, lp9, b, b9) {
			printf "  %-13s %9s %9s %9s %10s %7s %9s %9s %7s%s\n", name, h, l, d, p, lp, l9, p9, lp9,
				(have["before-fs"] || have["before-9p"] ? sprintf(" %9s %7s", b, b9) : "")
		}
		function aim(name, lkvm, peer,   i, x, least, at) {
			for (i = 1; i <= n_rows; i++) {
				x = times(peer, lkvm, order[i])
				if (i == 1 || x + 0 < least + 0) { least = x; at = order[i] }
			}
			if (least == "")
				printf "  aim: ahead of %s in every row: one of them failed, missed\n", name
			else
				printf "  aim: ahead of %s in every row: at least %s times (%s), %s\n", name, least, at,
					(least + 0 > 1) ? "met" : "missed"
		}
		END {
			line("", "host us", "DAX us", "lkvm us", "virtiofsd", "lkvm x", "9P us", "QEMU 9P", "lkvm x", "before x", "9P x")
			for (i = 1; i <= n_rows; i++) {
				r = order[i]
				line(r, us("host", r), us("lkvm-dax", r), us("lkvm-fs", r), us("qemu-fs", r), times("qemu-fs", "lkvm-fs", r),
					us("lkvm-9p", r), us("qemu-9p", r), times("qemu-9p", "lkvm-9p", r),
					times("before-fs", "lkvm-fs", r), times("before-9p", "lkvm-9p", r))
			}
			aim("virtiofsd", "lkvm-fs", "qemu-fs")
			aim("9P in QEMU", "lkvm-9p", "qemu-9p")
		}' "$1"
}

rows=(stat git-status read-small write-small remove read-stream write-stream) failed=0
: >"$work/lines"
programs=(host lkvm-fs lkvm-dax lkvm-9p)
[ -z "${LKVM_BENCH_BASE:-}" ] || programs+=(before-fs before-9p)
if PEERS=$("$here/peers.sh"); then
	export PEERS
	programs+=(qemu-fs qemu-9p)
else
	echo "  QEMU and virtiofsd failed: Debian 13's packages cannot be had here"
fi
for program in ${LKVM_BENCH_FS:-"${programs[@]}"}; do
	measure "$program"
done
table "$work/lines"
exit "$failed"
