#!/usr/bin/env bash
# Rules of this project's source that no compiler knows, as a TAP program. With LINT_TOOLS=1 (make
# lint) also shellcheck, cppcheck, clang-tidy and mandoc. Runs at the top of the source tree.
set -u
cd "${0%/*}/.." || exit

CPPFLAGS=(-std=gnu11 -D_GNU_SOURCE -Iinclude '-DLKVM_VERSION="lint"')
shopt -s nullglob
sources=(*.c util/*.c hw/*.c x86/*.c virtio/*.c disk/*.c net/*.c)
headers=(include/lkvm/*.h include/lkvm/*/*.h)
scripts=(tests/*.sh tests/*/*.sh Documentation/*.bash .ci/*)
tests=(tests/*/*.c tests/*/*.h tests/*/*.S)
texts=("${sources[@]}" "${headers[@]}" "${scripts[@]}" "${tests[@]}" {.,x86,hw,disk,virtio}/*.[hS] Makefile README
	*/*.mk tests/*/*.mk Documentation/*.in)
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

# ---- who may include whom: ARCHITECTURE, "downward only" ----

# reached FILE: every header that it includes, directly or not, one a line
reached()
{
	"${CC:-cc}" "${CPPFLAGS[@]}" -M "$1" | grep -Eo '[^ ]+\.h' | sed 's|.*/include/||; s|^include/||'
}

# never NAME REGEX FILE...: none of the files reaches a header that matches
never()
{
	local name=$1 regex=$2 file complaints=''
	shift 2
	for file; do
		complaints+=$(reached "$file" | grep -Ex "$regex" | sed "s|^|$file includes |; s|$|;|")
	done
	report "$name" "${complaints//;/$'\n'}"
}

# only NAME REGEX FILE...: of this project's headers the files reach none but those that match
only()
{
	local name=$1 regex=$2 file complaints=''
	shift 2
	for file; do
		complaints+=$(reached "$file" | grep '^lkvm/' | grep -Evx "$regex" | sed "s|^|$file includes |; s|$|;|")
	done
	report "$name" "${complaints//;/$'\n'}"
}

# without PATTERN FILE...: the files that do not match
without()
{
	local pattern=$1
	shift
	printf '%s\n' "$@" | grep -Evx "$pattern"
}

