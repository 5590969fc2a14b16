#!/usr/bin/env bash
# The tests of tests/testbed/session.sh, where KVM can run Linux; $CLOUD, $GENERIC, $RT and $BACKPORT are
# kernels of Debian, with their modules beside them. session-host.sh has those about the host.
tests="
uname      uname -r; what is printed is the command's alone
+rt        uname -r, a status, a signal: with PREEMPT_RT
+backport  the same with Linux 6.12
status     exit statuses: its own, not found, not executable, killed, started in no folder
+shell     a kernel alone: a shell; with root= a boot as ever
streams    three byte-exact streams, 16 MB each way
+pipes     64 MiB through a pipe each way
+arguments 10000 arguments of any bytes; the environment
world      the tree is read-only, a layer over it is not; --rw, --ro, --hide, --root, --cwd
setting    what the guest has: time, zone, file systems, network, name, processes; no service of the host
+p9        by 9P with a kernel without virtio-fs
+dax       --dax on: the tree and what is shared with --rw are the host's own pages
+modules   modprobe: of a package that is only unpacked, of a build, in a root without modules
+disk      --root with an image: raw and qcow2, with partitions, written
terminal   a pseudo terminal with its size, and keys
ends       the guest ends before the command: power-off, panic, --timeout
+crashes   the kernel panics: early, without init, while it boots, under a command, under its output
+logs      --kernel-log, --result
+ktap      --ktap, --junit: of the command's output, of the kernel's log
+limits    --boot-timeout, --idle-timeout; backtraces
+splats    --fail-on, --allow
+many      eight at once; what is left then
exec       lkvm exec: streams, statuses, arguments, signals, its end, several at once
+exec-tty  lkvm exec on a terminal
+detach    lkvm run --detach, with a command and without; lkvm list tells of it
+console   lkvm console: the kernel's console of a guest in the background, and a shell there
user       as an ordinary user with /dev/kvm, who writes as himself; HOME read-only, HOME unset
+container without /dev/shm and most of /dev
+spaces    a kernel in a folder with blanks in its name
kill       kill -9 leaves the socket and nothing else, and that goes too
warm       a warm start is a cold one but for the time it takes; the list of them
saved      a command that runs when its guest is saved: it goes on, and so do lkvm exec, copies, another command
+dax-saved a file that is mapped with --dax on when its guest is saved, and one that is another by then
+lists     modprobe in a guest that goes on elsewhere; its modules are gone there, or others
+warm-bad  warm starts that are damaged, full, nobody's, of many at once, killed
+shrinks   memory that a command's guest frees goes back to the host; lkvm balloon
+pmem      --pmem with a command: it is read and written; a file system on it, with DAX, that two guests read
screen     Linux's drivers on the screen, the keyboard and the pointer; VNC
+memory    memory of lkvm besides guest RAM, at the prompt of a shell
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
# shellcheck source=tests/testbed/session-host.sh
. "$here/session-host.sh"
# shellcheck source=tests/testbed/session-warm.sh
. "$here/session-warm.sh"

test_uname()
{
	local kernel
	for kernel in cloud generic; do
		local file=$CLOUD
		[ $kernel = cloud ] || file=$GENERIC
		session uname-$kernel "$file" -- uname -r </dev/null
		expect_status uname-$kernel 0
		expect_text uname-$kernel.out "${file##*/vmlinuz-}"
		expect_empty uname-$kernel.err
	done
	session uname-mmio "$CLOUD" --virtio-transport mmio -- uname -r </dev/null
	expect_text uname-mmio.out "${CLOUD##*/vmlinuz-}"
}

# three_by NAME KERNEL: what it is, its own status, a signal's
three_by()
{
	session "$1-uname" "$2" -- uname -r </dev/null
	expect_status "$1-uname" 0
	expect_text "$1-uname.out" "${2##*/vmlinuz-}"
	session "$1-7" "$2" -- sh -c 'echo said; echo so >&2; exit 7' </dev/null
	expect_status "$1-7" 7
	expect_text "$1-7.out" said
	expect_text "$1-7.err" so
	# shellcheck disable=SC2016
	session "$1-term" "$2" -- sh -c 'kill -TERM $$' </dev/null
	expect_status "$1-term" 143
}

test_rt() { three_by rt "$RT"; }
test_backport() { three_by backport "$BACKPORT"; }

test_status()
{
	local i
	session status-7 "$CLOUD" -- sh -c 'exit 7' </dev/null
	expect_status status-7 7
	session status-127 "$CLOUD" -- no-such-command </dev/null
	expect_status status-127 127
	expect_text status-127.err "lkvm: command 'no-such-command': No such file or directory"
	session status-126 "$CLOUD" -- /etc/passwd </dev/null
	expect_status status-126 126
	# shellcheck disable=SC2016
	session status-137 "$CLOUD" -- sh -c 'kill -9 $$' </dev/null
	expect_status status-137 137
	session status-cwd "$CLOUD" --cwd /nowhere -- true </dev/null
	expect_status status-cwd 126
	for i in 7 126 127 137; do expect_empty status-$i.out; done
}

