#!/usr/bin/env bash
# lkvm run: command lines that must be refused with one line, and those that must not. No guest is
# started: a good command line gets as far as its kernel, which is not there.
. "${0%/*}/lib.sh"

missing="$T_TMP/missing"
no_kernel="kernel '$missing': No such file or directory"
flat=$T_TMP/flat
printf '\xf4' >"$flat"

refused() # MESSAGE OPTION...
{
	local message=$1
	shift
	t_fails 125 "$message" "$LKVM" run -k "$missing" "$@"
}

taken() # OPTION...
{
	refused "$no_kernel" "$@"
}

# ---- -m ----

for size in 64 64M 64m 65536K 67108864B 256 256M 262144K 268435456B 1g 1G 0000000064 67112960b; do
	taken -m "$size"
done
taken -m64
taken --mem 64
taken --mem=64M
taken -m 128 -m 64
form='(a whole number, in MB or with a unit of B, K, M, G, T or P: 1536, 1536M)'
for size in '' abc -5 +5 ' 64' '64 ' 0x100 1.5G 256MB 64MM M 64X 1e3 $'64\n'; do
	refused "Invalid memory specifier: $size $form" -m "$size"
done
for size in 0 0M 00 0P; do
	refused "Invalid RAM size: $size" -m "$size"
done
for size in 18446744073709551616 17592186044416M 16777217T 16384P 99999999999999999999999B; do
	refused "Memory too large: $size" -m "$size"
done
refused "Not enough memory specified: 63MB (min 64MB)" -m 63
refused "Not enough memory specified: 1MB (min 64MB)" -m 1048576B
refused "Not enough memory specified: 67108863B (min 64MB)" -m 67108863B
refused "Memory size 67108865B is not a multiple of the page size (4096B)" -m 67108865B
refused "Invalid memory specifier: x $form" -m 64 -m x
refused "option '--9p': '/tmp' is not DIR,TAG" --9p /tmp
refused "option '--9p': tag 't' is given twice" --fs /tmp,t --9p /,t
refused "option '--9p': tag 'a-tag-that-has-one-more-than-36-letters' is longer than 36 characters" \
	--9p /,a-tag-that-has-one-more-than-36-letters
refused "option '-m': argument SIZE is missing" -m

# ---- -c, --cpu ----

for cpus in 0 1 "$(nproc)"; do # more than the host has is a warning
	taken -m 64 -c "$cpus"
done
for cpus in -1 x '' 1.5 0x2 ' 1' 2M; do
	refused "Invalid number of CPUs: $cpus (1 to 4096, or 0 for all of the host's)" -c "$cpus"
done
for cpus in 4097 65536 4294967295 4294967296 18446744073709551617; do
	refused "Too many CPUs: $cpus (at most 4096)" -c "$cpus"
done
for how in 8,sockets=2,cores=2,threads=2 8,threads=2 8,sockets=2 8,cores=4 8,dies=2,sockets=2 1,threads=1 0,dies=1; do # more than the host has is a warning
	t_run "$LKVM" run -k "$missing" -m 64 -c $how
	t_is "-c $how: taken" "$(t_stderr | tail -n 1)" "lkvm: $no_kernel"
