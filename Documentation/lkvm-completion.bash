# shellcheck shell=bash
# Bash completion of lkvm. _lkvm_table, put in front of this by the build, sets for a place on the
# command line:
#	kind	what stands there: file, dir, guest, words, list (of words, with commas), files (a
#		file, then a list), or none
#	words	the choices, if kind is words, list or files; those that end with '=' want a value
#	options	names of the options that may stand there as well

# Bash cuts words at '=' and ':' too. Put together again what stands on the line without a blank.
_lkvm_join()
{
	local i rest=${COMP_LINE:0:COMP_POINT} word next
	line=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		next=${rest#"${rest%%[![:blank:]]*}"}
		word=${COMP_WORDS[i]}
		((i < COMP_CWORD)) || word=$next
		if ((i > 0)) && [[ $next == "$rest" ]]; then
			line[-1]+=$word
		else
			line+=("$word")
		fi
		rest=${next#"$word"}
	done
	line=("${line[@]:1}")
}

_lkvm_guests()
{
	"${COMP_WORDS[0]}" list --quiet 2>/dev/null
}

# _lkvm_add PREFIX GENERATOR...: what compgen finds for the current word behind the prefix, which is
# put in front of it again
_lkvm_add()
{
	local found prefix=$1
	shift
	mapfile -t found < <(compgen "$@" -- "${current#"$prefix"}")
	COMPREPLY+=("${found[@]/#/"$prefix"}")
}

# _lkvm_reply KIND WORDS PREFIX
_lkvm_reply()
{
	local prefix=$3
	case $1 in
	file | dir)
		compopt -o filenames 2>/dev/null
		_lkvm_add "$prefix" -A "${1/dir/directory}"
		;;
	guest) _lkvm_add "$prefix" -W "$(_lkvm_guests)" ;;
	words) _lkvm_add "$prefix" -W "$2" ;;
	list)
		[[ ${current#"$prefix"} != *,* ]] || prefix=${current%,*},
		_lkvm_add "$prefix" -W "$2"
		;;
	files)
		if [[ ${current#"$prefix"} == *,* ]]; then
			_lkvm_reply list "$2" "$prefix"
		else
			_lkvm_reply file '' "$prefix"
		fi
		;;
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

# Readline replaces only what stands behind the last character at which bash has cut.
_lkvm_trim()
{
	local i cut=''
	for ((i = ${#current}; i > 0; i--)); do
		[[ ${current:i-1:1} == [=:] && $COMP_WORDBREAKS == *"${current:i-1:1}"* ]] || continue
		cut=${current:0:i}
		break
	done
	COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}

_lkvm()
{
	local line kind words options current

	COMPREPLY=()
	_lkvm_join
	current=${line[-1]}
	_lkvm_place
	if [[ $current == --*=* && -z $options ]]; then
		_lkvm_reply "$kind" "$words" "${current%%=*}="
	elif [[ $current == -* && -n $options ]]; then
		_lkvm_reply words "$options" ''
	else
		_lkvm_reply "$kind" "$words" ''
	fi
	[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
	_lkvm_trim
	return 0
}

complete -F _lkvm lkvm
