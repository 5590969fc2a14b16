#!/usr/bin/env bash
# host.sh [OPTION]... [--] SCRIPT [ARG]...: run a job that boots Linux guests with lkvm.
#
# The job runs where KVM can run Linux guests: in an emulated host (QEMU emulates a CPU with SVM, a
# Debian kernel on it offers /dev/kvm), or with --auto on this machine if `lkvm check` says so. It is
# the same for both: `busybox sh SCRIPT ARG...` in a folder that holds SCRIPT and the --file files, lkvm
# on PATH. Its output comes out of ours, its exit status is ours.
#
#   --auto            on this machine if it can run Linux guests
#   --file FILE[=NAME]  put FILE into the job's folder, as NAME
#   --program NAME    have this program, or library that one opens by itself (libX.so.N), ready to use
#   --disk MIB        a folder "disk" in the job's folder, on a file system that can do direct I/O
#   --lkvm FILE       the lkvm to use ($LKVM, else build/lkvm)
#   --timeout SECONDS default 600
#   --terminal        connect the job to our terminal; Ctrl-c and all other keys go to the job
# and for the emulated host:
#   --memory MIB      default 3072
#   --cpus N          default 1
#   --hosts N         run the job in N hosts side by side; LANE, 1/N to N/N, says to each what its
#                     part is, and output is mixed by lines
#   --icount          one CPU, and its clock counts instructions: times are then the same on every run;
#                     output comes when the job is over. The emulator has a fault that makes such a host
#                     stand still now and then; it is then started again.
#   --attempts N      with --icount: start it so often at most (default 5); what the last one said comes out
#   --silence SECONDS with --icount: it stands still if it says nothing for so much time of a CPU (default 120)
#   --module NAME     load this module too
#   --kernel NAME     it has this one of kernels.sh (generic with --tree, else cloud)
#   --image FILE      the last disk, which is FILE at first: what is written is gone with the host
#   --tree            SCRIPT is any command, and it runs in this machine's own file tree, in the current
#                     folder and with our exported variables; what it writes is gone with the host;
#                     /tmp is a disk (8192 MIB) that can do direct I/O, and $CLAIMS a folder that
#                     --hosts share
#   --claims FOLDER   with --tree: $CLAIMS is this one, in which what the job leaves outlives the host
#   --verbose         show the emulated host's kernel messages when it is over
#   --help            show this text
#
# Status: the job's; 124 timeout; 125 the emulated host failed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

auto=0 lkvm=${LKVM:-$top/build/lkvm} seconds=600 terminal=0 memory=3072 cpus=1 hosts=1 icount=0 attempts=5 silence=120 verbose=0
tree=0 claims='' disk=0 image='' host_kernel='' files=() programs=() modules=(irqbypass kvm kvm-amd)

fail()
{
	echo "host: $*" >&2
	exit 125
}

# The comment that this file starts with.
usage()
{
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

parse()
{
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--auto) auto=1 ;;
		--terminal) terminal=1 ;;
		--icount) icount=1 ;;
		--tree) tree=1 ;;
		--verbose) verbose=1 ;;
		--file | --program | --disk | --lkvm | --timeout | --memory | --cpus | --hosts | --module | --image | --kernel | \
			--attempts | --silence | --claims)
			[ $# -ge 2 ] || fail "$1 needs an argument"
			case $1 in
			--file) files+=("$2") ;;
			--program) programs+=("$2") ;;
			--disk) disk=$2 ;;
			--lkvm) lkvm=$2 ;;
			--timeout) seconds=$2 ;;
			--memory) memory=$2 ;;
			--cpus) cpus=$2 ;;
			--hosts) hosts=$2 ;;
			--module) modules+=("$2") ;;
			--image) image=$2 ;;
			--kernel) host_kernel=$2 ;;
			--attempts) attempts=$2 ;;
			--silence) silence=$2 ;;
			--claims) claims=$2 ;;
			esac
			shift
			;;
		--)
			shift
			break
			;;
		-*) fail "unknown option $1 (try '$0 --help')" ;;
		*) break ;;
		esac
		shift
	done
	[ $# -gt 0 ] || fail "no script was named"
	[ "$tree" -eq 0 ] || [ "$disk" -gt 0 ] || disk=8192
	job=("$@")
}

