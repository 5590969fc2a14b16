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
for size in '' abc -5 +5 ' 64' '64 ' 0x100 1.5G 256MB 64MM M 64X 1e3 $'64\n'; do
	refused "Invalid memory specifier: $size" -m "$size"
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
refused "Invalid memory specifier: x" -m 64 -m x
refused "option '-m': argument SIZE is missing" -m

# ---- -c, --cpu ----

for cpus in 0 1 2; do
	taken -m 64 -c "$cpus"
done
for cpus in -1 x '' 1.5 0x2 ' 1' 2M; do
	refused "Invalid number of CPUs: $cpus (1 to 255, or 0 for all of the host's)" -c "$cpus"
done
for cpus in 256 65536 4294967295 4294967296 18446744073709551617; do
	refused "Too many CPUs: $cpus (more than 255 need x2APIC ids, which lkvm does not hand out)" -c "$cpus"
done
taken -m 64 --cpu -avx2
taken -m 64 --cpu -avx2,+sse2 --cpu=-avx
refused "CPU feature 'avx2': put + or - in front of its name" --cpu avx2
refused "CPU feature 'sse2': put + or - in front of its name" --cpu -avx2,sse2
refused "unknown CPU feature '-nonsense'" --cpu -nonsense

# ---- the rest ----

taken -m 64 --name a
taken -m 64 --name A-z_0.9
taken -m 64 --name "$(printf '%064d' 0)"
for name in '' . .. a/b 'a b' $'a\nb' "$(printf '%065d' 0)"; do
	refused "'$name' is not a guest name (1 to 64 of A-Z a-z 0-9 . _ -)" --name "$name"
done
taken -m 64 --no-acpi --dump-dtb "$T_TMP/dtb"
taken -m 64 --debug-exit
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
for console in hvc serial,packed "virtio," virtio,packing; do
	refused "console '$console' is none of serial, virtio, and virtio,packed" --console $console
done
for tty in 0 4 -1 x ''; do
	refused "'$tty' is not the number of a terminal (1 to 3)" --tty "$tty"
done
for transport in pci mmio mmio,cmdline; do
	taken -m 64 --virtio-transport $transport
done
for transport in '' ISA pci,cmdline 'mmio,' cmdline; do
	refused "virtio transport '$transport' is none of pci, mmio, and mmio,cmdline" --virtio-transport "$transport"
done
taken -m 64 --rng
for rng in on off packed packed=off on,packed on,packed=on; do
	taken -m 64 --rng=$rng
done
for rng in maybe '' packed=maybe off,packed "on," "on,packed," once; do
	refused "option '--rng': '$rng' is none of on, off, and packed" --rng=$rng
done
refused "huge page size '3M' is neither 2M nor 1G" --hugepages=3M
refused "huge page size '' is neither 2M nor 1G" --hugepages=
refused "option '--mem-share': takes no argument, but got 'yes'" --mem-share=yes
taken -m 64 --timeout 1
for seconds in 0 -1 x '' 1000000001 4294967297; do
	refused "option '--timeout': '$seconds' is not a whole number from 1 to 1000000000" --timeout "$seconds"
done
taken -m 64 --debug ''
refused "unknown debug topic in 'nonsense' (known: boot,ram,ioport,mmio,cpu,ipc,device,all)" --debug nonsense
refused "unexpected argument 'extra'" extra
refused "unknown option '--no-mem'" --no-mem
refused "unknown option '--kernal', did you mean '--kernel'?" --kernal x
refused "unknown option '-kernel', did you mean '--kernel'?" -kernel x
refused "unknown option '-M', did you mean '-m'?" -M 64
t_fails 125 "unexpected argument 'extra'" "$LKVM" run "$missing" extra
t_fails 125 "$no_kernel" "$LKVM" run -m 64 "$missing"
t_fails 125 "$no_kernel" "$LKVM" run -m 64 --kernel="$missing"
t_fails 125 "option '-k': argument FILE is missing" "$LKVM" run -m 64 -k

# ---- files that are no kernel, no RAM ----

t_fails 125 "kernel '/': Is a directory" "$LKVM" run -m 64 /
t_fails 125 "kernel '/dev/null': not a regular file" "$LKVM" run -m 64 /dev/null
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
refused "option '--timeout': '0' is not a whole number from 1 to 1000000000" --timeout 0
t_ok "a refused command line does not even make the folder" test ! -e "$LKVM_DIR"

opens_kvm()
{
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=openat,open -o "$T_TMP/trace" "$LKVM" run "$@" </dev/null >/dev/null 2>&1
	grep -q '"/dev/kvm"' "$T_TMP/trace"
}
for words in '--nonsense' '-m 63' '-c x' '--name a/b' '--timeout 0' '-- -x y'; do
	# shellcheck disable=SC2086
	t_ok "run $words does not open /dev/kvm" eval '! opens_kvm -k "$flat" $words'
done
t_ok "run --help does not open /dev/kvm" eval '! opens_kvm --help'
t_ok "the test for that sees a run that opens /dev/kvm" opens_kvm -m 64 --timeout 1 "$flat"

t_done
