# shellcheck shell=bash
# What session-job.sh and session-long-job.sh begin with: they read this file, which reads job.sh. The current
# folder is a new one, $work, and lkvm is on PATH.

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work" || exit
mkdir bin
ln -s "$LKVM" bin/lkvm
PATH=$work/bin:$PATH
export XDG_CACHE_HOME=$work/cache LKVM_WARM_LIMIT=500M
# shellcheck source=tests/testbed/job.sh
. "$here/job.sh"

# session NAME KERNEL OPTION... [-- COMMAND]: with as little as there is need for
session()
{
	local name=$1 kernel=$2
	shift 2
	run "$name" -k "$kernel" -c 1 -m 256 "$@"
}

# expect_text FILE TEXT: that and nothing else
expect_text()
{
	echo >>"$expectations"
	[ "$(cat "$1"; echo .)" = "$2"$'\n.' ] || complain "$1 is '$(head -c 500 "$1")', not '$2'"
}

expect_empty()
{
	echo >>"$expectations"
	[ ! -s "$1" ] || complain "$1 is not empty: $(head -c 500 "$1")"
}

# booted NAME: the guest takes commands
booted()
{
	local i
	for ((i = 0; i < 600; i++)); do
		lkvm exec "$1" -- true </dev/null 2>/dev/null && return
		sleep 0.2
	done
	return 1
}

# try NAME STATUS COMMAND...: its output goes to NAME.out and NAME.err
try()
{
	local name=$1 status=$2
	shift 2
	timeout "$per_guest" "$@" >"$name.out" 2>"$name.err"
	echo $? >"$name.status"
	expect_status "$name" "$status"
}

# on_terminal NAME STEP... -- COMMAND...: as $PTY does it
on_terminal()
{
	local name=$1
	shift
	PTY_SECONDS=$per_guest timeout -k 10 $((per_guest * 2)) "$PTY" "$@" >"$name.out" 2>"$name.err" </dev/null
	echo $? >"$name.status"
	expect_status "$name" 0
}

# in_guest NAME CMD...: whether it succeeds there, soon
in_guest()
{
	local i name=$1
	shift
	for ((i = 0; i < 100; i++)); do
		lkvm exec "$name" -- "$@" </dev/null >/dev/null 2>&1 && return
		sleep 0.1
	done
	return 1
}

# flow MIB: as many bytes, of which no two pieces are the same
flow()
{
	local i
	[ -s block ] || head -c 1048550 /dev/urandom >block
	for ((i = 0; i < $1; i++)); do
		printf '%026d' "$i"
		cat block
	done
}

# through NAME MIB KERNEL: so much through a guest that sends it back; its own checksum goes to NAME.err
through()
{
	local name=$1 mib=$2 kernel=$3
	flow "$mib" | tee >(sha256sum >"$name.sent") |
		timeout "$per_guest" lkvm run --name "$name" -k "$kernel" -c 1 -m 256 -- \
			bash -c 'tee >(sha256sum >&2); wait' 2>"$name.err" | sha256sum >"$name.got"
	echo "${PIPESTATUS[2]}" >"$name.status"
	expect_status "$name" 0
	expect_text "$name.err" "$(cat "$name.sent")"
	expect_text "$name.got" "$(cat "$name.sent")"
}