done
refused '--cpus: 8 CPUs are not 3 sockets of 1 dies of 2 cores of 1 threads, which are 6' -c 8,sockets=3
refused '--cpus: 7 CPUs are not 1 sockets of 1 dies of 3 cores of 2 threads, which are 6' -c 7,threads=2
refused '--cpus: 2 CPUs are not 1 sockets of 1 dies of 1 cores of 3 threads, which are 3' -c 2,threads=3
refused "option '--cpus': 'cores' needs a value" -c 8,cores
refused "option '--cpus': unknown 'core', did you mean 'cores'? (known: sockets, dies, cores, threads)" -c 8,core=2
refused "option '--cpus': cores '0' is not a number from 1 to 4096" -c 8,cores=0
taken -m 64 --cpu -avx2
taken -m 64 --cpu -avx2,+sse2 --cpu=-avx
taken -m 64 --cpu avx2=off,sse2,x2apic=on --cpu ''
refused "option '--cpu': unknown 'nonsense' (known: names as in /proc/cpuinfo)" --cpu -nonsense
refused "option '--cpu': unknown 'x2apc', did you mean 'x2apic'? (known: names as in /proc/cpuinfo)" --cpu +x2apc
refused "option '--cpu': 'avx2=no' is neither on nor off" --cpu avx2=no
"$LKVM" check --cpu-json >"$T_TMP/cpu,1.json"
taken -m 64 --cpu "$T_TMP/cpu,,1.json"
taken -m 64 --cpu "$T_TMP/cpu,,1.json,-avx2"
refused "option '--cpu': unknown 'x2apc', did you mean 'x2apic'? (known: names as in /proc/cpuinfo)" \
	--cpu "$T_TMP/cpu,,1.json,+x2apc"
refused "could not read CPU model 'none.json': No such file or directory" --cpu none.json
refused "could not read CPU model '/dev/null': not a regular file" --cpu /dev/null,-avx2

# ---- the rest ----

taken -m 64 --name a
taken -m 64 --name A-z_0.9
taken -m 64 --name "$(printf '%064d' 0)"
for name in '' . .. a/b 'a b' $'a\nb' "$(printf '%065d' 0)"; do
	refused "'$name' is not a guest name (1 to 64 of A-Z a-z 0-9 . _ -)" --name "$name"
done
taken -m 64 --no-acpi --dump-dtb "$T_TMP/dtb"
taken -m 64 --debug-exit
taken -m 64 --no-end-on-halt
taken -m 64 --uuid 00112233-4455-6677-8899-aAbBcCdDeEfF
for uuid in '' - 0 00112233-4455-6677-8899-aabbccddeef 00112233-4455-6677-8899-aabbccddeeff0 \
	00112233445566778899aabbccddeeff '00112233-4455-6677-8899- 1bbccddeeff' \
	00112233-4455-6677-8899 00112233-4455-6677-8899-aabbccddeegf; do
	refused "'$uuid' is not a UUID" --uuid "$uuid"
done
taken -m 64 --debug-exit=0xf4
taken -m 64 --debug-exit=1280
for port in '' x -1 0xfffd 0x10000 65536 99999999999999999999 0xf4x ' 1'; do
	refused "'$port' is not an I/O port (0 to 0xfffc)" "--debug-exit=$port"
done
for advice in merge thp dontfork dontdump; do
	taken -m 64 --mem-$advice on
	taken -m 64 --mem-$advice=off
	refused "option '--mem-$advice': 'maybe' is neither on nor off" --mem-$advice maybe
	refused "option '--mem-$advice': argument on|off is missing" --mem-$advice
done
for console in serial virtio virtio,packed virtio,packed=on virtio,packed=off; do
	taken -m 64 --console $console --tty 1 --tty 3
done
refused "option '--console': unknown 'hvc' (known: serial, virtio)" --console hvc
refused "option '--console': unknown 'virtoi', did you mean 'virtio'? (known: serial, virtio)" --console virtoi
refused "option '--console': nothing can stand behind 'serial', but 'packed' does" --console serial,packed
refused "option '--console': unknown '' (known: packed)" --console virtio,
refused "option '--console': unknown 'packet', did you mean 'packed'? (known: packed)" --console virtio,packet
for tty in 0 4 -1 x ''; do
	refused "'$tty' is not the number of a terminal (1 to 3)" --tty "$tty"
done
for transport in pci mmio mmio,cmdline; do
	taken -m 64 --virtio-transport $transport
done
for transport in '' ISA cmdline; do
	refused "option '--virtio-transport': unknown '$transport' (known: pci, mmio)" --virtio-transport "$transport"