util_headers=$(printf '%s\n' util/*.c | sed 's|util/\(.*\)\.c|\1|' | paste -sd'|')
machine='lkvm/(kvm|kvm-cpu|ipc|run|control|builtin)\.h|lkvm/x86/platform\.h'

check_layers()
{
	local x86_parts kvm_parts
	only "util includes nothing but util" "lkvm/(types|clock|$util_headers)\.h" util/*.c
	only "RAM and bus include nothing but util" "lkvm/(types|clock|ram|bus|irq|$util_headers)\.h" hw/ram*.c hw/bus.c
	never "chips know neither KVM nor a command" "$machine|linux/kvm\.h" hw/*.c
	never "devices know neither KVM nor a command" "$machine|linux/kvm\.h" virtio/*.c
	only "back ends include nothing but util" "lkvm/(types|clock|disk|net|$util_headers)\.h" disk/*.c net/*.c
	mapfile -t x86_parts < <(without 'x86/platform\.c' x86/*.c)
	never "x86 parts do not know the machine that they are part of" "$machine" "${x86_parts[@]}"
	mapfile -t kvm_parts < <(without 'kvm-ipc.*\.c|kvm-control.*\.c' kvm*.c)
	never "the VM does not know commands and devices" \
		'lkvm/(builtin|options|run|chips|console)\.h|lkvm/x86/platform\.h' "${kvm_parts[@]}"
	never "the control socket does not know what it controls" \
		'lkvm/(kvm-cpu|run|builtin|options|chips|console)\.h' kvm-ipc*.c
	never "main knows commands only" 'lkvm/(kvm|ram|run|ipc).*\.h' main.c
}

# ---- headers ----

check_headers()
{
	local header guard complaints='' guards=''
	for header in "${headers[@]}"; do
		complaints+=$("${CC:-cc}" "${CPPFLAGS[@]}" -Wall -Wextra -fsyntax-only -x c - 2>&1 \
			<<<"#include \"${header#include/}\"")
		guard=$(tr 'a-z/.-' 'A-Z___' <<<"${header#include/}")
		grep -q "^#ifndef $guard\$" "$header" && grep -q "^#define $guard\$" "$header" ||
			guards+="$header: its guard is not $guard"$'\n'
	done
	report "each header compiles alone" "$complaints"
	report "each header has the guard of its name" "$guards"
}

# ---- text ----

check_text()
{
	local commands_only no_scripts=("${sources[@]}" "${headers[@]}" tests/*/*.[ch] Makefile */*.mk tests/*/*.mk)
	mapfile -t commands_only < <(without 'main\.c|builtin-.*\.c' "${sources[@]}")
	report "exit() stands in main.c and builtin-* only" \
		"$(grep -nE '\b(exit|_Exit|quick_exit|die|abort)\(' "${commands_only[@]}")"
	report "no trailing blanks" "$(grep -nE '[[:blank:]]+$' "${no_scripts[@]}" Documentation/*.in)"
	report "no carriage returns" "$(grep -ln $'\r' "${texts[@]}" 2>/dev/null)"
	report "only ASCII" "$(LC_ALL=C grep -nP '[^\x00-\x7f]' "${texts[@]}" 2>/dev/null)"
	report "tabs indent C" "$(grep -nE '^ {8}' "${sources[@]}" "${headers[@]}")"
	report "every file ends with a newline" \
		"$(for f in "${texts[@]}"; do [ ! -s "$f" ] || [ -z "$(tail -c1 "$f")" ] || echo "$f"; done)"
	report "no unbounded string functions" \
		"$(grep -nE '\b(sprintf|vsprintf|gets|strncpy|atoi|atol|alloca)\(' "${sources[@]}")"
	report "all scripts can be run" \
		"$(for f in "${scripts[@]}"; do [ -x "$f" ] || ! grep -q '^#!' "$f" || echo "$f"; done)"
}

# ---- tools ----

# tool NAME CMD [ARG]...: complaints are what it prints, or that it fails
tool()
{
	local name=$1 out
	shift
	if ! command -v "$name" >/dev/null; then
		count=$((count + 1))
		echo "ok $count - $name # SKIP not installed"
		return
	fi
	out=$("$@" 2>&1) && out=''
	report "$name" "$out"
}

run_tidy()
{
	printf '%s\n' "${sources[@]}" | grep -vx util/log.c | xargs -n 4 -P 2 sh -c '
		clang-tidy --quiet "$@" -- -std=gnu11 -D_GNU_SOURCE -Iinclude "-DLKVM_VERSION=\"lint\"" \
			-include tests/lint-model.h 2>/dev/null' sh &&
		clang-tidy --quiet util/log.c -- "${CPPFLAGS[@]}" 2>/dev/null
}

run_cppcheck()
{
	cppcheck --quiet --error-exitcode=1 --std=c11 --language=c --inline-suppr \
		--enable=warning,performance,portability "${CPPFLAGS[@]:1}" -D__x86_64__ "${sources[@]}"
}

run_mandoc()
{
	mandoc -Tlint -Wwarning Documentation/*.in "${LKVM%/*}"/man/*.1
}

check_layers
check_headers
check_text
if [ "${LINT_TOOLS-}" = 1 ]; then
	tool shellcheck shellcheck "${scripts[@]}"
	tool mandoc run_mandoc
	tool cppcheck run_cppcheck
	tool clang-tidy run_tidy
fi
echo "1..$count"
[ "$bad" -eq 0 ]
