#!/usr/bin/env bash
# The build itself, as a TAP program: what it says where something is missing, that `make -s` is silent,
# and that two builds of one tree in two folders are equal. Runs at the top of the source tree.
set -u
cd "${0%/*}/.." || exit
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# The outer make's settings (SAN, CFLAGS, ...) and its job server are not for these.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL
# shellcheck source=tests/report.sh
. tests/report.sh

# refused NAME TEXT [ARG]...: make with these arguments fails, and the text is on standard error
refused()
{
	local name=$1 text=$2 out
	shift 2
	if out=$(make -s O="$tmp/refused" "$@" 2>&1 >/dev/null); then
		report "$name" "make did not fail"
	elif [[ $out != *"$text"* ]]; then
		report "$name" "wanted: $text"$'\n'"got: $out"
	else
		report "$name" "$([[ $out != *'No such file'* ]] || echo "also: $out")"
	fi
}

# ---- what is missing is named ----

refused "make names the package of a missing compiler" "there is no compiler 'no-such-cc'. Debian: apt-get install gcc libc6-dev" \
	CC=no-such-cc
for need in 'libaio.h libaio-dev' 'libfdt.h libfdt-dev'; do
	header=${need% *}
	cat >"$tmp/cc" <<-END
		#!/bin/sh
		[ "\$*" = "\${*%-E -}" ] && exec ${CC:-gcc} "\$@"
		! grep -q '<$header>'
	END
	chmod +x "$tmp/cc"
	refused "make names the package of a missing $header" "missing headers: $header. Debian: apt-get install ${need#* };" \
		CC="$tmp/cc"
done
refused "make names all missing packages at once" "Debian: apt-get install libc6-dev libaio-dev libfdt-dev;" \
	CPPFLAGS=-nostdinc
needed=$(make -s -p -n needed 2>/dev/null | sed -n 's/^NEEDED_HEADERS := //p' | xargs -n 1 | cut -d: -f2)
for package in $needed; do
	report "tests/setup.sh installs $package for a build" \
		"$(grep -q "^		build   $package " tests/setup.sh || echo "it does not")"
	report "README names $package" "$(grep -q "\b$package\b" README || echo "it does not")"
done

# ---- equal builds ----

# What git knows, or all but what is built, where there is no git.
sources()
{
	git ls-files -z 2>/dev/null | grep -z . || find . -path ./build\* -prune -o -type f -print0
}

# Not optimized: that takes a third of the time, and paths come in by the same ways.
jobs=$(nproc)
for folder in one another/folder; do
	mkdir -p "$tmp/$folder"
	sources | tar -c --null -T - | tar -xm -C "$tmp/$folder"
	out=$(make -s -j"$jobs" -C "$tmp/$folder" CFLAGS='-O0 -g' 2>&1) || out="make failed: $out"
	report "make -s is silent in $folder" "$out"
done
report "two builds in two folders are equal" "$(cmp "$tmp/one/build/lkvm" "$tmp/another/folder/build/lkvm" 2>&1)"
report "no folder of the build is in the binary" "$(grep -Fc "$tmp" "$tmp/one/build/lkvm" | grep -v '^0$')"
report "without git the version is a number" "$("$tmp/one/build/lkvm" version | grep -Evx "lkvm $(cat VERSION)")"

echo "1..$count"
[ "$bad" -eq 0 ]