done
refused "option '--virtio-transport': nothing can stand behind 'pci', but 'cmdline' does" --virtio-transport pci,cmdline
refused "option '--virtio-transport': unknown '' (known: cmdline)" --virtio-transport mmio,
taken -m 64 --rng
for rng in on off packed packed=off on,packed on,packed=on; do
	taken -m 64 --rng=$rng
done
for rng in maybe '' once; do
	refused "option '--rng': unknown '$rng' (known: on, packed, off)" --rng=$rng
done
refused "option '--rng': 'packed=maybe' is neither on nor off" --rng=packed=maybe
refused "option '--rng': nothing can stand behind 'off', but 'packed' does" --rng=off,packed
for rng in "on," "on,packed,"; do
	refused "option '--rng': unknown '' (known: packed)" --rng=$rng
done
for pages in 3M 2m; do
	refused "option '--hugepages': unknown '$pages', did you mean '2M'? (known: 2M, 1G)" "--hugepages=$pages"
done
refused "option '--hugepages': unknown '' (known: 2M, 1G)" --hugepages=
refused "option '--hugepages': nothing can stand behind '2M', but '1G' does" --hugepages=2M,1G
refused "option '--mem-share': takes no argument, but got 'yes'" --mem-share=yes
for time in 1 90 1s 90s 5m 2h 1d 0001 1000000000 11574d; do
	taken -m 64 --timeout $time
done
no_time='is not a time (90, 90s, 5m, 2h, 1d; 1 to 1000000000 seconds)'
for time in 0 -1 x '' 1000000001 4294967297 18446744073709551617 11575d 99999999999d s 0m 1.5m 1m1 1mm ' 1' '1 ' 1M; do
	refused "option '--timeout': '$time' $no_time" --timeout "$time"
done
taken -m 64 --idle-timeout 5m --timeout 1h
refused "option '--idle-timeout': '0' $no_time" --idle-timeout 0
refused "option '--boot-timeout': '1w' $no_time" --boot-timeout 1w
taken -m 64 --ktap --junit "$T_TMP/junit.xml"
taken -m 64 --fail-on warn,bug --fail-on=all,-hung --fail-on ''
kinds='warn, bug, oops, kasan, ubsan, lockdep, hung, rcu, kmemleak, all'
refused "option '--fail-on': unknown 'lockdpe', did you mean 'lockdep'? (known: $kinds)" --fail-on warn,lockdpe
printf '# fine\nx(\n' >"$T_TMP/allow"
refused "option '--allow': '$T_TMP/nowhere': No such file or directory" --fail-on bug --allow "$T_TMP/nowhere"
refused "option '--allow': $T_TMP/allow:2: 'x(': Unmatched ( or \\(" --fail-on bug --allow "$T_TMP/allow"
echo x >"$T_TMP/allow"
taken -m 64 --allow "$T_TMP/allow" --fail-on bug
refused "--allow excepts from --fail-on, which is not there" --allow "$T_TMP/allow"
taken -m 64 --reset-status 0 --reset-status 255
for key in none ^a ^A ^] ^_ '^['; do
	taken -m 64 --escape "$key"
done
for key in '' ^ a ^^^ ^1 ^@ ^? ^ab off; do
	refused "option '--escape': '$key' is neither none nor ^ and one of a to z [ \\ ] ^ _" --escape "$key"
done
refused "option '--reset-status': '256' is not a whole number from 0 to 255" --reset-status 256
taken -m 64 --debug ''
taken -m 64 --debug cpu,+ipc --debug ioport=on,mmio=off
taken -m 64 --debug all,-boot,-ram,device=off
topics='boot, ram, ioport, mmio, cpu, ipc, device, all'
refused "option '--debug': unknown 'nonsense' (known: $topics)" --debug boot,nonsense
refused "option '--debug': unknown 'iport', did you mean 'ioport'? (known: $topics)" --debug iport
refused "unexpected argument 'extra'" extra
hint="(try 'lkvm run --help')"
refused "unknown option '--no-mem' $hint" --no-mem
refused "unknown option '--kernal', did you mean '--kernel'? $hint" --kernal x
refused "unknown option '-kernel', did you mean '--kernel'? $hint" -kernel x
refused "unknown option '-M', did you mean '-m'? $hint" -M 64
for words in '--hugepages 2M' '--hugepages 1G' '--rng packed'; do
	# shellcheck disable=SC2086
	refused "option '${words% *}': its argument follows an equals sign: ${words/ /=}" $words
