#!/bin/sh
# The part of session.sh in the emulated host. Files are copied to its own disk first, so that what is measured
# is not how this machine's are brought there. Lines on standard output, in milliseconds:
#	session VMM BOOT COMMAND END TOTAL	a cold start
#	warm VMM BOOT COMMAND END TOTAL
#	bare TOTAL
set -eu
trap '[ $? -eq 0 ] || cat "$work/log"' EXIT
work=/tmp/bench
mkdir -p "$work/boot" "$work/lib"
cp "$CLOUD" "$work/boot/"
cp -r "$(dirname "$CLOUD")/../lib/modules" "$work/lib/"
cp "$INITRD" "$work/initrd"
kernel=$work/boot/$(basename "$CLOUD")
export XDG_CACHE_HOME="$work/cache"

# value KEY: of the result
value()
{
	sed -n "s/^  \"$1\": \([0-9]*\),*\$/\1/p" "$work/result"
}

# a_command WARM: a line of figures
a_command()
{
	"$LKVM" run -c 1 -m 256 --warm="$1" -k "$kernel" --result "$work/result" -- true </dev/null >"$work/log" 2>&1
	echo "$(value setup_ns) $(value boot_ns) $(value command_ns) $(value total_ns)"
}

# The first of each brings files and programs into the page cache; of the warm ones it is cold, and saves.
for _ in 1 2; do
	session=$(a_command off)
	warm=$(a_command on)
	"$LKVM" run -c 1 -m 256 -k "$kernel" -i "$work/initrd" -p lkvm.test=poweroff --result "$work/result" \
		</dev/null >"$work/log" 2>&1
done
printf 'session %s\nwarm %s\n' "$session" "$warm" |
	awk '{ printf "%s %.0f %.0f %.0f %.0f %.0f\n", $1, $2 / 1e6, $3 / 1e6, $4 / 1e6, ($5 - $2 - $3 - $4) / 1e6, $5 / 1e6 }'
value total_ns | awk '{ printf "bare %.0f\n", $1 / 1e6 }'
