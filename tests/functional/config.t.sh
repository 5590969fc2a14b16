#!/usr/bin/env bash
# `lkvm config`: configurations as text, packed, in folders and inside of images. No guest runs.
# shellcheck source=tests/functional/lib.sh
. "${0%/*}/lib.sh"

cd "$T_TMP" || exit

# ---- the fragment is a configuration that lacks nothing ----

t_run "$LKVM" config
t_status 0
t_stdout >whole
t_run "$LKVM" config whole
t_status 0
t_is "lkvm config: its own fragment has all, also what is optional" "$(t_stdout)" \
	"whole: Linux of unknown version has what lkvm needs"
t_is "lkvm config: only comments and settings" \
	"$(grep -Evc '^(#.*|CONFIG_[A-Z0-9_]+=y|)$' whole)" 0

# ---- what is missing is named, and what for ----

without()
{
	grep -v -E "^CONFIG_($1)=" whole
}

without VIRTIO_FS >no-files
t_run "$LKVM" config no-files
t_status 1
t_stdout_like "^missing:  the host's files: CONFIG_VIRTIO_FS; or CONFIG_NET_9P, CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS\$"
t_stdout_like '^no-files: Linux of unknown version lacks'
t_run "$LKVM" config -f no-files
t_status 1
t_stdout >lacking
cat no-files lacking >merged
t_ok "lkvm config -f: with that fragment nothing is missing" "$LKVM" config merged
t_is "lkvm config -f: nothing else is in it" "$(grep -c '^CONFIG_' lacking)" 2

{ without VIRTIO_FS && printf 'CONFIG_%s=m\n' NET_9P NET_9P_VIRTIO 9P_FS; } >9p
t_run "$LKVM" config 9p
t_status 1 # modules, but CONFIG_MODULES is not there
echo CONFIG_MODULES=y >>9p
t_ok "lkvm config: 9p, as modules, is as good as virtio-fs" "$LKVM" config 9p

{ without VIRTIO_PCI && printf 'CONFIG_%s=y\n' VIRTIO_MMIO; } >mmio
t_ok "lkvm config: MMIO is as good as PCI" "$LKVM" config mmio

without SMP >no-smp
t_run "$LKVM" config no-smp
t_status 0
t_stdout_like '^optional: more than one CPU: CONFIG_SMP \(without: -c has no effect\)$'

{ echo CONFIG_MODULES=y && sed 's/^CONFIG_TMPFS=y/CONFIG_TMPFS=m/' whole; } >late
t_run "$LKVM" config late
t_status 1
t_stdout_like '^missing: .*: CONFIG_TMPFS$'

# ---- where it may be ----

gzip -c no-files >config.gz
t_run "$LKVM" config config.gz
t_stdout_like '^config.gz: Linux of unknown version lacks'
mkdir tree && cp no-files tree/.config
t_run "$LKVM" config tree
t_stdout_like '^tree/.config: '

# le32 N: four bytes
le32()
{
	# shellcheck disable=SC2059
	printf "$(printf '\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)))"
}

# patch FILE OFFSET: standard input goes there
patch()
{
	dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# bzimage FILE: what is on standard input is its payload, behind 2 KB of code
bzimage()
{
	cat >payload
	head -c 4608 /dev/zero >"$1"
	printf '\4' | patch "$1" $((0x1f1))
	printf '\125\252\0\0HdrS\17\2' | patch "$1" $((0x1fe))
	le32 2048 | patch "$1" $((0x248))
	le32 "$(stat -c %s payload)" | patch "$1" $((0x24c))
	cat payload >>"$1"
}

# The mark also stands where it is looked for.
{ printf '\177ELF IKCFG_ST ' && head -c 100000 /dev/zero && printf IKCFG_ST && cat config.gz &&
	printf IKCFG_ED && head -c 100000 /dev/zero; } >vmlinux
t_run "$LKVM" config vmlinux
t_status 1
t_stdout_like '^vmlinux: Linux of unknown version lacks'

# packed NAME COMMAND...: as a bzImage's payload; all but gzip's have the size behind them
packed()
{
	local name=$1
	shift
	command -v "$1" >/dev/null || {
		t_skip "payload packed with $name" "no $1"
		return
	}
	{ "$@" <vmlinux && { [ "$name" = gzip ] || le32 "$(stat -c %s vmlinux)"; }; } | bzimage "$name"
	t_run "$LKVM" config "$name"
	if grep -q 'lkvm was built without\|is missing (Debian' <<<"$(t_stderr)"; then
		t_skip "payload packed with $name" "$(t_stderr)"
		return
	fi
	t_stdout_like "^$name: Linux of unknown version lacks"
}

packed gzip gzip
packed xz xz --check=crc32
packed lz4 lz4 -l
packed zstd zstd
packed bzip2 bzip2

# Debian's have none inside, but one beside them.
printf '\177ELF' | gzip | bzimage vmlinuz-1.2.3
t_fails 1 "kernel configuration 'vmlinuz-1.2.3': it has none inside (CONFIG_IKCONFIG), and there is none beside it" \
	"$LKVM" config vmlinuz-1.2.3
cp whole config-1.2.3
t_run "$LKVM" config vmlinuz-1.2.3
t_stdout_like '^config-1.2.3: .* has what lkvm needs$'
mkdir -p tree/arch/x86/boot && cp vmlinuz-1.2.3 tree/arch/x86/boot/bzImage
t_run "$LKVM" config tree/arch/x86/boot/bzImage
t_stdout_like '^tree/.config: '

# ---- what is none ----

t_fails 1 "kernel configuration 'nothing': No such file or directory" "$LKVM" config nothing
head -c -20 config.gz >short.gz
t_fails 1 "kernel configuration 'short.gz': damaged or truncated gzip file" "$LKVM" config short.gz
head -c 3000 gzip >short
t_fails 1 "kernel configuration 'short': is truncated: its payload ends behind its end" "$LKVM" config short
head -c 9000000 /dev/zero | gzip >bomb.gz
t_fails 1 "kernel configuration 'bomb.gz': is no kernel configuration" "$LKVM" config bomb.gz
echo '#!/bin/sh' >script
t_fails 1 "kernel configuration 'script': is no kernel configuration" "$LKVM" config script
t_fails 125 "config: one kernel at a time, but there is also 'b'" "$LKVM" config a b

t_done
