#!/usr/bin/env bash
# make install puts everything below DESTDIR and PREFIX, make uninstall takes exactly that away.
. "${0%/*}/lib.sh"

# The outer make's settings (CC, SAN, ...) stay, its job server does not.
MAKEFLAGS=$(sed -E 's/(^| )-*j[0-9]*( |$)/ /; s/--jobserver[^ ]*//g' <<<"${MAKEFLAGS-}")
export MAKEFLAGS
unset MAKELEVEL

quiet_make()
{
	make -s --no-print-directory O="${LKVM%/*}" DESTDIR="$T_TMP/root" PREFIX=/opt/lkvm "$@"
}

installed()
{
	(cd "$T_TMP/root" && find . ! -type d -printf '%P %m\n' | sort)
}

wanted=$(
	echo 'opt/lkvm/bin/lkvm 755'
	echo 'opt/lkvm/share/bash-completion/completions/lkvm 644'
	echo 'opt/lkvm/share/man/man1/lkvm.1 644'
	"$LKVM" help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 }
		on { print "opt/lkvm/share/man/man1/lkvm-" $1 ".1 644" }'
)

t_ok "make install" quiet_make install
t_is "what is installed" "$(installed)" "$(sort <<<"$wanted")"
t_is "the installed binary runs" "$("$T_TMP/root/opt/lkvm/bin/lkvm" version)" "$("$LKVM" version)"
t_ok "make install, again" quiet_make install
mkdir -p "$T_TMP/root/opt/lkvm/share/man/man1"
touch "$T_TMP/root/opt/lkvm/share/man/man1/other.1" "$T_TMP/root/opt/lkvm/bin/lkvm-other"
t_ok "make uninstall" quiet_make uninstall
t_is "what belongs to others stays" "$(installed | cut -d' ' -f1 | xargs)" \
	"opt/lkvm/bin/lkvm-other opt/lkvm/share/man/man1/other.1"
t_ok "make uninstall, again" quiet_make uninstall

t_done
