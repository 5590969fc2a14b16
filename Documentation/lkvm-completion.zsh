#compdef lkvm
# Zsh completion of lkvm: the functions that the tables, put behind this by the build, call.

_lkvm_guests()
{
	local -a guests=(${(f)"$($_lkvm_program list --quiet 2>/dev/null)"})
	compadd -a guests
}

# The tables have WORD or WORD:DESCRIPTION.
_lkvm_words()
{
	local -a choices=("$@")
	_describe -t values value choices
}

# The words of a list, separated by commas; those that end with '=' want a value.
_lkvm_list()
{
	local -a plain valued
	local word
	for word; do
		if [[ ${word%%:*} == *= ]]; then
			valued+=("$word")
		else
			plain+=("$word")
		fi
	done
	compset -P '*,'
	_describe -t keys key valued -S '' -- plain -q -S ,
}

_lkvm_file_list()
{
	if [[ $PREFIX == *,* ]]; then
		_lkvm_list "$@"
	else
		_files
	fi
}

_lkvm()
{
	local command=$words[2] _lkvm_program=${(Q)words[1]}

	if ((CURRENT == 2)); then
		_lkvm_commands
		compadd -- --help --version
	elif (($+functions[_lkvm_for_$command])); then
		shift words
		((CURRENT--))
		_lkvm_for_$command
	fi
}

