#!/usr/bin/env bash
# Every call to the host that lkvm run makes on its way to the guest fails once: the first, the
# second, and so on. Each time one line names what failed, and nothing is left behind. First a small
# machine, then one with disks and terminals.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
: "${INJECT:?is the path of inject.so}"

HIT=$T_TMP/hit
machine=()
shopt -s dotglob
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0

# What the kernel's headers call the ioctls: a failing one must be named in the message.
declare -A ioctl_name=(
	[0xae00]="'/dev/kvm' is not the KVM device"
	[0xae01]=KVM_CREATE_VM
	[0xae03]=KVM_CAP_
	[0xae04]=KVM_GET_VCPU_MMAP_SIZE
	[0xc008ae05]=KVM_GET_SUPPORTED_CPUID
	[0xae41]='KVM_CREATE_VCPU [01]'
	[0x4020ae46]=KVM_SET_USER_MEMORY_REGION
	[0xae47]=KVM_SET_TSS_ADDR
	[0x4008ae48]=KVM_SET_IDENTITY_MAP_ADDR
	[0xae60]=KVM_CREATE_IRQCHIP
	[0xc208ae62]=KVM_GET_IRQCHIP
	[0x8208ae63]=KVM_SET_IRQCHIP
	[0x4040ae77]=KVM_CREATE_PIT2
	[0xae80]='vCPU 0: KVM_RUN: Cannot allocate memory'
	[0x4090ae82]=KVM_SET_REGS
	[0x8138ae83]=KVM_GET_SREGS
	[0x4138ae84]=KVM_SET_SREGS
	[0x4008ae89]=KVM_SET_MSRS
	[0x4008ae90]=KVM_SET_CPUID2
)
seen=

# judge NAME: the run that t_run has just made, whose HIT was failed
judge()
{
	local hit lines wanted='^lkvm: .+: Cannot allocate memory$' status=125
	read -r hit <"$HIT"
	seen+=" $hit"
	t_drop "lkvm: the guest's hvc1 is *"
	case $1,$hit in
	ioctl,0xae03) wanted='^lkvm: this host.s KVM lacks KVM_CAP_' ;;
	KVM_RUN,*) wanted="^lkvm: ${ioctl_name[$hit]}$" status=121 ;;
	ioctl,*) wanted="^lkvm: ${ioctl_name[$hit]-an ioctl that this test does not know}" ;;
	open,/dev/null) wanted=': (start qemu-nbd|open ./dev/null. for qemu-nbd): Cannot allocate memory$' ;;
	open,/dev/pts/*) wanted='^lkvm: pseudo terminal for --tty 1: Cannot allocate memory$' ;;
	open,*) wanted="^lkvm: .*(${hit//./\\.}).*: Cannot allocate memory$" ;;
	esac
	# What lkvm can do without: optional capabilities, what /proc and /sys tell, whether a
	# stream is the master of a pseudo terminal (TIOCGPTN) or a file that one can wait for, the
	# terminal's size (TIOCGWINSZ), and input, which nobody types here.
	if [ "$t_rc" -eq 0 ] && [ ! -s "$T_TMP/stderr" ]; then
		case $1,$hit in
		ioctl,0xae03 | ioctl,0x80045430 | ioctl,0x5413) return 0 ;;
		open,/sys/* | open,/proc/* | epoll_ctl,/dev/null | epoll_ctl,/dev/ptmx) return 0 ;;
		epoll_create1, | epoll_ctl,*/stdout | epoll_ctl,*/stderr) return 0 ;;
		esac
	fi
	[ "$t_rc" -eq "$status" ] || return 1
	mapfile -t lines <"$T_TMP/stderr"
	[ "$status" -eq 121 ] || [ ${#lines[@]} -eq 1 ] || return 1
	has_line "$(<"$T_TMP/stderr")" "$wanted"
}

# fail_each CALL AT-LEAST [CPUS]: and there must have been so many of them; calls is how many there
# were. When none is left to fail the guest runs well. The guest has two CPUs unless the third argument says otherwise.
fail_each()
{
	local n=0 bad=0 left=()
	while [ $bad -eq 0 ]; do
		n=$((n + 1))
		rm -f "$HIT"
		# KVM_CAP_NR_VCPUS is 2, also where the host has one CPU
		T_LIMIT=30 t_run env LD_PRELOAD="$INJECT" INJECT_FAIL="$1:$n:12" INJECT_HIT="$HIT" \
			INJECT_ANSWER=0xae03/9=2 \
			"$LKVM" run -k "$GUESTS/reset.bin" -m 3329 -c "${3-2}" --name inject \
			--timeout 20 -p '' "${machine[@]}" </dev/null
		if [ ! -e "$HIT" ]; then
			[ "$t_rc" -eq 0 ] || bad=1
			break
		fi
		judge "$1" || bad=1
		left=("$LKVM_DIR"/*)
		[ ! -e "${left[0]}" ] || bad=1
	done
	calls=$((n - 1))
	t_report $bad "$1${machine[*]:+ (disks, terminals)}: each of $calls fails with one clear line" \
		"call $n ($(cat "$HIT" 2>/dev/null)): status $t_rc, sockets left: ${left[*]}
$(t_stderr)"
	[ "$2" -eq 0 ] || t_ok "$1${machine[*]:+ (disks, terminals)}: there are at least $2 calls" test $calls -ge "$2"
}

fail_each open 2
fail_each ioctl 30
# Of two CPUs the other one may reset the machine before this one has failed.
fail_each KVM_RUN 1 1
fail_each mmap 5
fail_each eventfd 2
fail_each signalfd 1
fail_each epoll_create1 1
fail_each epoll_ctl 5
fail_each socket 1
fail_each bind 1
fail_each listen 1
fail_each timerfd_create 1
fail_each pthread_create 2
fail_each malloc 0
mallocs=$calls
fail_each realloc 0
t_ok "malloc, realloc: there is at least 1 call" test $((mallocs + calls)) -gt 0
fail_each calloc 15

truncate -s 1M "$T_TMP/raw"
qemu-img create -q -f qcow2 "$T_TMP/qcow2" 1M
machine=(-d "$T_TMP/raw,direct,queues=2" -d "$T_TMP/qcow2,format=qcow2" --console virtio --tty 1)
for call in "open 4" "ioctl 30" "mmap 5" "eventfd 2" "epoll_ctl 6" "socket 3" "connect 1" \
	"memfd_create 1" "pipe2 1" "fork 1" "pthread_create 2" "malloc 0" "realloc 0" "calloc 20" \
	"posix_openpt 1" "grantpt 1" "unlockpt 1" "ptsname_r 1" "tcgetattr 1" "tcsetattr 1"; do
	# shellcheck disable=SC2086 # two words
	fail_each $call
done
for request in "${!ioctl_name[@]}"; do
	[[ " $seen " == *" $request "* ]] || t_report 1 "${ioctl_name[$request]} was failed"
done
t_done
