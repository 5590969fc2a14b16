#!/usr/bin/env bash
# Hosts that are not as lkvm wants them: /dev/kvm missing, locked or something else, an old or a
# small KVM, unknown RAM size, every kind of KVM exit.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
: "${INJECT:?is the path of inject.so}"
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0

# on_host VARIABLE=VALUE...: the rest of the words are a command, on a host that is so
on_host()
{
	local settings=()
	while [[ $1 == INJECT_* ]]; do
		settings+=("$1")
		shift
	done
	t_run env LD_PRELOAD="$INJECT" "${settings[@]}" "$@" </dev/null
	t_command="${settings[*]} ${t_command#env *.so * }"
}

# host_fails MESSAGE VARIABLE=VALUE... [OPTION]...: reset.bin does not start, and that is why
host_fails()
{
	local message=$1 settings=()
	shift
	while [[ ${1-} == INJECT_* ]]; do
		settings+=("$1")
		shift
	done
	on_host "${settings[@]}" "$LKVM" run -m 64 -c 1 "$@" -k "$GUESTS/reset.bin"
	t_command="${settings[*]}${*:+ $*}"
	t_status 125
	t_stderr_is "lkvm: $message"
}

# ---- /dev/kvm ----

# with_kvm SCRIPT: status and messages of a guest, with a /dev that SCRIPT has changed
with_kvm()
{
	# shellcheck disable=SC2016
	t_run unshare -m bash -c 'mount -t tmpfs -o dev tmpfs /dev && mknod /dev/null c 1 3 && eval "$1" &&
		exec "$LKVM" run -m 64 -c 1 -k "$GUESTS/reset.bin" </dev/null' - "$1"
	t_command=${1:-no /dev/kvm}
	t_status 125
	t_stderr_is "$2"
}

if unshare -m mount -t tmpfs tmpfs /dev 2>/dev/null; then
	with_kvm : "lkvm: open '/dev/kvm' (is the kvm_intel or kvm_amd module loaded, and virtualization \
enabled in the firmware?): No such file or directory"
	not_kvm="lkvm: '/dev/kvm' is not the KVM device"
	with_kvm ': >/dev/kvm' "$not_kvm"
	with_kvm 'mknod /dev/kvm c 1 5' "$not_kvm"
	with_kvm 'mkfifo /dev/kvm' "$not_kvm"
	with_kvm 'mkdir /dev/kvm' "lkvm: open '/dev/kvm': Is a directory"
	with_kvm 'mknod /dev/kvm c 240 511' "lkvm: open '/dev/kvm': No such device or address"
else
	t_skip 'another /dev/kvm' 'a mount name space needs root'
fi
host_fails "open '/dev/kvm' (are you in the group 'kvm'?): Permission denied" INJECT_HIT="$T_TMP/hit" \
	INJECT_FAIL=open:2:13
host_fails "open '/dev/kvm' (is the kvm_intel or kvm_amd module loaded, and virtualization enabled in \
the firmware?): No such file or directory" INJECT_HIT="$T_TMP/hit" INJECT_FAIL=open:2:2
host_fails "'/dev/kvm' speaks KVM API version 11, lkvm needs 12" INJECT_ANSWER=0xae00=11
host_fails "'/dev/kvm' speaks KVM API version 13, lkvm needs 12" INJECT_ANSWER=0xae00=13

# ---- a small KVM: KVM_CHECK_EXTENSION (0xae03) of one capability ----

while read -r cap name; do
	host_fails "this host's KVM lacks $name" "INJECT_ANSWER=0xae03/$cap=0"
done <<'END'
0 KVM_CAP_IRQCHIP
33 KVM_CAP_PIT2
3 KVM_CAP_USER_MEMORY
4 KVM_CAP_SET_TSS_ADDR
37 KVM_CAP_SET_IDENTITY_MAP_ADDR
7 KVM_CAP_EXT_CPUID
136 KVM_CAP_IMMEDIATE_EXIT
32 KVM_CAP_IRQFD
36 KVM_CAP_IOEVENTFD
END

# KVM_CAP_MAX_VCPUS is 66, KVM_CAP_NR_VCPUS 9; without the one the other counts, without both 4.
host_fails 'Too many CPUs: 3 (this host'\''s KVM_CAP_MAX_VCPUS is 2)' INJECT_ANSWER='0xae03/66=2' -c 3
host_fails 'Too many CPUs: 4 (this host'\''s KVM_CAP_MAX_VCPUS is 3)' \
	INJECT_ANSWER='0xae03/66=0 0xae03/9=3' -c 4
host_fails 'Too many CPUs: 5 (this host'\''s KVM_CAP_MAX_VCPUS is 4)' \
	INJECT_ANSWER='0xae03/66=0 0xae03/9=0' -c 5
for cpus in 1 2 3; do
	on_host INJECT_ANSWER='0xae03/66=3 0xae03/9=2' "$LKVM" run -m 64 -c $cpus -k "$GUESTS/reset.bin"
	t_status 0
	warning=
	[ $cpus -lt 3 ] || warning="lkvm: warning: 3 CPUs are more than this host's KVM_CAP_NR_VCPUS recommends (2)"
	t_stderr_is "$warning"
done

# ---- how much RAM and how many CPUs the host has ----

