# shellcheck shell=bash
# TAP for programs that look for complaints (lint.sh, build.sh), which read this file.
count=0 bad=0

# report NAME COMPLAINTS: the rule holds if there are no complaints
report()
{
	count=$((count + 1))
	if [ -z "$2" ]; then
		echo "ok $count - $1"
		return
	fi
	bad=$((bad + 1))
	echo "not ok $count - $1"
	printf '%s\n' "$2" | sed '/^$/d; s/^/# /'
}
