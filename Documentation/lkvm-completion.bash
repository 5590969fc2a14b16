# shellcheck shell=bash
# Bash completion of lkvm. _lkvm_table, put in front of this by the build, sets for a place on the
# command line:
#	kind	what stands there: file, dir, guest, words, or none
#	words	the choices, if kind is words
#	options	names of the options that may stand there as well

# Bash cuts words at '=', so `--name=gu` arrives as three. Put them together again.
_lkvm_join()
{
	local i word last=''
	line=()
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ ($word == = && $last == --*) || $last == --*= ]]; then
			last+=$word
			line[-1]=$last
		else
			last=$word
			line+=("$word")
		fi
	done
}

_lkvm_guests()
{
	"${COMP_WORDS[0]}" list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

# _lkvm_reply KIND WORDS CURRENT
_lkvm_reply()
{
	case $1 in
	file | dir)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -A "${1/dir/directory}" -- "$3")
		;;
	guest) mapfile -t COMPREPLY < <(compgen -W "$(_lkvm_guests)" -- "$3") ;;
	words) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$3") ;;
	esac
}

# Find out where on the command line the cursor stands, and set kind, words and options for it.
_lkvm_place()
{
	local i command=${line[0]}

	_lkvm_table :
	[ ${#line[@]} -gt 1 ] || return
	_lkvm_table "$command:"
	for ((i = 1; i < ${#line[@]} - 1; i++)); do
		if [[ ${line[i]} == -- ]]; then
			kind=file options=''
			return
		fi
		_lkvm_table "$command:${line[i]}"
		[[ -z $kind ]] || ((++i < ${#line[@]} - 1)) || return
	done
	if [[ $current == --*=* ]]; then
		_lkvm_table "$command:${current%%=*}="
	else
		_lkvm_table "$command:"
	fi
}

_lkvm()
{
	local line kind words options current prefix=''

	COMPREPLY=()
	_lkvm_join
	current=${line[-1]}
	_lkvm_place
	if [[ $current == --*=* && -z $options ]]; then
		[[ $COMP_WORDBREAKS == *=* ]] || prefix=${current%%=*}=
		_lkvm_reply "$kind" "$words" "${current#*=}"
		COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
	elif [[ $current == -* && -n $options ]]; then
		_lkvm_reply words "$options" "$current"
		[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
	else
		_lkvm_reply "$kind" "$words" "$current"
	fi
	return 0
}

complete -F _lkvm lkvm