# Fills $work/job: the files, and .run with the command line.
make_job()
{
	local file name
	mkdir "$work/job"
	if [ "$terminal" -eq 1 ]; then
		stty size | awk '{ print "sane", $1 ? "rows " $1 " cols " $2 : "" }' >"$work/job/.terminal"
	fi
	if [ "$tree" -eq 1 ]; then
		[ -n "$claims" ] || claims=$work/claims
		mkdir -p "$claims"
		{
			export -p | grep -vE '^declare -x (OLDPWD|PWD|SHLVL|TMPDIR|XDG_RUNTIME_DIR|LKVM_DIR|LANE|CLAIMS)\b'
			printf 'cd %q && exec' "$PWD"
			printf ' %q' "${job[@]}"
		} >"$work/job/.tree"
		return
	fi
	for file in "${files[@]}" "${job[0]}"; do
		name=${file#*=}
		cp -L "${file%%=*}" "$work/job/$(basename "$name")" || fail "no file '${file%%=*}'"
	done
	{
		printf 'export LINUX_TESTS=%q; ' "${LINUX_TESTS-}"
		printf '%q ' exec busybox sh "./$(basename "${job[0]}")" "${job[@]:1}"
	} >"$work/job/.run"
}

# supervise COMMAND...: run it until it ends, the time is over, or we are told to end. It never
# outlives us, not even if we are killed.
supervise()
{
	local guard=(setpriv --pdeathsig TERM timeout --kill-after=10)
	[ "$terminal" -eq 0 ] || guard+=(--foreground)
	"${guard[@]}" "$seconds" setpriv --pdeathsig KILL "$@" <&3 &
	children=($!)
	wait "${children[0]}"
}

clean_up()
{
	trap '' INT TERM HUP
	if [ ${#children[@]} -gt 0 ]; then
		kill -TERM "${children[@]}" 2>/dev/null || true
		wait "${children[@]}" 2>/dev/null || true
	fi
	[ -z "$tty_state" ] || stty "$tty_state" <&3 || true
	rm -rf "$work" "$disk_folder"
}

# /tmp may be in memory, and that cannot do direct I/O everywhere.
make_disk_here()
{
	disk_folder=$(mktemp -d /var/tmp/lkvm-XXXXXX)
	ln -s "$disk_folder" "$work/job/disk"
}

run_here()
{
	local status=0 name run=(busybox sh ./.run)
	for name in "${programs[@]}"; do
		[[ $name == *.so.* ]] || command -v "$name" >/dev/null || fail "no program '$name'"
	done
	[ "$disk" -eq 0 ] || make_disk_here
	mkdir "$work/bin"
	ln -s "$(realpath "$lkvm")" "$work/bin/lkvm"
	cd "$work/job"
	[ "$tree" -eq 0 ] || run=(bash ./.tree)
	CLAIMS=$claims PATH=$work/bin:$PATH:/usr/sbin:/sbin TMPDIR=$work supervise "${run[@]}" || status=$?
	children=()
	return "$status"
}

# Fills $work/initrd. The kernel takes archives one behind the other.
make_initrd()
{
	[ "$tree" -eq 0 ] || modules+=(virtio_pci 9pnet_virtio 9p overlay crc32c_generic ext4)
	if [ "$disk" -gt 0 ]; then
		mkdir "$work/job/disk"
		modules+=(virtio_pci virtio_blk)
	fi
	"$here/initrd.sh" host "$work/initrd" "$kernel" "$lkvm" "${modules[@]}" || fail "no initrd"
	if [ ${#programs[@]} -gt 0 ]; then
		"$here/initrd.sh" programs "$work/programs" "${programs[@]}" || fail "no programs"
		cat "$work/programs" >>"$work/initrd"
	fi
	(cd "$work" && find job | busybox cpio -o -H newc -R 0:0 2>/dev/null >>initrd)
}

# The emulated CPU counts this machine's cycles. Linux measures how many there are in a second when it
# starts, and on a busy machine gets that wrong: a host whose clock ran twenty times too fast was seen. Of
# a virtual machine /proc/cpuinfo has the figure; another has a KVM of its own.
tsc_khz()
{
	awk '/^cpu MHz/ { mhz = $NF } /^flags.* hypervisor/ { printf "tsc_early_khz=%.0f", mhz * 1000; exit }' \
		/proc/cpuinfo
}

# emulated_host NUMBER: one host, to its end. No XSAVE: the emulator lets a guest's XSETBV through to
# the host's register, so that KVM does not learn of it and the guest loses its SSE and AVX registers.
#
# A periodic tick: hosts were seen asleep for good, most likely because the emulator had lost the
# interrupt of a timer that is set for one time only. Not with --icount: there guests' timers are to
# be exact.
emulated_host()
{
	local status=0 args dir=$work/host$1 tick
	tick="nohz=off highres=off $(tsc_khz)"
	[ "$icount" -eq 0 ] || tick=''
	mkdir "$dir"
	touch "$dir/status" "$dir/kernel.log"
	# shellcheck disable=SC2054
	args=(-M q35 -cpu max,-xsave -m "$memory" -smp "$cpus" -display none -nodefaults -no-user-config
		-no-reboot -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initrd"
		-append "console=ttyS1 loglevel=4 panic=-1 mitigations=off no_timer_check $tick LANE=$1/$hosts"
		-chardev stdio,id=terminal,signal=off -serial chardev:terminal
		-serial "file:$dir/kernel.log" -serial "file:$dir/status" -accel tcg)
	if [ "$disk" -gt 0 ]; then
		truncate -s "${disk}M" "$dir/disk"
		/sbin/mke2fs -q -F -t ext4 "$dir/disk" || fail "no file system for the emulated host"
		# shellcheck disable=SC2054
		args+=(-drive "if=none,id=disk,file=$dir/disk,format=raw,cache=unsafe"
			-device virtio-blk-pci,drive=disk)
	fi
	# shellcheck disable=SC2054
	[ -z "$image" ] || args+=(-drive "if=none,id=image,file=$image,format=raw,cache=unsafe,snapshot=on"
		-device virtio-blk-pci,drive=image)
	# shellcheck disable=SC2054
	[ "$tree" -eq 0 ] || args+=(
		-virtfs local,path=/,mount_tag=tree,security_model=none,readonly=on,multidevs=remap
		-virtfs "local,path=$claims,mount_tag=claims,security_model=none")
	# shellcheck disable=SC2054
	[ "$icount" -eq 0 ] || args+=(-icount shift=0,sleep=off -pidfile "$dir/pid")
	supervise qemu-system-x86_64 "${args[@]}" || status=$?
	children=()
	[ "$verbose" -eq 0 ] || cat "$dir/kernel.log" >&2
	case $status in
	124 | 137)
		echo "host: the job did not end within $seconds seconds" >&2
		return 124
		;;
	esac
	status=$(tr -dc 0-9 <"$dir/status")
	if [ -z "$status" ]; then
		tail -n 30 "$dir/kernel.log" >&2
		fail "the emulated host failed; above are its kernel's last messages"
	fi
	return "$status"
}

# How much CPU time the emulator has had, in seconds
spent_seconds()
{
	local pid=
	[ ! -s "$work/host1/pid" ] || pid=$(<"$work/host1/pid")
	awk '{ print int(($14 + $15) / 100) }' "/proc/${pid:-none}/stat" 2>/dev/null || echo 0
}

# lines_of HOST: pass on what it says. Return: 1 if it stands still: it said nothing in the time of a CPU
# that would be plenty, or for long did not even want one. The time on the wall tells how busy this machine is.
lines_of()
{
	local line part='' ended step=10 quiet=0 heard spent
	heard=$(spent_seconds)
	while :; do
		ended=0
		IFS= read -r -t "$step" -u "$1" line || ended=$?
		part+=$line
		case $ended in
		0)
			echo "$part"
			part='' quiet=0 heard=$(spent_seconds)
			continue
			;;
		1)
			printf %s "$part"
			return 0
			;;
		esac
		quiet=$((quiet + step)) spent=$(($(spent_seconds) - heard))
		[ "$spent" -lt "$silence" ] || return 1
		[ "$quiet" -lt "$silence" ] || [ "$((spent * 100))" -ge "$quiet" ] || return 1
	done
}

# counting_host: one host with --icount. The emulator gives a guest an interrupt twice if the time of a
# timer comes just after KVM injected it: VMRUN leaves the vector behind (exception_index), and a loop
# that ends for the timer takes it for an exception that is still to be raised, also with interrupts
# off. Linux then waits for ever for a lock that it holds itself, in PAUSE instructions that take long
# but hardly move this clock. So a host that says nothing for a while is started again.
counting_host()
{
	local attempt host lines ended status
	for ((attempt = 1; attempt <= attempts; attempt++)); do
		exec {lines}< <(emulated_host 1)
		host=$! children=($!) ended=1 status=0
		lines_of "$lines" >"$work/output" || ended=0
		exec {lines}<&-
		[ "$ended" -eq 1 ] || kill -TERM "$host"
		wait "$host" || status=$?
		children=()
		if [ "$ended" -eq 1 ]; then
			cat "$work/output"
			return "$status"
		fi
		echo "host: stood still, attempt $attempt; the last it said: $(tail -n 1 "$work/output")" >&2
		rm -rf "$work/host1"
	done
	cat "$work/output"
	fail "the emulated host stood still each time"
}

# Return: the worst status of all
run_emulated()
{
	local kernel number lines printers=() status=0 one
	# The cloud kernel is smaller, the generic one has 9p.
	[ "$tree" -eq 1 ] && kernel=generic || kernel=cloud
	kernel=$("$here/kernels.sh" "${host_kernel:-$kernel}") || fail "no kernel for the emulated host"
	make_initrd
	if [ "$icount" -eq 1 ]; then
		counting_host
		return
	fi
	if [ "$hosts" -eq 1 ]; then
		emulated_host 1
		return
	fi
	for ((number = 1; number <= hosts; number++)); do
		exec {lines}> >(sed -u '')
		printers+=($!)
		emulated_host "$number" >&"$lines" &
		children+=($!)
		exec {lines}>&-
	done
	for number in "${children[@]}"; do
		one=0
		wait "$number" || one=$?
		[ "$one" -le "$status" ] || status=$one
	done
	children=()
	wait "${printers[@]}"
	return "$status"
}

parse "$@"
[ -x "$lkvm" ] || fail "no lkvm at '$lkvm'; run make first"
exec 3<&0
[ "$terminal" -eq 1 ] || exec 3</dev/null
work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX") children=() tty_state='' disk_folder=''
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
[ "$terminal" -eq 0 ] || tty_state=$(stty -g)
make_job
if [ "$auto" -eq 1 ] && "$lkvm" check >/dev/null 2>&1; then
	run_here
else
	run_emulated
fi
