#!/usr/bin/env bash
# Completion as users meet it: real bash, zsh and fish load what `make install` installs, and are asked
# for all matches at the end of a line. All three have to give the same ones.
. "${0%/*}/lib.sh"

made=${LKVM%/*}/completion
mkdir "$T_TMP/bin" "$T_TMP/work" "$T_TMP/zsh"
cat >"$T_TMP/bin/lkvm" <<'END'
#!/bin/sh
[ "$*" = 'list --quiet' ] && printf 'alpha\nbeta\n'
END
chmod +x "$T_TMP/bin/lkvm"
export PATH=$T_TMP/bin:$PATH ANSWERS=$T_TMP/answers MADE=$made HOME=$T_TMP TERM=dumb PTY_SECONDS=120
cd "$T_TMP/work" || exit
mkdir folder
touch disk1.img kernel1

# A line, and what its last word may become
cases='
lkvm ver|version
lkvm st|stat stop
lkvm sto|stop
lkvm stop |alpha beta
lkvm stop alpha b|beta
lkvm stat --name=al|--name=alpha
lkvm version x|x
lkvm warm |clear list
lkvm run --warm=re|--warm=refresh
lkvm help st|stat stop
lkvm run ker|kernel1
lkvm run -k ker|kernel1
lkvm run --time|--timeout
lkvm run --mem-d|--mem-dontdump --mem-dontfork
lkvm run --console v|virtio virtio,packed
lkvm run --hugepages=1|--hugepages=1G
lkvm run --hugetlbfs fol|folder/
lkvm run --debug ioport,bo|ioport,boot
lkvm run --debug=ioport,bo|--debug=ioport,boot
lkvm run --cpu +tsc_a|+tsc_adjust
lkvm run --cpu=+avx,-tsc_a|--cpu=+avx,-tsc_adjust
lkvm run -d dis|disk1.img
lkvm run -d disk1.img,r|disk1.img,ro
lkvm run -d disk1.img,ro,for|disk1.img,ro,format=
lkvm run --disk=disk1.img,serial=x,eph|--disk=disk1.img,serial=x,ephemeral
lkvm run --disk nbd://host,eph|nbd://host,ephemeral
'
lines=() wanted=()
while IFS='|' read -r line matches; do
	[ -z "$line" ] || { lines+=("$line") wanted+=("$matches"); }
done <<<"$cases"

# The keys that are typed: Ctrl-o puts all matches into the line, Ctrl-t writes the line down.
cat >"$T_TMP/bashrc" <<'END'
PS1='ready: '
note() { printf '%s\n' "$READLINE_LINE" >>"$ANSWERS"; READLINE_LINE='' READLINE_POINT=0; }
. "$MADE/lkvm"
bind '"\C-o": insert-completions'
bind -x '"\C-t": note'
END
cat >"$T_TMP/zsh/.zshrc" <<'END'
PS1='ready: '
fpath=("$MADE" $fpath)
autoload -Uz compinit && compinit -u -D
everything() { _main_complete "$@"; compstate[insert]=all; }
note() { print -r -- "$BUFFER" >>"$ANSWERS"; BUFFER=''; }
zle -C everything complete-word everything
zle -N note
bindkey '^O' everything
bindkey '^T' note
END
cat >"$T_TMP/ask.fish" <<'END'
source $MADE/lkvm.fish
for line in $argv
    set -l found (complete -C $line | string replace -r '\t.*' '')
    echo "$found" >>$ANSWERS
end
END

# typed SHELL [ARG]...: ask a shell with a line editor
typed()
{
	local keys
	keys=$(printf '%s\x0f\x14' "${lines[@]}")
	"$PTY" expect 'ready: ' send "$keys"$'exit\r' -- "$@"
}

# tidy WORD...: into $tidied, without what a shell adds and takes away again when the word ends there
tidy()
{
	local word
	tidied=
	for word; do
		word=${word%[,/]}
		[[ ! $word =~ ^--[a-z-]+=$ ]] || word=${word%=}
		tidied+="$word "
	done
}

# A shell that edits gives the whole line, and leaves a word alone that has no match.
check()
{
	local n answers answer tidied wish
	mapfile -t answers <"$ANSWERS"
	for n in "${!lines[@]}"; do
		answer=${answers[n]-missing}
		answer=${answer#"${lines[n]% *} "}
		# shellcheck disable=SC2086
		tidy ${wanted[n]}
		wish=$tidied
		# shellcheck disable=SC2086
		tidy ${answer:-${lines[n]##* }}
		t_is "$1: '${lines[n]}'" "$tidied" "$wish"
	done
}

: >"$ANSWERS"
t_ok "bash answers" typed bash --noprofile --rcfile "$T_TMP/bashrc" -i
check bash
: >"$ANSWERS"
ZDOTDIR=$T_TMP/zsh t_ok "zsh answers" typed zsh -o no_global_rcs -i
check zsh
: >"$ANSWERS"
t_ok "fish answers" fish --no-config "$T_TMP/ask.fish" "${lines[@]}"
check fish
t_is "fish describes a key" "$(MADE=$made fish --no-config -c 'source $MADE/lkvm.fish
	complete -C "lkvm run -d disk1.img,di"')" "disk1.img,direct	Go around the host's page cache"
t_is "fish describes a value" "$(MADE=$made fish --no-config -c 'source $MADE/lkvm.fish
	complete -C "lkvm run --console ser"')" "serial	The serial port ttyS0"
t_like "zsh describes keys" "$(cd "$T_TMP/work" && ZDOTDIR=$T_TMP/zsh "$PTY" expect 'ready: ' \
	send $'lkvm run -d disk1.img,\cd' expect 'page cache' send $'\x15exit\r' -- zsh -o no_global_rcs -i)" \
	"direct +-- Go around the host's page cache"

t_done
