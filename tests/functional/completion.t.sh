#!/usr/bin/env bash
# Bash completion: the script is sourced, and asked as bash asks it.
. "${0%/*}/lib.sh"

# shellcheck source=../../Documentation/lkvm-completion.bash
. "${0%/*}/../../Documentation/lkvm-completion.bash"
eval "$("$LKVM" help --completion=bash)"

# Bash cuts the line into words at blanks, and at those of '=' and ':' that COMP_WORDBREAKS has.
split()
{
	local text=$1 last
	COMP_LINE=$1 COMP_POINT=${#1}
	[[ $COMP_WORDBREAKS != *=* ]] || text=${text//=/ = }
	[[ $COMP_WORDBREAKS != *:* ]] || text=${text//:/ : }
	read -ra COMP_WORDS <<<"$text"
	last=${1: -1}
	[[ $last != ' ' ]] || COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
}

# answers LINE: what completion offers for the line with the cursor at its end
answers()
{
	split "$1"
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
		[[ $offered == *" $option "* ]]
		t_report $? "lkvm $command offers $option" "$offered"
	done
done

for key in ro direct ephemeral packed serial= format= queues= backing= key-file=; do
	t_like "-d offers $key" " $(answers 'lkvm run -d disk,') " " disk,$key "
done
t_fails 125 "there is completion for bash, zsh and fish, not for 'csh'" "$LKVM" help --completion=csh
for shell in bash zsh fish; do
	table=$("$LKVM" help --completion=$shell)
	for command in $commands; do
		[[ $table =~ [^a-z]${command}[^a-z] ]]
		t_report $? "the table for $shell has $command"
	done
done

# ---- a table that has every kind of argument ----

_lkvm_table()
{
	kind='' words='' options=''
	case $1 in
	:) kind='words' words='go stay' options='--help' ;;
	go:) kind='guest' options='-f --file -d --dir -l --list --disk --name --kind --size --size= --quiet --text' ;;
	go:-f | go:--file | go:--file=) kind='file' ;;
	go:-d | go:--dir | go:--dir=) kind='dir' ;;
	go:--name | go:--name=) kind='guest' ;;
	go:-l | go:--list | go:--list=) kind='list' words='red green -blue +blue key=' ;;
	go:--disk | go:--disk=) kind='files' words='ro rw key=' ;;
	go:--kind | go:--kind=) kind='words' words='red green' ;;
	go:--size=) kind='words' words='2M 1G' ;;
	go:--text | go:--text=) kind='none' ;;
	stay:) kind='file' options='--help' ;;
	esac
}

cd "$T_TMP" || exit
mkdir folder 'two words'
touch file1 file2
lkvm()
{
	[ "$*" = 'list --quiet' ] && printf 'alpha
beta
'
}

# The order does not matter: readline sorts. sorted WORD...: into $in_order
sorted()
{
	local word i
	in_order=()
	for word; do
		for ((i = ${#in_order[@]}; i > 0; i--)); do
			[[ ${in_order[i - 1]} > $word ]] || break
			in_order[i]=${in_order[i - 1]}
		done
		in_order[i]=$word
	done
}

check()
{
	local in_order got
	split "$1"
	_lkvm
	sorted "${COMPREPLY[@]}"
	got=${in_order[*]}
	# shellcheck disable=SC2086
	sorted $2
	t_is "'$1'" "$got" "${in_order[*]}"
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
	check 'lkvm go -l ' 'red green -blue +blue key='
	check 'lkvm go -l r' 'red'
	check 'lkvm go -l red,g' 'red,green'
	check 'lkvm go --list red,green,-b' 'red,green,-blue'
	check 'lkvm go -l red,g --qui' '--quiet'
	check 'lkvm go --disk fi' 'file1 file2'
	check 'lkvm go --disk file1,r' 'file1,ro file1,rw'
	check 'lkvm go --disk file1,ro,k' 'file1,ro,key='
	check 'lkvm go --disk file1,x' ''
	check 'lkvm go --disk file1,ro al' 'alpha'
	check 'lkvm go --disk file1,key=a=b,ro al' 'alpha'
	check 'lkvm go --disk nbd://host:1/x,ro al' 'alpha'
	check 'lkvm  go   --name   be' 'beta'
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
check 'lkvm go --list=red,g' 'red,green'
check 'lkvm go --disk=fi' 'file1 file2'
check 'lkvm go --disk=file1,key=x,r' 'x,ro x,rw'
check 'lkvm go --disk file1,key=x,r' 'x,ro x,rw'
check 'lkvm go --disk nbd://host,r' '//host,ro //host,rw'
COMP_WORDBREAKS=$' \t\n"\'><;|&(:'
check 'lkvm go --name=' '--name=alpha --name=beta'
check 'lkvm go --size=1' '--size=1G'
check 'lkvm go --list=red,g' '--list=red,green'
check 'lkvm go --disk=fi' '--disk=file1 --disk=file2'
check 'lkvm go --disk=file1,key=x,r' '--disk=file1,key=x,ro --disk=file1,key=x,rw'
COMP_WORDBREAKS=$' \t\n"\'><;|&('
check 'lkvm go --disk nbd://host,r' 'nbd://host,ro nbd://host,rw'
COMP_WORDBREAKS=$' \t\n"\'><;|&(:'
check 'lkvm go --file=nothing' ''

COMP_WORDBREAKS=$' \t\n"\'><;|&(:'
# The cursor within a word: only what stands in front of it counts.
split 'lkvm go --quxxx'
COMP_POINT=12
_lkvm
t_is "the cursor within a word" "${COMPREPLY[*]}" '--quiet'
answers 'lkvm go -f tw' >/dev/null
split 'lkvm go -f tw'
_lkvm
t_is "a name with a blank is one answer" "${#COMPREPLY[@]}:${COMPREPLY[0]}" "1:two words"

# In a shell of its own, through `complete`, with nothing else loaded.
t_like "the script announces itself" \
	"$(bash --norc -c 'cat "$1" > s; eval "$("$LKVM" help --completion=bash)"; . ./s; complete -p lkvm' \
		bash "$OLDPWD/${0%/*}/../../Documentation/lkvm-completion.bash")" '^complete -F _lkvm lkvm$'

t_done
