#!/bin/sh
# The part of session.sh in the emulated host. Files are copied to its own disk first, so that what is measured
# is not how this machine's are brought there. Lines on standard output, in milliseconds:
#	session VMM BOOT COMMAND END TOTAL
#	bare TOTAL
set -eu
trap '[ $? -eq 0 ] || cat "$work/log"' EXIT
work=/tmp/bench
mkdir -p "$work/boot" "$work/lib"
cp "$CLOUD" "$work/boot/"
cp -r "$(dirname "$CLOUD")/../lib/modules" "$work/lib/"
cp "$INITRD" "$work/initrd"
kernel=$work/boot/$(basename "$CLOUD")

# value KEY: of the result
value()
{
	sed -n "s/^  \"$1\": \([0-9]*\),*\$/\1/p" "$work/result"
}

# The first of each brings files and programs into the page cache.
for _ in 1 2; do
	"$LKVM" run -c 1 -m 256 -k "$kernel" --result "$work/result" -- true </dev/null >"$work/log" 2>&1
	session="$(value setup_ns) $(value boot_ns) $(value command_ns) $(value total_ns)"
	"$LKVM" run -c 1 -m 256 -k "$kernel" -i "$work/initrd" -p lkvm.test=poweroff --result "$work/result" \
		</dev/null >"$work/log" 2>&1
done
echo "$session" | awk '{ printf "session %.0f %.0f %.0f %.0f %.0f\n", $1 / 1e6, $2 / 1e6, $3 / 1e6, ($4 - $1 - $2 - $3) / 1e6, $4 / 1e6 }'
value total_ns | awk '{ printf "bare %.0f\n", $1 / 1e6 }'
