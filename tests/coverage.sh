#!/usr/bin/env bash
# coverage.sh FOLDER: lines of each source file that the tests run so far have executed, from the
# .gcda files of a build with --coverage in FOLDER.
set -u
folder=$1

find "$folder" -name '*.gcno' -not -path "$folder/tests/*" -print0 | sort -z |
	xargs -0 -n 1 "${GCOV:-gcov}" -n 2>/dev/null |
	awk '
		/^File / {
			gsub(/\x27/, "")
			file = $2
		}
		# A header counts once for each source that uses it; sources count once.
		/^Lines executed:/ && file ~ /^[a-z].*\.c$/ {
			split($0, f, /[:% ]+/)
			lines[file] = f[5]
			run[file] = int(f[3] * f[5] / 100 + 0.5)
			file = ""
		}
		END { for (file in lines) print file, lines[file], run[file] }' |
	sort |
	awk '
		function row(file, lines, run) {
			printf "%-36s %6d %6d %6.1f %%\n", file, lines, run, lines ? 100 * run / lines : 0
		}
		BEGIN { printf "%-36s %6s %6s %8s\n", "file", "lines", "run", "share" }
		{ row($1, $2, $3); lines += $2; run += $3 }
		END { row("total", lines, run); exit !run }'
