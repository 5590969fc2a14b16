#!/usr/bin/env bash
# Bash completion: the script is sourced, and asked as bash asks it.
. "${0%/*}/lib.sh"

# shellcheck source=../../Documentation/lkvm-completion.bash
. "${0%/*}/../../Documentation/lkvm-completion.bash"
eval "$("$LKVM" help --completion)"

# Bash cuts the line into words at blanks, and at '=' unless COMP_WORDBREAKS lacks it.
split()
{
	local text=$1
	[[ $COMP_WORDBREAKS != *=* ]] || text=${text//=/ = }
	read -ra COMP_WORDS <<<"$text"
	[[ $text != *' ' || $text == *' = ' ]] || COMP_WORDS+=('')
	[[ $1 != *= || $COMP_WORDBREAKS != *=* ]] || COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
}

# answers LINE: what completion offers for the line with the cursor at its end
answers()
{
	split "$1"
	COMP_WORDS[0]=${LKVM_STUB:-$LKVM}
	_lkvm
	echo "${COMPREPLY[*]}"
}

# ---- the real tables ----

commands=$("$LKVM" help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }' | xargs)
t_is "all commands" "$(answers 'lkvm ')" "$commands"
t_is "unfinished command" "$(answers 'lkvm versi')" "version"
t_is "options before a command" "$(answers 'lkvm --v')" "--version"
t_is "operand of help" "$(answers 'lkvm help ')" "$commands"
t_is "nothing behind a command without operands" "$(answers 'lkvm version ')" ""
t_is "nothing behind an unknown command" "$(answers 'lkvm nonsense ')" ""
for command in $commands; do
	offered=" $(answers "lkvm $command -") "
	for option in $("$LKVM" "$command" --help | grep -Eo '^  (-.,|   ) --[a-z-]+' | grep -Eo -- '--[a-z-]+'); do
		t_like "lkvm $command offers $option" "$offered" " $option "
	done
done

# ---- a table that has every kind of argument ----

_lkvm_table()
{
	kind='' words='' options=''
	case $1 in
	:) kind='words' words='go stay' options='--help' ;;
	go:) kind='guest' options='-f --file -d --dir --name --kind --size --size= --quiet --text' ;;
	go:-f | go:--file | go:--file=) kind='file' ;;
	go:-d | go:--dir | go:--dir=) kind='dir' ;;
	go:--name | go:--name=) kind='guest' ;;
	go:--kind | go:--kind=) kind='words' words='red green' ;;
	go:--size=) kind='words' words='2M 1G' ;;
	go:--text | go:--text=) kind='none' ;;
	stay:) kind='file' options='--help' ;;
	esac
}

cd "$T_TMP" || exit
mkdir folder 'two words'
touch file1 file2
cat >stub <<'STUB'
#!/bin/sh
[ "$*" = list ] && printf 'NAME     PID  STATE\nalpha    1    running\nbeta     2    paused\n'
STUB
chmod +x stub
LKVM_STUB=$T_TMP/stub

# The order does not matter: readline sorts.
sorted()
{
	tr ' ' '\n' <<<"$1" | sort | xargs
}

check()
{
	t_is "'$1'" "$(sorted "$(answers "$1")")" "$(sorted "$2")"
}

for breaks in $' \t\n"\'><=;|&(:' $' \t\n"\'><;|&(:'; do
	COMP_WORDBREAKS=$breaks
	check 'lkvm go ' 'alpha beta'
	check 'lkvm go al' 'alpha'
	check 'lkvm go --quiet b' 'beta'
	check 'lkvm go --name ' 'alpha beta'
	check 'lkvm go --name b' 'beta'
	check 'lkvm go --kind ' 'red green'
	check 'lkvm go --kind r' 'red'
	check 'lkvm go --kind red ' 'alpha beta'
	check 'lkvm go --kind red --qui' '--quiet'
	check 'lkvm go --text ' ''
	check 'lkvm go --text alp' ''
	check 'lkvm go -f file' 'file1 file2'
	check 'lkvm go -f file1 al' 'alpha'
	check 'lkvm go --file=x=y al' 'alpha'
	check 'lkvm go -d fo' 'folder'
	check 'lkvm go -d file' ''
	check 'lkvm go --si' '--size --size='
	check 'lkvm go --size ' 'alpha beta'
	check 'lkvm go -- f' 'file1 file2 folder'
	check 'lkvm go -- --qu' ''
	check 'lkvm stay f' 'file1 file2 folder'
	check 'lkvm go --nonsense ' 'alpha beta'
done

# What stands before the '=' belongs to the answer only where bash does not cut there.
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
check 'lkvm go --name=' 'alpha beta'
check 'lkvm go --name=al' 'alpha'
check 'lkvm go --size=' '2M 1G'
check 'lkvm go --file=fi' 'file1 file2'
check 'lkvm go --quiet=' ''
COMP_WORDBREAKS=$' \t\n"\'><;|&(:'
check 'lkvm go --name=' '--name=alpha --name=beta'
check 'lkvm go --size=1' '--size=1G'
check 'lkvm go --file=nothing' ''

answers 'lkvm go -f tw' >/dev/null
split 'lkvm go -f tw'
_lkvm
t_is "a name with a blank is one answer" "${#COMPREPLY[@]}:${COMPREPLY[0]}" "1:two words"

# In a shell of its own, through `complete`, with nothing else loaded.
t_like "the script announces itself" \
	"$(bash --norc -c 'cat "$1" > s; eval "$("$LKVM" help --completion)"; . ./s; complete -p lkvm' \
		bash "$OLDPWD/${0%/*}/../../Documentation/lkvm-completion.bash")" '^complete -F _lkvm lkvm$'

t_done
