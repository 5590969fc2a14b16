#!/usr/bin/env bash
# peers.sh: print a folder with a Debian 13 tree that has the newer peers: QEMU 10, virtiofsd 1.13, virtme-ng 1.35.
# Like the kernels of tests/testbed/kernels.sh, its packages are downloaded once, into the same cache, from
# where this system has its own; they are unpacked, not installed: no script of theirs runs. It is to be
# entered by chroot.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/apt.sh
. "$here/../apt.sh"

suite=trixie
packages=(base-files base-passwd bash coreutils dash findutils grep hostname iproute2 kmod mount procps sed util-linux
	ca-certificates busybox-static qemu-system-x86 virtiofsd virtme-ng systemd-sysv udev)
cache=${LKVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/lkvm}
tree=$cache/$suite-$(echo "${packages[*]}" | cksum | cut -d ' ' -f 1) # one of other packages is another

# Where this system's packages come from
mirror()
{
	apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(RELEASE)' 'Created-By: Packages' |
		awk '$2 == "Debian" && $3 !~ /-/ { print $1; exit }'
}

# own_apt FOLDER COMMAND...: apt-get that knows only that release, of which nothing is installed
own_apt()
{
	local dir=$1
	shift
	apt-get -qq -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State="$dir/state" \
		-o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" -o Dir::Log="$dir" \
		-o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Retries=3 -o Debug::NoLocking=1 "$@"
}

# unpack FOLDER ROOT
unpack()
{
	local package
	for package in "$1"/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$2" --no-same-owner --exclude='./usr/share/doc' \
			--exclude='./usr/share/man' --exclude='./usr/share/locale'
	done
}

# What the packages' scripts would have done
finish()
{
	cat "$1"/usr/share/ca-certificates/mozilla/*.crt >"$1/etc/ssl/certs/ca-certificates.crt"
	cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
	cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
}

fetch()
(
	uri=$(mirror)
	[ -n "$uri" ] || {
		echo "peers: this system's packages do not come from a Debian archive" >&2
		exit 1
	}
	echo "setup: downloading Debian 13's ${packages[*]}" >&2
	tmp=$(mktemp -d "$cache/.new-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' INT TERM HUP
	mkdir -p "$tmp/state/lists/partial" "$tmp/cache/archives/partial" "$tmp/root"
	chmod 755 "$tmp/root"
	: >"$tmp/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$tmp/sources.list"
	own_apt "$tmp" update >&2
	own_apt "$tmp" -y --download-only install "${packages[@]}" >&2
	unpack "$tmp" "$tmp/root"
	finish "$tmp/root"
	# Another process may have been faster: its folder is as good.
	mv -T "$tmp/root" "$tree" 2>/dev/null || [ -d "$tree" ]
)

mkdir -p "$cache"
if [ ! -d "$tree" ]; then
	apt_usable || {
		echo "peers: no apt-get here" >&2
		exit 1
	}
	fetch
fi
realpath "$tree"
