# shellcheck shell=bash
# Sourced by tests/setup.sh and tests/testbed/kernels.sh: Debian packages, quietly.

apt_usable()
{
	command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}

# apt_missing PACKAGE...: those that are not installed, one a line
apt_missing()
{
	local package installed
	installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null)
	for package; do
		grep -qxF "installed $package" <<<"$installed" || echo "$package"
	done
}

# apt_root COMMAND...: run it as root
apt_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "setup: neither root nor sudo; please run as root: $*" >&2
		return 1
	fi
}

# apt_quiet COMMAND...: show its output only if it fails
apt_quiet()
{
	local log
	log=$(mktemp)
	if "$@" >"$log" 2>&1 </dev/null; then
		rm -f "$log"
		return 0
	fi
	cat "$log" >&2
	rm -f "$log"
	return 1
}

apt_update()
{
	echo "setup: apt-get update" >&2
	apt_root apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 update </dev/null >&2
}

# apt_version PACKAGE: that there is to download
apt_version()
{
	local version
	version=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p')
	[ -n "$version" ] || {
		apt_update
		version=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p')
	}
	echo "$version"
}

# apt_install PACKAGE...: with the package lists that are there; with fresh ones if those will not do
apt_install()
{
	local install=(env DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends
		-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install "$@")

	echo "setup: installing $*" >&2
	apt_root "${install[@]}" >/dev/null 2>&1 </dev/null && return 0
	apt_update
	apt_quiet apt_root "${install[@]}" && return 0
	echo "setup: could not install: $*" >&2
	return 1
}
