#!/usr/bin/env bash
# state.sh: no field of an object with state is forgotten by snapshots. Each struct that state.fields names has, by
# the debug information of its object file, the fields that are listed there as saved or as the host's, and no
# others; each device that the machine is made of has its struct there. TAP. $LKVM is a binary beside which are the
# objects that it is made of.
set -u
cd "$(dirname "$0")/.." || exit
: "${LKVM:?is the path of an lkvm beside its object files}"
objects=${LKVM%/*}
list=${STATE_FIELDS:-tests/state.fields}
count=0

# report NAME COMPLAINTS
report()
{
	count=$((count + 1))
	if [ -z "$2" ]; then
		echo "ok $count - $1"
	else
		echo "not ok $count - $1"
		printf '%s\n' "${2//$'\n'/$'\n# '}" | sed '1s/^/# /'
	fi
}

# fields STRUCT OBJECT: the names of its members, in order
fields()
{
	readelf --debug-dump=info "$objects/$2" 2>/dev/null | awk -v want="$1" '
		function number(hex,   i, n) {
			for (i = 1; i <= length(hex); i++)
				n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
			return n
		}
		/^ *<[0-9a-f]+><[0-9a-f]+>: Abbrev Number/ {
			match($0, /<[0-9a-f]+>/)
			depth = number(substr($0, RSTART + 1, RLENGTH - 2))
			if (inside && depth <= level)
				exit
			is_struct = /DW_TAG_structure_type/
			is_member = inside && depth == level + 1 && /DW_TAG_member/
			here = depth
			next
		}
		/DW_AT_name/ && (is_struct || is_member) {
			name = $0
			sub(/^.*: /, "", name)
			sub(/[ \t]+$/, "", name)
			if (is_member) {
				print name
			} else if (!inside && name == want) {
				inside = 1
				level = here
			}
			is_struct = is_member = 0
		}
		/DW_AT_declaration/ && inside && here == level { inside = 0 }'
}

# entry STRUCT: its lines in the list
entry()
{
	awk -v want="$1" '
		/^#/ { next }
		NF && first == "" { first = $1; next }
		NF == 0 { first = "" }
		first == want { print }' "$list"
}

# compare STRUCT OBJECT SOURCE
compare()
{
	local has listed saved field
	has=$(fields "$1" "$2")
	[ -n "$has" ] || { echo "$objects/$2 has no struct $1"; return; }
	listed=$(entry "$1" | awk '{ for (i = 2; i <= NF; i++) print $i }')
	saved=$(entry "$1" | awk '$1 == "saved" { for (i = 2; i <= NF; i++) print $i }')
	comm -23 <(sort -u <<<"$has") <(sort -u <<<"$listed") |
		sed "s/.*/field '&' is new: is it saved, or the host's? Say so in tests\/state.fields/"
	comm -13 <(sort -u <<<"$has") <(sort -u <<<"$listed") | sed "s/.*/there is no field '&' any more/"
	sort <<<"$listed" | uniq -d | sed "s/.*/field '&' is listed twice/"
	for field in $saved; do
		grep -qw -- "$field" "$3" 2>/dev/null || echo "field '$field' is listed as saved, but $3 does not name it"
	done
}

# structs: STRUCT OBJECT SOURCE of each that is listed, which is the first line of its paragraph
structs() { sed '/^#/d' "$list" | awk 'NF && !inside { print } { inside = NF }'; }

if ! readelf -S "$objects/main.o" | grep -q '[.]debug_info'; then
	echo "1..0 # SKIP it was built without -g"
	exit
fi
while read -r struct object source; do
	report "struct $struct: each field is saved, or the host's" "$(compare "$struct" "$object" "$source")"
done < <(structs)

# Devices of the machine: those that are chips, and those of virtio
missing=$(
	for file in hw/*.c virtio/*.c; do
		grep -Eq '^(static )?const struct (device|virtio)_type [a-z0-9_]+ = ' "$file" || continue
		[ "$file" != hw/test-device.c ] || continue # has nothing but its state
		structs | grep -q " ${file%.c}.o " || echo "$file has a device, of which $list has no struct"
	done
)
report "each device is listed" "$missing"
echo "1..$count"
