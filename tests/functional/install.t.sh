#!/usr/bin/env bash
# make install puts everything below DESTDIR and PREFIX, make uninstall takes exactly that away.
. "${0%/*}/lib.sh"

# The outer make's settings (CC, SAN, ...) stay, its job server does not.
MAKEFLAGS=$(sed -E 's/(^| )-*j[0-9]*( |$)/ /; s/--jobserver[^ ]*//g' <<<"${MAKEFLAGS-}")
export MAKEFLAGS
unset MAKELEVEL

quiet_make()
{
	make -s --no-print-directory O="${LKVM%/*}" DESTDIR="$T_TMP/root" "$@"
}

installed()
{
	(cd "$T_TMP/root" && find . ! -type d -printf '%P %m\n' | sort)
}

wanted=$(
	echo 'opt/lkvm/bin/lkvm 755'
	echo 'opt/lkvm/share/bash-completion/completions/lkvm 644'
	echo 'opt/lkvm/share/zsh/site-functions/_lkvm 644'
	echo 'opt/lkvm/share/fish/vendor_completions.d/lkvm.fish 644'
	echo 'opt/lkvm/share/man/man1/lkvm.1 644'
	echo 'opt/lkvm/share/man/man5/lkvm-json.5 644'
	"$LKVM" help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 }
		on { print "opt/lkvm/share/man/man1/lkvm-" $1 ".1 644" }'
)

t_ok "make install" quiet_make PREFIX=/opt/lkvm install
t_is "what is installed" "$(installed)" "$(sort <<<"$wanted")"
t_is "the installed binary runs" "$("$T_TMP/root/opt/lkvm/bin/lkvm" version)" "$("$LKVM" version)"
t_ok "make install, again" quiet_make PREFIX=/opt/lkvm install
mkdir -p "$T_TMP/root/opt/lkvm/share/man/man1"
touch "$T_TMP/root/opt/lkvm/share/man/man1/other.1" "$T_TMP/root/opt/lkvm/bin/lkvm-other"
t_ok "make uninstall" quiet_make PREFIX=/opt/lkvm uninstall
t_is "what belongs to others stays" "$(installed | cut -d' ' -f1 | xargs)" \
	"opt/lkvm/bin/lkvm-other opt/lkvm/share/man/man1/other.1"
t_ok "make uninstall, again" quiet_make PREFIX=/opt/lkvm uninstall

# ---- the names of GNU's conventions ----

# goes NAME FILES [SETTING]...: where the binary, lkvm.1 and zsh's completion end up
goes()
{
	local name=$1 files=$2
	shift 2
	rm -rf "${T_TMP:?}/root"
	t_ok "make install $name" quiet_make "$@" install
	t_is "$name: what goes where" "$(installed | cut -d' ' -f1 | grep -E '/(lkvm|lkvm\.1|_lkvm)$' | xargs)" "$files"
	t_ok "make uninstall $name" quiet_make "$@" uninstall
	t_is "$name: nothing is left" "$(installed)" ""
}

goes prefix 'p/bin/lkvm p/share/bash-completion/completions/lkvm p/share/man/man1/lkvm.1 p/share/zsh/site-functions/_lkvm' \
	prefix=/p
goes exec_prefix 'e/bin/lkvm p/share/bash-completion/completions/lkvm p/share/man/man1/lkvm.1 p/share/zsh/site-functions/_lkvm' \
	PREFIX=/p exec_prefix=/e
goes 'bindir, mandir, zshdir' 'b/lkvm d/bash-completion/completions/lkvm m/man1/lkvm.1 z/_lkvm' \
	bindir=/b mandir=/m datadir=/d zshdir=/z

# Where what is installed below /usr is found: asked of the shells themselves.
for prefix in /usr /usr/local; do
	rm -rf "${T_TMP:?}/root"
	t_ok "make install PREFIX=$prefix" quiet_make PREFIX=$prefix install
	folder=$(cd "$T_TMP/root" && find . -name _lkvm -printf '/%P' | sed 's|/_lkvm$||')
	t_ok "zsh looks into $folder" env -i zsh -f -c '[[ " $fpath " == *" $1 "* ]]' zsh "$folder"
	folder=$(cd "$T_TMP/root" && find . -name lkvm.fish -printf '/%P' | sed 's|/lkvm.fish$||')
	# shellcheck disable=SC2016
	t_ok "fish looks into $folder" env -i HOME="$T_TMP" XDG_DATA_DIRS=/usr/local/share:/usr/share \
		fish -c 'contains -- $argv[1] $fish_complete_path' "$folder"
done

t_done
