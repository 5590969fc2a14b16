#!/usr/bin/env bash
# setup.sh PURPOSE...: install what is missing for a purpose, with apt-get (as root, or by sudo).
#
#   build   compile lkvm
#   guests  boot Linux guests: build, plus what makes kernels and initrds ready
#   host    run the emulated host, for machines whose own KVM cannot run Linux: guests, plus QEMU
#   demo    the same as guests; tests/demo.sh asks for `host` where it turns out to be needed
#   check   every test: host, plus test libraries, fuzzers and linters
#   bench   make bench: host, plus what is measured with (newer peers: tests/bench/peers.sh)
#   kernel  build a Linux kernel
#   net     what make check-net-long needs beside check
#   debian  what make check-debian-long needs beside check: a Debian 13 on a disk
#   screen  what make check-screen-long needs beside check: an X server without a screen, and a viewer
#   debuggers  of dumps, which make check-dump-long needs beside those of check
#
# Says what it installs. Where nothing is missing it prints nothing and needs no network.
# On a system without apt-get it checks for the programs and names the missing ones.
set -euo pipefail
# shellcheck source=tests/apt.sh
. "$(dirname "$0")/apt.sh"

# Three columns: purpose, Debian package, and a program that tells that it is there elsewhere
# ("-": a library or a set of files, not checked there).
table()
{
	cat <<-'END'
		build   make                  make
		build   gcc                   gcc
		build   libc6-dev             -
		build   pkg-config            pkg-config
		build   git                   git
		build   zlib1g-dev            -
		build   liblzma-dev           -
		build   libbz2-dev            -
		build   liblzo2-dev           -
		build   libzstd-dev           -
		build   liblz4-dev            -
		build   libaio-dev            -
		build   libfdt-dev            -
		build   libnbd-dev            -
		build   libslirp-dev          -
		build   libpng-dev            -
		build   libvncserver-dev      -
		guests  busybox-static        busybox
		guests  xz-utils              xz
		guests  zstd                  zstd
		guests  lz4                   lz4
		host    qemu-system-x86       qemu-system-x86_64
		check   check                 checkmk
		check   clang                 clang
		check   libclang-rt-14-dev    -
		check   jq                    jq
		check   acpica-tools          iasl
		check   device-tree-compiler  dtc
		check   mandoc                mandoc
		check   shellcheck            shellcheck
		check   strace                strace
		check   qemu-utils            qemu-nbd
		check   nbdkit                nbdkit
		check   fio                   fio
		check   e2fsprogs             mke2fs
		check   ethtool               ethtool
		check   perl-base             perl
		check   procps                pgrep
		check   python3               python3
		check   vncsnapshot           vncsnapshot
		check   kmod                  modprobe
		check   numactl               numactl
		check   seabios               -
		check   syslinux              syslinux
		check   syslinux-common       -
		check   mtools                mcopy
		check   grub-pc-bin           -
		check   grub-common           grub-mkimage
		check   grub-efi-amd64-bin    -
		check   ovmf                  -
		check   ipxe-qemu             -
		check   systemd-boot-efi      -
		check   gdb                   gdb
		check   lzop                  lzop
		check   makedumpfile          makedumpfile
		check   zsh                   zsh
		check   fish                  fish
		bench   strace                strace
		bench   fio                   fio
		bench   e2fsprogs             mke2fs
		net     iperf3                iperf3
		net     passt                 passt
		net     iproute2              ip
		debian  debootstrap           debootstrap
		debian  fdisk                 sfdisk
		screen  xvfb                  Xvfb
		screen  tigervnc-viewer       xtigervncviewer
		screen  xdotool               xdotool
		debuggers crash               crash
		debuggers python3-drgn        drgn
		kernel  xz-utils              xz
		kernel  bc                    bc
		kernel  bison                 bison
		kernel  flex                  flex
		kernel  libelf-dev            -
	END
}

# A purpose stands for those that it builds upon.
includes()
{
	case $1 in
	build) echo build ;;
	guests | demo) echo build guests ;;
	host) echo build guests host ;;
	check) echo build guests host check ;;
	bench) echo build guests host bench ;;
	kernel | net | debian | screen | debuggers) echo "build $1" ;;
	*) return 1 ;;
	esac
}

usage()
{
	echo "usage: $0 build|guests|host|demo|check|bench|kernel|net|debian|screen|debuggers ..." >&2
	exit 2
}

[ $# -gt 0 ] || usage
wanted=
for purpose; do
	wanted+=" $(includes "$purpose")" || usage
done

packages=() programs=()
while read -r purpose package program; do
	[[ " $wanted " == *" $purpose "* ]] || continue
	packages+=("$package")
	[ "$program" = - ] || programs+=("$program")
done < <(table)

if ! apt_usable; then
	missing=()
	for program in "${programs[@]}"; do
		command -v "$program" >/dev/null || missing+=("$program")
	done
	[ ${#missing[@]} -eq 0 ] && exit 0
	echo "setup: this system has no apt-get; please install: ${missing[*]}" >&2
	exit 1
fi

mapfile -t missing < <(apt_missing "${packages[@]}")
[ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
