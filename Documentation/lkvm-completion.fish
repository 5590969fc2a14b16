# Fish completion of lkvm: the functions that the tables, put behind this by the build, call.

# __lkvm_at [COMMAND]: does the cursor stand behind this command, or where the command belongs?
function __lkvm_at
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

function __lkvm_at_operand
    not string match -q -- '-*' (commandline -ct)
end

function __lkvm_guests
    set -l words (commandline -opc)
    $words[1] list --quiet 2>/dev/null
end

# The words of a list, behind what stands in it already; each may have a tab and a description behind it.
function __lkvm_list
    set -l done (commandline -ct | string replace -r '^--[^=]*=' '' | string match -r '.*,')
    printf '%s\n' "$done"$argv
end

function __lkvm_file_list
    set -l token (commandline -ct | string replace -r '^--[^=]*=' '')
    if string match -q '*,*' -- $token
        __lkvm_list $argv
    else
        __fish_complete_path $token
    end
end

