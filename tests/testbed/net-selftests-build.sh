#!/usr/bin/env bash
# net-selftests-build.sh: build the kernel's own tests of networks and vsocks, and print the folder of them: net/ is what
# tools/testing/selftests/net is, with its programs, and vsock/ has vsock_test and vsock_diag_test. The source is Debian's
# package linux-source-6.1 (140 MB, half a minute); the programs stay in the cache of kernels.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/apt.sh
. "$here/../apt.sh"

package=linux-source-6.1
cache=${LKVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/lkvm}

# Those that need no more than libc
programs="bind_bhash cmsg_sender fin_ack_lat gro ip_defrag ipv6_flowlabel ipv6_flowlabel_mgr msg_zerocopy nettest
psock_fanout psock_snd psock_tpacket reuseaddr_conflict reuseaddr_ports_exhausted reuseport_addr_any reuseport_bpf
reuseport_bpf_cpu reuseport_dualstack rxtimestamp sk_bind_sendto_listen sk_connect_zero_addr so_netns_cookie so_txtime
socket stress_reuseport_listen tap tcp_fastopen_backup_key tcp_inq tcp_mmap tls toeplitz tun txring_overwrite
txtimestamp udpgso udpgso_bench_rx udpgso_bench_tx"

unpack()
{
	mkdir source
	dpkg-deb --fsys-tarfile ./*.deb | tar -xO "./usr/src/$package.tar.xz" | xz -dc |
		tar -x -C source --strip-components=1 --no-same-owner --wildcards "$package/tools/testing/selftests/net/*" \
			"$package/tools/testing/selftests/kselftest*" "$package/tools/testing/vsock/*" \
			"$package/tools/include/*" "$package/include/uapi/*"
}

# 6.1.192's tls.c does not compile: it has tests of new keys, which a later kernel knows, and an argument of them.
mend()
{
	sed -i -e '/^TEST_F(.*rekey/,/^}/d' -e 's/\(&tls13\), 0);/\1);/' source/tools/testing/selftests/net/tls.c
}

build()
(
	tmp=$(mktemp -d "$cache/.new-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' INT TERM HUP
	cd "$tmp"
	echo "setup: downloading $package and building the kernel's tests of networks from it" >&2
	apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$package" >&2
	unpack
	mend
	mkdir -p root/vsock
	chmod 755 root
	for name in $programs; do
		gcc -O2 -w -idirafter source/include/uapi -Isource/tools/testing/selftests \
			-o "source/tools/testing/selftests/net/$name" "source/tools/testing/selftests/net/$name.c" -lpthread
	done
	for name in vsock_test vsock_diag_test; do
		gcc -O2 -w -D_GNU_SOURCE -Isource/tools/include -o root/vsock/$name \
			source/tools/testing/vsock/{$name,timeout,control,util}.c
	done
	mv source/tools/testing/selftests/net root/net
	# Another process may have been faster: its tests are as good.
	mv -T root "$folder" 2>/dev/null || [ -d "$folder" ]
)

version=$(apt_version "$package")
folder=$cache/net-selftests-$(cat "$0" - <<<"$version" | sha256sum | cut -c 1-16)
if [ ! -d "$folder" ]; then
	mkdir -p "$cache"
	build >&2
fi
echo "$folder"