# guest_has ram=MB|cpus=N WARNING VARIABLE=VALUE... [OPTION]...: the guest itself checks it
guest_has()
{
	local want=$1 program=ram.mb warning=$2 settings=()
	shift 2
	[[ $want == ram=* ]] || program=smp.mb
	while [[ ${1-} == INJECT_* ]]; do
		settings+=("$1")
		shift
	done
	on_host INJECT_ANSWER=0xae03/9=255 "${settings[@]}" "$LKVM" run --debug-exit "$@" -k "$GUESTS/$program" -p "$want"
	t_command="$want, ${settings[*]}${*:+ $*}"
	t_status 1
	t_is "$t_command: warnings" "$(t_stderr | sed 's/([0-9]*MB available now[^)]*)/(N)/')" \
		"${warning:+lkvm: warning: $warning}"
}

# mb MB: a host with so much RAM
mb()
{
	echo "INJECT_SYSCONF=_SC_PHYS_PAGES=$(($1 * 256)) _SC_PAGE_SIZE=4096"
}

guest_has ram=256 '' "$(mb 24105)" -c 1
guest_has ram=320 '' "$(mb 24105)" -c 2
guest_has ram=320 '' "$(mb 400)" -c 2
guest_has ram=240 '' "$(mb 300)" -c 2
guest_has ram=64 '' "$(mb 80)" -c 2
guest_has ram=64 'host RAM of 79MB is little for a guest of 64MB' "$(mb 79)" -c 2
guest_has ram=64 'Guest memory size 64MB exceeds host physical RAM size 63MB (N)' "$(mb 63)" -c 2
guest_has ram=4096 '' "$(mb 4096)" -c 1 -m 4096
guest_has ram=4096 'Guest memory size 4096MB exceeds host physical RAM size 4095MB (N)' "$(mb 4095)" -c 1 -m 4096
guest_has ram=64 'sysconf(_SC_PHYS_PAGES) failed' INJECT_SYSCONF=_SC_PHYS_PAGES=-1 -c 2
guest_has ram=64 'sysconf(_SC_PAGE_SIZE) failed' INJECT_SYSCONF=_SC_PAGE_SIZE=-1 -c 2
guest_has ram=64 'sysconf(_SC_PHYS_PAGES) failed' 'INJECT_SYSCONF=_SC_PHYS_PAGES=-1 _SC_PAGE_SIZE=-1' -c 2
guest_has ram=128 'sysconf(_SC_PHYS_PAGES) failed' INJECT_SYSCONF=_SC_PHYS_PAGES=-1 -c 1 -m 128
many='INJECT_ANSWER=0xae03/9=255' # KVM_CAP_NR_VCPUS: no warning
guest_has cpus=3 '' INJECT_SYSCONF=_SC_NPROCESSORS_ONLN=3 "$many" -m 64
guest_has cpus=3 '' INJECT_SYSCONF=_SC_NPROCESSORS_ONLN=3 "$many" -m 64 -c 0
guest_has cpus=1 '' INJECT_SYSCONF=_SC_NPROCESSORS_ONLN=-1 "$many" -m 64

# ---- every reason for which KVM_RUN returns ----

# kvm_exit REASON[:WORD]... STATUS [MESSAGE]: the first line of the report, if there is one
kvm_exit()
{
	on_host "INJECT_EXIT=$1" "$LKVM" run -m 64 -c 1 -k "$GUESTS/reset.bin"
	t_command="KVM exit $1"
	t_status "$2"
	t_is "$t_command: message" "$(t_stderr | head -n 1)" "${3:+lkvm: vCPU 0: $3}"
}

kvm_exit 0:0x1f 121 'unknown exit, hardware reason 0x1f'
kvm_exit 1 121 'unhandled KVM exit reason 1'
kvm_exit 3 121 'unhandled KVM exit reason 3'
kvm_exit 4:3:0x1234 121 'debug exception 0x3 at 0x1234'
kvm_exit 5 121 'halted for ever'
kvm_exit 7 0
kvm_exit 8 121 'triple fault'
kvm_exit 9:0x80000021 121 'the CPU refused to enter the guest, hardware reason 0x80000021'
kvm_exit 10 0
kvm_exit 11 0
kvm_exit 17:1 121 'KVM internal error, suberror 1 (emulation failure)'
kvm_exit 17:2 121 'KVM internal error, suberror 2 (simultaneous exceptions)'
kvm_exit 17:3 121 'KVM internal error, suberror 3 (event delivery failed)'
kvm_exit 17:4 121 'KVM internal error, suberror 4 (unexpected exit reason)'
kvm_exit 17:0xffffffff 121 'KVM internal error, suberror 4294967295 (unknown)'
kvm_exit 17:$((1 << 32 | 3)):0x80000b0e 121 'KVM internal error, suberror 3 (event delivery failed)'
t_stderr_like "^lkvm: vCPU 0: KVM's data: 0x80000b0e$"
kvm_exit 17:$((0xffff << 32 | 3)):1 121 'KVM internal error, suberror 3 (event delivery failed)'
kvm_exit 24:1 0
kvm_exit 24:2 0
on_host INJECT_EXIT=24:3 "$LKVM" run -m 64 -c 1 --name crash -k "$GUESTS/reset.bin"
t_status 120
t_stderr_like "^lkvm: guest 'crash' panicked: "
kvm_exit 24:4 121 'system event 4'
kvm_exit 26 0
kvm_exit 0xffffffff 121 'unhandled KVM exit reason 4294967295'

t_is 'nothing is left behind' "$(ls -A "$LKVM_DIR")" ''
t_done
