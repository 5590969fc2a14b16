#!/usr/bin/env bash
# Rules of this project's source that no compiler knows, as a TAP program. With LINT_TOOLS=1 (make
# lint) also shellcheck, cppcheck, clang-tidy and mandoc. Runs at the top of the source tree.
set -u
cd "${0%/*}/.." || exit

CPPFLAGS=(-std=gnu11 -D_GNU_SOURCE -Iinclude '-DLKVM_VERSION="lint"')
shopt -s nullglob
folders=(vm linux gdb x86/boot x86/tables x86/cpu virtio hw disk net vsock fs console display ipc util)
sources=(*.c)
for folder in "${folders[@]}"; do
	sources+=("$folder"/*.c)
done
headers=(include/lkvm/*.h include/lkvm/*/*.h)
scripts=(tests/*.sh tests/*/*.sh Documentation/*.bash .ci/* examples/*)
tests=(tests/*/*.c tests/*/*.h tests/*/*.S)
texts=("${sources[@]}" "${headers[@]}" "${scripts[@]}" "${tests[@]}" {linux,x86/*,hw,disk,net,vsock,fs,virtio,ipc}/*.[hS] guest/*.[chS] Makefile README
	*/*.mk tests/*/*.mk Documentation/*.in)
# shellcheck source=tests/report.sh
. tests/report.sh

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
above='lkvm/(kvm.*|control|builtin|guests|vm/.*)\.h'

# The order of ARCHITECTURE: each folder may include what stands below it.
check_layers()
{
	only "util includes nothing but util" "lkvm/(types|clock|$util_headers)\.h" util/*.c
	only "RAM and bus include nothing but util" "lkvm/(types|clock|access|ram|bus|irq|$util_headers)\.h" hw/ram.c hw/ram-*.c hw/bus.c
	only "state tables include nothing but util" "lkvm/(types|clock|state|$util_headers)\.h" hw/state*.c
	only "disks include nothing but util" "lkvm/(types|clock|disk|pmem|$util_headers)\.h" disk/*.c
	only "networks include nothing but util" "lkvm/(types|clock|net|net-forward|net-gso|net-pcap|$util_headers)\.h" net/*.c
	only "vsock's end on the host includes nothing but util" "lkvm/(types|clock|vsock|$util_headers)\.h" vsock/*.c
	only "shared folders include nothing but util" "lkvm/(types|clock|fs|state|$util_headers)\.h" fs/*.c
	only "consoles include nothing but util" "lkvm/(types|clock|console|console/.*|$util_headers)\.h" console/*.c
	only "the screen includes nothing but util" "lkvm/(types|clock|display|vnc|$util_headers)\.h" display/*.c
	only "the guest's init includes nothing but the session" 'lkvm/session\.h' guest/*.c
	only "gdb's protocol includes nothing but itself" "lkvm/gdb/.*\.h" gdb/*.c
	only "the control socket includes nothing but util" "lkvm/(types|clock|ipc|$util_headers)\.h" ipc/*.c
	never "chips know neither KVM nor the machine" "$above|linux/kvm\.h" hw/*.c
	never "virtio devices know neither KVM nor the machine" "$above|linux/kvm\.h" virtio/*.c
	only "looking into Linux includes RAM and page tables only" \
		"lkvm/(types|clock|ram|linux/.*|x86/(cpu|boot|topology)|$util_headers)\.h" linux/*.c
	never "x86 does not know the machine" "$above" x86/*/*.c
	never "the VM does not know the machine, commands and devices" \
		'lkvm/(builtin|guests|options|vm/.*|chips|console|disk|virtio.*|ipc)\.h' kvm*.c
	never "the machine does not know commands" 'lkvm/(builtin|guests)\.h' vm/*.c
	never "main knows commands only" 'lkvm/(kvm|ram|ipc|vm/).*\.h' main.c
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
	report "threads are made by util/thread.c only" \
		"$(grep -nE '\bpthread_(create|setname_np)\(' "${sources[@]}" | grep -v '^util/thread\.c:')"
	report "virtio devices call virtio_push() and virtio_pop()" \
		"$(grep -nE '\bvirtq_(push|pop|flush)\(' virtio/*.c | grep -vE '^virtio/(virtq.*|queue)\.c:')"
	report "timers are those of util/timer.c" \
		"$(grep -nE '\btimerfd_(create|settime)\(|\bsetitimer\(' "${sources[@]}" | grep -v '^util/timer\.c:')"
	report "libraries are opened by util/lib.c only" \
		"$(grep -nE '\bdl(open|sym)\(' "${sources[@]}" | grep -v '^util/lib\.c:')"
	report "eventfds are made by util/event.c only" \
		"$(grep -nE '\beventfd(_read|_write)?\(' "${sources[@]}" | grep -v '^util/event\.c:')"
	report "only the step tables call an undo" "$(grep -nE '^[[:blank:]].*\b(vm_)?undo_[a-z_]+\(' vm/*.c)"
	report "no trailing blanks" "$(grep -nE '[[:blank:]]+$' "${no_scripts[@]}" Documentation/*.in)"
	report "no carriage returns" "$(grep -ln $'\r' "${texts[@]}" 2>/dev/null)"
	report "only ASCII" "$(LC_ALL=C grep -nP '[^\x00-\x7f]' "${texts[@]}" 2>/dev/null)"
	report "tabs indent C" "$(grep -nE '^ {8}' "${sources[@]}" "${headers[@]}" guest/*.[ch])"
	report "every file ends with a newline" \
		"$(for f in "${texts[@]}"; do [ ! -s "$f" ] || [ -z "$(tail -c1 "$f")" ] || echo "$f"; done)"
	report "no unbounded string functions" \
		"$(grep -nE '\b(sprintf|vsprintf|gets|strncpy|atoi|atol|alloca)\(' "${sources[@]}")"
	# The guests' init reads all of these files: of two functions it would know the last.
	report "no word of Linux guests has two meanings" \
		"$(grep -ho '^word_[a-z0-9_]*' tests/testbed/guest-* | sort | uniq -d)"
	report "all scripts can be run" \
		"$(for f in "${scripts[@]}"; do [ -x "$f" ] || ! grep -q '^#!' "$f" || echo "$f"; done)"
}

# ---- length ----

# long_functions FILE...: a function lies between a brace at the start of a line and the next one there,
# and its length is what is between them. A table has its brace behind a "=", so it is none.
long_functions()
{
	awk 'FNR == 1 { start = 0 }
		/^\{/ { start = FNR }
		/^\}/ {
			if (start && FNR - start - 1 > 50)
				printf "%s:%d: a function of %d lines\n", FILENAME, start, FNR - start - 1
			start = 0
		}' "$@"
}

# long_files FILE...: its opening comment has "More than 500 lines:" and why
long_files()
{
	local file lines
	for file; do
		lines=$(wc -l <"$file")
		[ "$lines" -le 500 ] || sed '/\*\//q' "$file" | grep -q '^ \* More than 500 lines: .' ||
			echo "$file: $lines lines, and its opening does not say why (\"More than 500 lines: ...\")"
	done
}

check_length()
{
	report "no file is longer than 500 lines without a reason" "$(long_files "${sources[@]}" "${headers[@]}" guest/*.c)"
	report "no function is longer than 50 lines" "$(long_functions "${sources[@]}" guest/*.c)"
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
	mandoc -Tlint -Wwarning Documentation/*.in "${LKVM%/*}"/man/*.[15]
}

check_layers
check_headers
check_text
check_length
if [ "${LINT_TOOLS-}" = 1 ]; then
	tool shellcheck shellcheck "${scripts[@]}"
	tool mandoc run_mandoc
	tool cppcheck run_cppcheck
	tool clang-tidy run_tidy
fi
echo "1..$count"
[ "$bad" -eq 0 ]