# Nothing but a kernel: a shell, here with its commands on standard input
test_shell()
{
	echo 'uname -r; exit 4' | SHELL=/bin/bash run shell -c 1 -m 256 "$CLOUD"
	expect_status shell 4
	expect_text shell.out "${CLOUD##*/vmlinuz-}"
	run shell-root -k "$CLOUD" -c 1 -m 256 -p root=/dev/none </dev/null
	expect_status shell-root 120
}

test_streams()
{
	local sum
	head -c 16000000 /dev/urandom >in
	sum=$(sha256sum <in)
	session streams "$CLOUD" -- sh -c 'tee /dev/stderr' <in
	expect_status streams 0
	expect "standard output" [ "$(sha256sum <streams.out)" = "$sum" ]
	expect "standard error" [ "$(sha256sum <streams.err)" = "$sum" ]
	run_piped | cat >streams-pipe.got
	expect "through pipes" [ "$(sha256sum <streams-pipe.got)" = "$sum" ]
	session streams-closed "$CLOUD" -- sh -c 'cat; echo status $?' <&-
	expect_text streams-closed.out "status 1"
	# A device that has nothing more for now keeps nobody
	session streams-log "$CLOUD" -- head -c 100 </dev/kmsg
	expect_status streams-log 0
	expect "the kernel's log" [ "$(wc -c <streams-log.out)" = 100 ]
	timeout "$per_guest" lkvm run --name streams-full -k "$CLOUD" -c 1 -m 256 -- echo lost </dev/null >/dev/full 2>streams-full.err
	echo $? >streams-full.status
	expect_status streams-full 125
	expect_text streams-full.err "lkvm: guest 'streams-full': its output is incomplete: No space left on device"
}

run_piped()
{
	# shellcheck disable=SC2002
	cat in | timeout "$per_guest" lkvm run -k "$CLOUD" -c 1 -m 256 -- cat
}

test_pipes()
{
	through pipes 64 "$CLOUD"
}

test_arguments()
{
	local words i
	for ((i = 0; i < 10000; i++)); do words[i]=$'a\t"\n\\\xff'$i; done
	# shellcheck disable=SC2016
	session arguments "$CLOUD" -- bash -c 'printf "%s\0" "$@" | sha256sum; echo $#' bash "${words[@]}" </dev/null
	expect_text arguments.out "$(printf '%s\0' "${words[@]}" | sha256sum)"$'\n10000'
	# shellcheck disable=SC2016
	A=one B=two session arguments-env "$CLOUD" --env A --env C=' x ' -- sh -c 'echo "$A,$B,$C,$HOME"' </dev/null
	expect_text arguments-env.out "one,, x ,/root"
}

test_world()
{
	mkdir -p rw 'ro folder' tree
	echo shown >'ro folder/file'
	session world "$CLOUD" --rw "$work/rw" --ro "$work/ro folder:/mnt/ro" --hide "$here" --cwd "$work/rw" -- sh -c '
		echo new >made && pwd && cat /mnt/ro/file && ls '"$here"' | wc -l
		echo changed >'"$work"'/bin/file && cat '"$work"'/bin/file
		(echo x >/mnt/ro/file) 2>/dev/null || echo refused
		id -u; cat /proc/1/comm; ls -d /sys/kernel /dev/null /dev/pts/ptmx; hostname; cat /proc/sys/kernel/ostype' </dev/null
	expect_status world 0
	expect_text world.out "$work/rw"$'\nshown\n0\nchanged\nrefused\n0\ninit\n/dev/null\n/dev/pts/ptmx\n/sys/kernel\nworld\nLinux'
	expect "written by the guest" [ "$(cat rw/made)" = new ]
	expect "nothing else is" [ ! -e bin/file ]
	mkdir -p tree/bin tree/inside
	cp /bin/busybox tree/bin/sh
	session world-root "$CLOUD" --root tree -- sh -c 'echo /i*; pwd' </dev/null
	expect_text world-root.out $'/inside\n/'
}

# In the guest: what is mounted, what runs, what it has been given
setting='
	date "+clock %s"; date "+zone %Z"; env -u TZ date "+localtime %Z"
	for at in /proc /sys /dev /dev/pts /dev/shm /dev/mqueue /run /sys/fs/cgroup /sys/fs/bpf \
		/sys/kernel/debug /sys/kernel/tracing; do
		echo "$at $(stat -f -c %T $at)"
	done
	: >/dev/shm/x && : >/run/x && : >/tmp/x && : >/x && echo "writable"
	mkdir /sys/fs/cgroup/mine && echo $$ >/sys/fs/cgroup/mine/cgroup.procs && cat /proc/self/cgroup
	grep -c -w -e cpu -e memory -e pids /sys/fs/cgroup/cgroup.controllers
	cat /sys/kernel/tracing/current_tracer
	ls /sys/class/net /proc/sys/fs/binfmt_misc
	cat /sys/class/net/lo/flags; grep -o -m 1 127.0.0.1 /proc/net/fib_trie
	hostname; id -u; umask; pwd
	set -- /proc/[0-9]*/exe; ls -l "$@" 2>/dev/null | sed -n "s/.* -> //p"
	ls /proc/self/fd | wc -w; ls -l /proc/self/fd/0 | grep -c pipe
	sed -n "s/^Sig[BI][lg][kn]:.//p" /proc/self/status'

