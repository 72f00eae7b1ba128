#!/bin/bash
# Checks every #include of the C files against the table scripts/layers.txt; a line per violation, exit code 1 if any.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A allowed=() # folder -> folders it may include
declare -A users=()   # <library header pattern> -> files that may include it
while read -r name rest; do
    case $name in
        '' | '#'*) ;;
        '<'*) users[$name]=$rest ;;
        *) allowed[$name]=$rest ;;
    esac
done <scripts/layers.txt

status=0
complain() {
    echo "$1"
    status=1
}

# matches TEXT PATTERN...: whether the text matches one of the patterns.
matches() {
    local text=$1 pattern
    shift
    for pattern in "$@"; do
        # shellcheck disable=SC2053
        [[ $text == $pattern ]] && return 0
    done
    return 1
}

include_line='^#[[:space:]]*include[[:space:]]*(<[^>]*>|"[^"]*")'
while IFS=: read -r file line text; do
    [[ $text =~ $include_line ]] || continue
    header=${BASH_REMATCH[1]}
    folder=${file%/*}
    if [ -z "${allowed[$folder]+known}" ]; then
        complain "$file:$line: the folder $folder has no line in scripts/layers.txt"
    elif [[ $header == '<'* ]]; then
        for library in "${!users[@]}"; do
            read -ra patterns <<<"${users[$library]}"
            if matches "$header" "$library" && ! matches "$file" "${patterns[@]}"; then
                complain "$file:$line: $header may be included only in ${patterns[*]}"
            fi
        done
    else
        header=${header//\"/}
        read -ra patterns <<<"$folder ${allowed[$folder]}"
        if [[ $header != */* ]] || [ ! -e "$header" ]; then
            complain "$file:$line: \"$header\" is not a path from the repository root"
        elif ! matches "${header%/*}" "${patterns[@]}"; then
            complain "$file:$line: $folder must not include $header"
        fi
    fi
done < <(grep -rnE --include='*.[ch]' --include='*.cc' '^#[[:space:]]*include' src mpi io tests bench 2>/dev/null || true)
exit "$status"
