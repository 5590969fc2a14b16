#!/usr/bin/env bash
# vmlinux.sh BZIMAGE OUT: take the uncompressed kernel (an ELF file) out of a bzImage.
# The header's payload_offset and payload_length (boot protocol 2.08) say where it is.
set -euo pipefail

# number BYTES OFFSET
number()
{
	od -An -v -t "u$1" -j "$2" -N "$1" "$image" | tr -d ' '
}

image=$1 out=$2
[ "$(od -An -c -j $((0x202)) -N 4 "$image" | tr -d ' ')" = HdrS ] || {
	echo "vmlinux: $image is no bzImage" >&2
	exit 1
}
sectors=$(number 1 $((0x1f1)))
[ "$sectors" -gt 0 ] || sectors=4
offset=$(((sectors + 1) * 512 + $(number 4 $((0x248)))))
length=$(number 4 $((0x24c)))

magic=$(od -An -t x1 -j "$offset" -N 4 "$image" | tr -d ' ')
length=$((length - 4)) # the unpacked size stands behind it
case $magic in
1f8b*) unpack=(gzip -dc) length=$((length + 4)) ;; # gzip's own format ends with it
fd377a58) unpack=(xz -dc) ;;
28b52ffd) unpack=(zstd -qdc) ;;
02214c18) unpack=(lz4 -qdc) ;;
7f454c46) unpack=(cat) ;;
*)
	echo "vmlinux: $image is compressed in an unknown way (starts with $magic)" >&2
	exit 1
	;;
esac
dd if="$image" bs=1M iflag=skip_bytes,count_bytes skip="$offset" count="$length" status=none |
	"${unpack[@]}" >"$out"