test_setting()
{
	local began clock
	began=$(date +%s)
	TZ=Asia/Kathmandu session setting "$CLOUD" -- sh -c "$setting" </dev/null
	expect_status setting 0
	clock=$(sed -n 's/^clock //p' setting.out)
	expect "the clock is this host's" [ "$clock" -ge "$began" ] && [ "$clock" -le "$(date +%s)" ]
	sed -i 1d setting.out
	expect_text setting.out "zone +0545
localtime $(env -u TZ date +%Z)
/proc proc
/sys sysfs
/dev tmpfs
/dev/pts devpts
/dev/shm tmpfs
/dev/mqueue mqueue
/run tmpfs
/sys/fs/cgroup cgroup2fs
/sys/fs/bpf bpf_fs
/sys/kernel/debug debugfs
/sys/kernel/tracing tracefs
writable
0::/mine
1
nop
/proc/sys/fs/binfmt_misc:

/sys/class/net:
lo
0x9
127.0.0.1
setting
0
0022
$work
/init
$(readlink -f "$(command -v sh)")
4
1
0000000000000000
0000000000000000"
	expect_empty setting.err
}

# A kernel without virtio-fs
test_p9()
{
	local base=${GENERIC%/boot/*}
	mkdir -p p9/boot rw9
	cp "$GENERIC" p9/boot/
	cp -rs "$base/lib" p9/
	for list in p9/lib/modules/*/modules.{order,dep}; do
		sed '/virtiofs/d' "$list" >shorter && mv shorter "$list"
	done
	session p9 "$work/p9/boot/${GENERIC##*/}" --debug boot --rw "$work/rw9" --cwd "$work/rw9" -- sh -c '
		uname -r; echo new >made; cut -d " " -f 1-3 /proc/mounts | grep " 9p$"; echo x >/etc/new && cat /etc/new' </dev/null
	expect_status p9 0
	expect_text p9.out "${GENERIC##*/vmlinuz-}"$'\n'"lkvm.share0 $work/rw9 9p"$'\nx'
	expect "written by the guest" [ "$(cat rw9/made)" = new ]
	expect "why" grep -q "files come by 9p, as the kernel has no virtio-fs" p9.err
}

# The host's part in fs-dax.c: share
dax_words()
{
	wait_line dax "guest: dax: written"
	expect "the guest's word" [ "$(tail -c +1048577 daxrw/file | head -c 12)" = "guest's word" ]
	printf '#' | dd of=daxrw/file bs=1M seek=2 conv=notrunc status=none
}

# The shell and what it starts are mapped, too.
test_dax()
{
	mkdir daxrw
	head -c 4194304 /dev/zero | tr '\0' . >daxrw/file
	dax_words &
	session dax "$CLOUD" --dax on --rw "$work/daxrw" --cwd "$work/daxrw" -- sh -c '
		"$0" is /etc/passwd; "$0" is file; "$0" share file; cp "$0" program; ./program hello; exit 7' "$FS_DAX" </dev/null
	wait
	expect_status dax 7
	expect_text dax.out "guest: dax: without a copy
guest: dax: without a copy
guest: dax: written
guest: dax: the host's word
guest: dax: hello"
	expect_empty dax.err
	expect "the program is the host's" cmp "$FS_DAX" daxrw/program
	session dax-off "$CLOUD" --rw "$work/daxrw" -- "$FS_DAX" is /etc/passwd </dev/null
	expect_text dax-off.out "guest: dax: with a copy"
}

# A folder as make leaves it: modules, but none installed
make_build()
{
	local base=${CLOUD%/boot/*} release=$1
	mkdir -p build/arch/x86/boot build/include/config
	cp "$CLOUD" build/arch/x86/boot/bzImage
	echo "$release" >build/include/config/kernel.release
	cp -rs "$base/lib/modules/$release/kernel/." build/
	sed 's|^kernel/||; s|ko$|o|' "$base/lib/modules/$release/modules.order" >build/modules.order
	cp "$base/lib/modules/$release/"modules.builtin* build/
}

# By kmod, and by the kernel itself, which asks for fs-squashfs
test_modules()
{
	local release=${CLOUD##*/vmlinuz-}
	local folder=/lib/modules/$release
	make_build "$release"
	cat >in-guest <<-'END'
		modprobe fs-vfat && grep -c -E '^v?fat ' /proc/modules
		modinfo -n loop && modprobe loop && modprobe -r vfat fat && modprobe 8250_base
		mount -t squashfs none /mnt 2>/dev/null
		grep -c '^squashfs ' /proc/modules
	END
	session modules "$CLOUD" -- sh in-guest </dev/null
	expect_status modules 0
	expect_text modules.out $'2\n'"$folder/kernel/drivers/block/loop.ko"$'\n1'
	session modules-built "$work/build" -- sh in-guest </dev/null
	expect_status modules-built 0
	expect_text modules-built.out $'2\n'"$folder/kernel/drivers/block/loop.ko"$'\n1'
	# shellcheck disable=SC2016
	session modules-folder "$work/build" -- sh -c 'cd /lib/modules/$(uname -r) && ls && ls build/arch' </dev/null
	expect_status modules-folder 0
	expect "the lists are seen" grep -qx modules.dep.bin modules-folder.out
	expect "the build" grep -qx x86 modules-folder.out
	# shellcheck disable=SC2016
	session modules-hidden "$work/build" --hide "$work/build/" -- sh -c '
		ls /lib/modules/$(uname -r) 2>/dev/null; echo $?' </dev/null
	expect_text modules-hidden.out 2
	mkdir -p bare/bin
	cp /bin/busybox bare/bin/
	session modules-bare "$CLOUD" --root bare -- /bin/busybox sh -c '
		busybox modprobe vfat && busybox grep -c -E "^v?fat " /proc/modules' </dev/null
	expect_status modules-bare 0
	expect_text modules-bare.out 2
}

# With the generic kernel, whose ext4 is a module and wants crypto-crc32c
test_disk()
{
	local text
	mkdir -p disk/bin disk/etc
	cp /bin/busybox disk/bin/
	ln -s busybox disk/bin/sh
	truncate -s 16M raw.img
	/sbin/mke2fs -q -F -t ext4 -d disk raw.img
	qemu-img convert -q -O qcow2 raw.img image.qcow2
	cp raw.img before.img
	# shellcheck disable=SC2016
	text='busybox ls /; busybox modprobe vfat && busybox grep -c "^vfat " /proc/modules; echo x >/etc/new && busybox cat /etc/new'
	session disk-raw "$GENERIC" --root raw.img -- sh -c "$text" </dev/null
	expect_status disk-raw 0
	expect_text disk-raw.out $'bin\ndev\netc\nlib\nlost+found\nproc\nrun\nsys\n1\nx'
	expect "nothing was written" cmp raw.img before.img
	session disk-qcow2 "$CLOUD" --root image.qcow2 -- sh -c 'cd /etc && pwd; exit 3' </dev/null
	expect_status disk-qcow2 3
	expect_text disk-qcow2.out /etc
	truncate -s 40M parts.img
	# A partition table: 8 MiB at 1 MiB, 16 MiB at 9 MiB
	printf '\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x40\0\0\0\0\0\0\x83\0\0\0\0\x48\0\0\0\x80\0\0' |
		dd of=parts.img bs=1 seek=446 conv=notrunc status=none
	printf '\x55\xaa' | dd of=parts.img bs=1 seek=510 conv=notrunc status=none
	dd if=raw.img of=parts.img bs=1M seek=9 conv=notrunc status=none
	session disk-parts "$GENERIC" --root parts.img,ro=off -- sh -c 'echo kept >/etc/new' </dev/null
	expect_status disk-parts 0
	dd if=parts.img of=after.img bs=1M skip=9 count=16 status=none
	expect "it is clean" /sbin/e2fsck -fn after.img
	expect "it was written" [ "$(/sbin/debugfs -R 'cat /etc/new' after.img 2>/dev/null)" = kept ]
	truncate -s 16M none.img
	session disk-none "$CLOUD" --root none.img -- true </dev/null
	expect_status disk-none 122
	expect "why" grep -q "no file system that is known and has a root on 'vda'" disk-none.err
}

test_terminal()
{
	on_terminal terminal expect '# ' send $'stty size; tty\r' expect '/dev/pts/0' send $'exit 5\r' \
		expect 'status 5' -- sh -c 'lkvm run -k "$CLOUD" -c 1 -m 256 -- sh; echo status $?'
}

# read_late NAME: how many bytes standard input has, once there is no such guest any more
read_late()
{
	until lkvm list | grep -q "$1"; do sleep 0.2; done
	while lkvm list | grep -q "$1"; do sleep 0.2; done
	wc -c
}

test_ends()
{
	session ends-off "$CLOUD" -- sh -c 'echo o >/proc/sysrq-trigger; sleep 100' </dev/null
	expect_status ends-off 122
	# What it has printed is read when it has ended: more than a pipe holds.
	timeout "$per_guest" lkvm run --name ends-late -k "$CLOUD" -c 1 -m 256 -- sh -c '
		head -c 200000 /dev/zero; sleep 3; echo o >/proc/sysrq-trigger; sleep 100' </dev/null 2>ends-late.err |
		read_late ends-late >ends-late.out
	expect_text ends-late.out 200000
	session ends-panic "$CLOUD" -- sh -c 'echo c >/proc/sysrq-trigger' </dev/null
	expect_status ends-panic 120
	session ends-timeout "$CLOUD" --timeout 40 -- sleep 1000 </dev/null
	expect_status ends-timeout 124
}

# crash NAME OPTION...: it ends by a panic, which is told
crash()
{
	session "$@"
	expect_status "$1" 120
	expect "$1: the panic is told" grep -q "^lkvm: guest '$1' panicked: Kernel panic - not syncing: " "$1.err"
}

# The magic SysRq c, as soon as the kernel listens to it
crash_by_key()
{
	local i
	for ((i = 0; i < 600; i++)); do
		[ ! -s "$1.status" ] || return
		lkvm debug --sysrq c "$1" >/dev/null 2>&1
		sleep 0.1
	done
}

test_crashes()
{
	# shellcheck disable=SC2016
	crash crashes-early "$CLOUD" -p 'memmap=256M$0' -- true </dev/null
	crash crashes-init "$CLOUD" -p rdinit=/none -- true </dev/null
	crash_by_key crashes-boot &
	crash crashes-boot "$CLOUD" -- sleep 1000 </dev/null
	wait
	crash crashes-first "$CLOUD" -- sh -c 'exec echo c >/proc/sysrq-trigger' </dev/null
	# more than anybody reads at once; what the guest has sent by then comes out
	crash crashes-output "$CLOUD" -- sh -c '
		cat /dev/zero & sleep 2; echo c >/proc/sysrq-trigger' </dev/null
	expect "output" [ -s crashes-output.out ]
	: >crashes-output.out # not to be shown
}

test_logs()
{
	session logs "$CLOUD" --kernel-log kernel.log --result result.json -- sh -c 'echo mark >/dev/kmsg; exit 3' </dev/null
	expect_status logs 3
	expect "the first line" grep -q '^\[    0\.000000\] Linux version 6\.' kernel.log
	expect "a line of the guest" grep -q '\] mark$' kernel.log
	expect "the status in the result" grep -q '"command_status": 3,' result.json
	expect "the reason in the result" grep -q '"reason": "command",' result.json
}

test_ktap()
{
	local text='TAP version 13\n1..2\n# ok\nok 1 a\nnot ok 2 b\r\n\377\0'
	# shellcheck disable=SC2059
	printf "$text" >ktap.want
	session ktap "$CLOUD" --ktap -- printf "$text" </dev/null
	expect_status ktap 1
	expect "the output goes out as it is" cmp ktap.out ktap.want
	expect_text ktap.err $'lkvm: ktap: failed: b\nlkvm: ktap: 1 passed, 1 failed, 0 skipped'
	session ktap-log "$CLOUD" --junit junit.xml -- sh -c '
		for line in "KTAP version 1" 1..1 "    KTAP version 1" "    # Subtest: s" "    ok 1 a" "ok 1 s"; do
			echo "$line" >/dev/kmsg
		done; exit 7' </dev/null
	expect_status ktap-log 7
	expect_text ktap-log.err 'lkvm: ktap: 1 passed, 0 failed, 0 skipped'
	expect "JUnit XML" grep -q '<testcase classname="s" name="a"></testcase>' junit.xml
}

test_limits()
{
	session limits-idle "$CLOUD" --boot-timeout 200 --idle-timeout 25 --kernel-log kernel.log --result limits.json -- sh -c '
		for i in 1 2 3; do echo $i; sleep 10; done; sleep 1000' </dev/null
	expect_status limits-idle 124
	expect_text limits-idle.out $'1\n2\n3'
	expect "which limit" grep -q "^lkvm: guest 'limits-idle' ended: --idle-timeout 25 passed" limits-idle.err
	expect "the backtrace in the log" grep -q 'Show backtrace of all active CPUs' kernel.log
	expect "where it was: idle" grep -q ' cpu_startup_entry' kernel.log
	expect "the last lines" grep -q 'backtrace' limits-idle.err
	expect "the same in the result" grep -q '"limit": "--idle-timeout"' limits.json
	session limits-boot "$CLOUD" --warm=off --boot-timeout 1 -- true </dev/null
	expect_status limits-boot 124
	expect "which limit" grep -q "^lkvm: guest 'limits-boot' ended: --boot-timeout 1 passed" limits-boot.err
}

# What a program writes into the kernel's log counts as the kernel's.
test_splats()
{
	local line='WARNING: CPU: 0 PID: 1 at here.c:1 nobody+0x0/0x1'
	session splats "$CLOUD" --fail-on all --result splats.json -- sh -c "echo '$line' >/dev/kmsg; exit 3" </dev/null
	expect_status splats 123
	expect_text splats.err "lkvm: guest 'splats': forbidden kernel message: $line"
	expect "the command's own status" grep -q '"command_status": 3,' splats.json
	echo 'nobody\+' >allow
	session splats-allowed "$CLOUD" --fail-on all --allow allow -- sh -c "echo '$line' >/dev/kmsg; exit 3" </dev/null
	expect_status splats-allowed 3
	expect_empty splats-allowed.err
}

shrunk() { [ "$(lkvm stat "$1" | sed -n 's/^RAM: .*, of which \([0-9]*\)[.0-9]*MB resident$/\1/p')" -le "$2" ]; }

# The driver is loaded by the guest's init, before the command and before what a warm start goes on from.
test_shrinks()
{
	local start
	for start in cold warm; do
		session shrinks-$start "$CLOUD" -p lkvm.shrinks -- sleep 1000 </dev/null &
		expect "it boots" booted shrinks-$start
		try shrinks-fill 0 lkvm exec shrinks-$start -- sh -c 'head -c 80M /dev/zero | tr "\0" x >/dev/shm/filled' </dev/null
		expect "it is there ($start)" lkvm exec shrinks-$start -- test -s /dev/shm/filled </dev/null
		shrunk shrinks-$start 79 && complain "less than what was filled is there ($start)"
		try shrinks-free 0 lkvm exec shrinks-$start -- rm /dev/shm/filled </dev/null
		wait_until "less memory of guest shrinks-$start" shrunk shrinks-$start 110
		try shrinks-balloon 0 lkvm balloon shrinks-$start 200M
		expect_text shrinks-balloon.out $'200MB of 256MB'
		lkvm stop shrinks-$start
		wait_end shrinks-$start
	done
	session shrinks-off "$CLOUD" --no-balloon -- sh -c '! grep ^virtio_balloon /proc/modules' </dev/null
	expect_status shrinks-off 0
}

test_pmem()
{
	# shellcheck disable=SC2016
	local use='while [ ! -b /dev/pmem0 ]; do sleep 0.1; done; cat /sys/block/pmem0/size; head -c 5 /dev/pmem0; echo'
	printf hello >pmem-file
	truncate -s 2M pmem-file
	session pmem "$CLOUD" --pmem pmem-file -- \
		sh -c "$use"'; printf HELLO | dd of=/dev/pmem0 conv=fsync,notrunc 2>/dev/null' </dev/null
	expect_status pmem 0
	expect_text pmem.out $'4096\nhello'
	expect "what was written" [ "$(head -c 5 pmem-file)" = HELLO ]
	session pmem-ro "$CLOUD" --pmem pmem-file,ro -- sh -c "$use" </dev/null
	expect_text pmem-ro.out $'4096\nHELLO'

	local i sum mount='mount -o dax,$OPTION /dev/pmem0 "$0" && grep -c "^/dev/pmem0 .*dax=always" /proc/mounts'
	mkdir pmem-tree pmem-mount
	flow 16 >pmem-tree/data
	sum=$(md5sum <pmem-tree/data)
	mkfs.ext4 -q -F -b 4096 -O ^has_journal -d pmem-tree pmem-image 24M >/dev/null
	for i in 1 2; do
		session pmem-dax$i "$CLOUD" --warm=off --pmem pmem-image,ro --rw "$work" -- \
			env OPTION=ro sh -c "$mount"' && md5sum <"$0/data"' "$work/pmem-mount" </dev/null &
	done
	wait
	for i in 1 2; do
		expect_status pmem-dax$i 0
		expect_text pmem-dax$i.out "1"$'\n'"$sum"
	done
	session pmem-write "$CLOUD" --pmem pmem-image --rw "$work" -- \
		env OPTION=rw sh -c "$mount"' && echo more >"$0/more" && umount "$0"' "$work/pmem-mount" </dev/null
	expect_status pmem-write 0
	expect "the file system is good" e2fsck -fn pmem-image >pmem-write.err 2>&1
	expect "what it has written" [ "$(debugfs -R 'cat /more' pmem-image 2>/dev/null)" = more ]
}

test_exec()
{
	local words i pid
	session execs "$CLOUD" --rw "$work" -- sleep 1000 </dev/null &
	expect "it boots" booted execs
	head -c 4000000 /dev/urandom >exec-in
	try exec-streams 7 lkvm exec execs -- sh -c 'tee /dev/stderr; exit 7' <exec-in
	expect "standard output" cmp exec-in exec-streams.out
	expect "standard error" cmp exec-in exec-streams.err
	: >exec-streams.out # not to be shown
	: >exec-streams.err
	try exec-127 127 lkvm exec execs -- no-such-command </dev/null
	expect_text exec-127.err "lkvm: command 'no-such-command': No such file or directory"
	# shellcheck disable=SC2016
	try exec-137 137 lkvm exec execs -- sh -c 'kill -9 $$' </dev/null
	try exec-full 125 sh -c 'lkvm exec execs -- echo lost </dev/null >/dev/full'
	expect_text exec-full.err "lkvm: command 'echo': its output is incomplete: No space left on device"
	try exec-world 0 lkvm exec --env A=' x ' --cwd / execs -- sh -c 'echo "$A,$HOME"; pwd; hostname' </dev/null
	expect_text exec-world.out $' x ,/root\n/\nexecs'
	try exec-cwd 0 lkvm exec execs -- pwd </dev/null
	expect_text exec-cwd.out "$work"
	for ((i = 0; i < 10000; i++)); do words[i]=$'a\t"\n\\\xff'$i; done
	# shellcheck disable=SC2016
	try exec-words 0 lkvm exec execs -- bash -c 'printf "%s\0" "$@" | sha256sum; echo $#' bash "${words[@]}" </dev/null
	expect_text exec-words.out "$(printf '%s\0' "${words[@]}" | sha256sum)"$'\n10000'
	for i in 1 2 3 4 5 6 7 8; do
		{ lkvm exec execs -- sh -c "cat; exit $i" <<<"$i" >exec-$i.out; echo $? >exec-$i.status; } &
		pid[i]=$!
	done
	for i in 1 2 3 4 5 6 7 8; do
		wait "${pid[i]}"
		expect_status exec-$i $i
		expect_text exec-$i.out "$i"
	done
	test_exec_ends
	lkvm stop execs >/dev/null
	wait
	try exec-none 1 lkvm exec execs -- true </dev/null
	expect_text exec-none.err "lkvm: no guest named 'execs' is running"
}

# Signals to lkvm exec; it is killed; the guest's own end
test_exec_ends()
{
	local pid status=0
	lkvm exec execs -- sh -c 'trap "exit 9" TERM; : >trapped; while :; do sleep 0.1; done' </dev/null &
	pid=$!
	expect "it runs" in_guest execs test -e trapped
	kill -TERM $pid
	wait $pid || status=$?
	expect "its end by SIGTERM" [ $status = 9 ]
	status=0
	lkvm exec execs -- sh -c 'exec 2>/dev/null; trap ": >asked" TERM; trap ": >left; exit" HUP; : >waits; while :; do sleep 0.1; done' </dev/null &
	pid=$!
	expect "it runs" in_guest execs test -e waits
	kill -TERM $pid
	expect "it has had SIGTERM" in_guest execs test -e asked
	kill -TERM $pid
	wait $pid || status=$?
	expect "nobody waits any more" [ $status = 143 ]
	expect "it has had SIGHUP" in_guest execs test -e left
	lkvm exec execs -- sh -c 'exec 2>/dev/null; trap ": >hung-up; exit" HUP; : >ready; while :; do sleep 0.1; done' </dev/null &
	pid=$!
	expect "it runs" in_guest execs test -e ready
	kill -KILL $pid
	expect "it has had SIGHUP" in_guest execs test -e hung-up
}

test_exec-tty()
{
	local keys
	session terminals "$CLOUD" --rw "$work" -- sleep 1000 </dev/null &
	expect "it boots" booted terminals
	on_terminal exec-tty expect '# ' send $'stty size; tty\r' expect '/dev/pts/0' send $'exit 5\r' \
		expect 'status 5' -- sh -c 'lkvm exec terminals -- sh; echo status $?'
	keys='trap ": >tty-hung-up; exit" HUP; echo begun; while :; do sleep 0.1; done'
	on_terminal exec-leave expect begun send $'\001x' expect 'status 129' -- \
		sh -c "lkvm exec terminals -- sh -c '$keys'; echo status \$?"
	expect "it has had SIGHUP" in_guest terminals test -e tty-hung-up
	echo typed | try exec-forced 0 lkvm exec -t terminals -- sh -c 'read -r x; echo "<$x>"; tty'
	expect "a terminal without one here" grep -q '<typed>' exec-forced.out
	# A terminal at standard input only is read here, line by line
	on_terminal exec-line send $'word\r' send $'\004' expect 'got word' -- \
		sh -c 'lkvm exec terminals -- cat | sed "s/^/got /"'
	lkvm stop terminals >/dev/null
	wait
}

test_detach()
{
	local i
	try detach-idle 0 lkvm run --detach --name idle -k "$CLOUD" -c 1 -m 256 </dev/null
	expect_text detach-idle.out idle
	try detach-exec 5 lkvm exec idle -- sh -c 'echo there; exit 5' </dev/null
	expect_text detach-exec.out there
	expect "no command is told of" [ "$(lkvm list --json idle | jq '.[0].command')" = null ]
	lkvm stop idle >/dev/null
	try detach-command 0 lkvm run --detach --name busy -k "$CLOUD" -c 1 -m 256 --result busy.json -- \
		sh -c 'sleep 15; exit 3' </dev/null
	expect_text detach-command.out busy
	expect "its command" [ "$(lkvm list --json busy | jq -c '.[0].command')" = '["sh","-c","sleep 15; exit 3"]' ]
	for ((i = 0; i < 600; i++)); do
		[ -s busy.json ] && break
		sleep 0.1
	done
	expect "the command's status" grep -q '"command_status": 3,' busy.json
	try detach-gone 1 lkvm exec busy -- true </dev/null
}

test_console()
{
	local follower keys=$'\001'
	try console-run 0 lkvm run --detach --name looked-at -k "$CLOUD" -c 1 -m 256 </dev/null
	lkvm console looked-at </dev/null >console-all.out 2>console-all.err &
	follower=$!
	expect "a message" in_guest looked-at sh -c 'echo "<1>marker one" >/dev/kmsg'
	on_terminal console-tty expect 'marker one' raw send "${keys}bh" expect 'sysrq: HELP' send "${keys}d" expect 'runs on' \
		expect 'status 0' -- sh -c 'lkvm console looked-at; echo status $?'
	lkvm exec looked-at -- setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1' </dev/null &
	on_terminal console-shell expect '# ' raw send $'echo $((6 * 7)); exit\r' expect 42 send "${keys}d" -- \
		lkvm console looked-at
	lkvm stop looked-at >/dev/null
	wait $follower
	echo $? >console-all.status
	expect_status console-all 0
	expect "one who looks from the begin on sees all of it" grep -q 'marker one' console-all.out
	expect "the shell's too" grep -q '^42' console-all.out
	wait
}

# drawn FILE WHAT: as picture.py says what guest "screen" shows
drawn()
{
	lkvm screenshot screen "$1" 2>/dev/null && [ "$(python3 "$here/../functional/picture.py" drawn "$1")" = "$2" ]
}

shows_size() { lkvm stat screen | grep -qx "screen: *output 0 shows $1"; }
heard() { grep -qx "$1" screen-hear.out; }

# The text of the kernel's console would be on the picture.
without_console()
{
	# shellcheck disable=SC2016
	try screen-bind 0 lkvm exec screen -- sh -c 'for c in /sys/class/vtconsole/vtcon*/bind; do echo 0 >$c; done' </dev/null
}

test_screen()
{
	local event
	expect "a guest" timeout "$per_guest" lkvm run --detach --name screen -k "$GENERIC" -c 1 -m 512 -p loglevel=7 --gpu=160x100 \
		--vnc unix:"$work/screen.vnc" </dev/null >screen.run 2>&1
	# Before it has a driver: what the kernel has said, then a picture
	expect "the kernel's first frame buffer" in_guest screen grep -qx 'VESA VGA' /sys/class/graphics/fb0/name
	lkvm screenshot screen text.png
	expect "text on it" [ "$(wc -c <text.png)" -gt 300 ]
	without_console
	try screen-early 0 lkvm exec screen -- python3 "$here/screen.py" draw </dev/null
	wait_until "what is drawn there" drawn early.png "160x100 at 0,0"
	try screen-modprobe 0 lkvm exec screen -- modprobe -a virtio-gpu virtio_input evdev </dev/null
	wait_until "virtio-gpu's, instead" in_guest screen grep -qx virtio_gpudrmfb /sys/class/graphics/fb0/name
	expect "no other one" in_guest screen sh -c '! grep -i vesafb /proc/iomem && ! test -e /dev/fb1'
	without_console
	try screen-draw 0 lkvm exec screen -- python3 "$here/screen.py" draw </dev/null
	expect_text screen-draw.out 160x100
	wait_until "what it has drawn" drawn screen.png "160x100 at 0,0"
	lkvm exec screen -- python3 "$here/screen.py" hear 12 </dev/null >screen-hear.out 2>&1 &
	wait_until "who listens" heard "hears lkvm keyboard lkvm tablet"
	try screen-type 0 lkvm type screen A
	try screen-click 0 lkvm click screen 159 0
	try screen-key 0 lkvm key screen ctrl-f12
	for event in "keyboard 1 42 1" "keyboard 1 30 1" "keyboard 1 30 0" "keyboard 1 42 0" "tablet 3 0 32665" "tablet 3 1 163" \
		"tablet 1 272 1" "tablet 1 272 0" "keyboard 1 29 1" "keyboard 1 88 1" "keyboard 1 88 0" "keyboard 1 29 0"; do
		wait_until "lkvm $event" heard "lkvm $event"
	done
	# What a viewer wishes is a mode that the connector has then. Linux's frame buffer does not grow, so it is a smaller one.
	timeout "$per_guest" python3 "$here/../functional/vnc.py" "unix:$work/screen.vnc" size:128,80 close \
		</dev/null >screen-viewer.out 2>&1
	expect "a viewer: $(cat screen-viewer.out)" grep -qx "160x100 screen" screen-viewer.out
	wait_until "his size" shows_size 128x80
	lkvm stop screen
}

run_tests "$@"
rm -rf "$work"