done
t_fails 125 "unexpected argument 'extra'" "$LKVM" run "$missing" extra
t_fails 125 "$no_kernel" "$LKVM" run -k "$missing" -- ls -l
flat=$T_TMP/flat
printf '\353\376' >"$flat"
t_fails 125 "kernel '$flat': has no known kernel header, and takes no initramfs as a flat binary" \
	"$LKVM" run -m 64 -c 1 -k "$flat" -- ls -l
refused "option '--root': 'nowhere': No such file or directory" --root nowhere
refused "option '--rw': '$flat': Not a directory" --rw "$flat"
refused "option '--ro': 'inside' is no path from the root on" --ro /tmp:inside
refused "option '--hide': 'etc' is no path from the root on" --hide etc
refused "option '--overlay-size': 'much' is no size (512M, 2G)" --overlay-size much
refused "option '--dax': 'maybe' is neither on nor off" --dax maybe
refused "option '--env': '=x' is neither NAME=VALUE nor NAME" --env =x
refused "--nodefaults leaves out what a command needs of the kernel's command line" --nodefaults -- ls
t_fails 125 "--boot-timeout is for a guest with a command: nobody knows when another is up" \
	"$LKVM" run -k "$flat" --boot-timeout 1m
t_fails 125 "$no_kernel" "$LKVM" run -m 64 "$missing" --
t_fails 125 "$no_kernel" "$LKVM" run -m 64 "$missing"
t_fails 125 "$no_kernel" "$LKVM" run -m 64 --kernel="$missing"
t_fails 125 "option '-k': argument FILE is missing" "$LKVM" run -m 64 -k

# ---- files that are no kernel, no RAM ----

t_fails 125 "kernel '/': is a folder with neither arch/x86/boot/bzImage nor vmlinux in it" "$LKVM" run -m 64 /
t_fails 125 "kernel '/dev/null': neither a regular file nor a pipe" "$LKVM" run -m 64 /dev/null
: >"$T_TMP/empty"
t_run "$LKVM" run -m 64 "$T_TMP/empty"
t_status 125
t_stderr_like "^lkvm: kernel '$T_TMP/empty': "
t_fails 125 "'$T_TMP' is not a hugetlbfs mount point" "$LKVM" run -m 64 --hugetlbfs "$T_TMP" "$flat"
t_fails 125 "open '$missing/x' for guest RAM: No such file or directory" \
	"$LKVM" run -m 64 --mem-path "$missing/x" "$flat"

# ---- a wrong command line leaves no trace ----

t_is "no control socket is left" "$(ls -A "$LKVM_DIR")" ""
rmdir "$LKVM_DIR"
refused "option '--timeout': '0' $no_time" --timeout 0
t_ok "a refused command line does not even make the folder" test ! -e "$LKVM_DIR"

opens_kvm()
{
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=openat,open -o "$T_TMP/trace" "$LKVM" run "$@" </dev/null >/dev/null 2>&1
	grep -q '"/dev/kvm"' "$T_TMP/trace"
}
for words in '--nonsense' '-m 63' '-c x' '--name a/b' '--timeout 0' '--root /nowhere'; do
	# shellcheck disable=SC2086
	t_ok "run $words does not open /dev/kvm" eval '! opens_kvm -k "$flat" $words'
done
t_ok "run --help does not open /dev/kvm" eval '! opens_kvm --help'
t_ok "the test for that sees a run that opens /dev/kvm" opens_kvm -m 64 --timeout 1 "$flat"

