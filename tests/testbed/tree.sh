#!/usr/bin/env bash
# tree.sh [HOST-OPTION]... [--] CMD [ARG]...: run a command that needs /dev/kvm: here, or where it cannot
# be opened, in an emulated host that has this machine's file tree as its root (host.sh, which has the
# options). The command's output comes out of ours, its exit status is ours.
#
# Without a command: the status says whether /dev/kvm can be opened here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ -c /dev/kvm ] && (: <>/dev/kvm) 2>/dev/null; then
	while [[ ${1-} == -* ]]; do
		case $1 in
		--) shift && break ;;
		--hosts | --memory | --cpus | --timeout | --module | --disk | --image) shift 2 ;;
		*) shift ;;
		esac
	done
	[ $# -eq 0 ] || exec "$@"
	exit 0
fi
[ $# -gt 0 ] || exit 1
exec "$here/host.sh" --tree --memory 6144 --timeout 3000 "$@"
