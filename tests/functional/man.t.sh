#!/usr/bin/env bash
# Man pages: each command has one, made from prose and option table, and it says what --help says.
. "${0%/*}/lib.sh"

man_dir=${LKVM%/*}/man
commands=$("$LKVM" help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')

read_page()
{
	if command -v mandoc >/dev/null; then
		mandoc -Tascii "$1" | sed 's/.\x08//g'
	else
		man "$1" | cat
	fi
}

for command in $commands; do
	page=$man_dir/lkvm-$command.1
	t_ok "lkvm-$command.1 is made" test -s "$page"
	text=$(read_page "$page")
	for section in NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' 'SEE ALSO'; do
		t_like "lkvm-$command.1 has $section" "$text" "^$section\$"
	done
	t_unlike "lkvm-$command.1 has no placeholder left" "$text" '@[A-Z]+@'
	for option in $("$LKVM" "$command" --help | grep -Eo '^  (-.,|   ) --[a-z-]+' | grep -Eo -- '--[a-z-]+'); do
		t_like "lkvm-$command.1 tells about $option" "$text" "^     (-., |-. .*, )?$option\b"
	done
	while read -r key; do
		t_ok "lkvm-$command.1 tells about the key $key" grep -Eq "^             ${key//[[|+]/\\&}( |$)" <<<"$text"
	done < <("$LKVM" "$command" --help | sed -nE 's/^ {28}([^ ]+)(  .*)?$/\1/p')
	t_like "lkvm.1 lists $command" "$(read_page "$man_dir/lkvm.1")" "^     lkvm-$command\(1\)  +[A-Z]"
done

t_done