# ---- --dry-run: all is looked at, nothing is touched ----

dry=(run --dry-run -m 4G -c 3 --name dry -d "$T_TMP/no.qcow2,ro" -d "$T_TMP/no.img,ephemeral" --tty 2
	--fs "$T_TMP/none,share" --fs "/a,,b,two,ro,cache=always,dax" --9p "$T_TMP/none,nine" --9p "/,root,ro")
writes=(--log "$T_TMP/log" --result "$T_TMP/result" --dump-dtb "$T_TMP/dtb" --mem-path "$T_TMP/ram")
rm -f "$T_TMP/trace" "$T_TMP/std"*
before=$(ls -A "$T_TMP")
ASAN_OPTIONS=detect_leaks=0 t_run strace -f -qq -o "$T_TMP/trace" "$LKVM" "${dry[@]}" "${writes[@]}" -k "$flat"
t_command='run --dry-run'
t_status 0
t_stderr_is "lkvm: warning: kernel '$flat' has no known kernel header: taken as a flat binary"
t_stdout_like "^kernel:   $flat: flat"
t_stdout_like "^CPUs:     3$"
t_stdout_like "^disk:     blk0: $T_TMP/no.qcow2, read-only$"
t_stdout_like "^disk:     blk1: $T_TMP/no.img, ephemeral$"
t_stdout_like "^folder:   fs0: $T_TMP/none as share, cache auto$"
t_stdout_like '^folder:   fs1: /a,b as two, read-only, cache always, dax$'
t_stdout_like "^folder:   9p0: $T_TMP/none as nine$"
t_stdout_like '^folder:   9p1: / as root, read-only$'
t_stdout_like '^terminal: ttyS2$'
t_stdout_like "0x000000000000-0x0000cfffffff  3328MB .* file $T_TMP/ram, "
t_stdout_like '^  0x000100000000-0x00012fffffff  RAM$'
t_stdout_like '^  0x03f8-0x03ff  serial, GSI 4$'
t_is 'nothing was opened but to be read' \
	"$(grep -E '/dev/kvm|O_CREAT|socket\(|unlink|mkdir|execve\(.*nbd' "$T_TMP/trace")" ''
t_is 'nothing was made' "$(rm -f "$T_TMP/trace" "$T_TMP/std"*; ls -A "$T_TMP")" "$before"

t_run "$LKVM" run --dry-run -m 64 -c 195,sockets=65 -k "$GUESTS/bzimage.bz"
t_status 0
t_stdout_like '^CPUs:     195, sockets=65,dies=1,cores=3,threads=1$'
t_stdout_like '^cmdline:  .* irqaffinity=0-191$' # those whose ids the IOAPIC knows
t_run "$LKVM" run --dry-run -m 64 -c 300 --nodefaults -k "$GUESTS/bzimage.bz"
t_status 0
t_stdout_like '^cmdline:  $'

for transport in pci mmio mmio,cmdline; do
	for more in '' '--no-acpi --console virtio --debug-exit --rng=off' '--mem-prealloc --hugepages --nodefaults'; do
		# shellcheck disable=SC2086
		t_run "$LKVM" "${dry[@]}" -m 64 --virtio-transport $transport $more -k "$flat"
		t_status 0
		t_stdout_like '^  0x0505-0x0505  pvpanic'
	done
done
t_run "$LKVM" "${dry[@]}" -k "$missing"
t_status 125
t_stderr_like "^lkvm: $no_kernel"
t_run bash -c 'exec "$LKVM" run --dry-run -m 64 -k "$0" >/dev/full' "$flat"
t_status 125
echo mine >"$T_TMP/result"
t_run "$LKVM" run --nonsense --result "$T_TMP/result"
t_status 125
t_ok 'without it, a wrong option means that there is no older result' grep -q '"reason": "error"' "$T_TMP/result"

t_done
