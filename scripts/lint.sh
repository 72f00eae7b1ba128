#!/bin/bash
# Everything about the text of the project that a machine can check: layers, rules, formatting, shell and Python scripts, links
# between documents.
# Prints a line per problem and ends with `lint: ok`, or with exit code 1.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.."

status=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in clang-format shellcheck python3; do
    command -v "$tool" >/dev/null || {
        echo "lint.sh: $tool is not installed. Try: make install-packages" >&2
        exit 1
    }
done

# files NAME_PATTERN...: the files of the project with such names.
files() {
    local tests=() pattern
    for pattern in "$@"; do tests+=(-o -name "$pattern"); done
    find . \( -path ./.git -o -path ./build -o -path ./results \) -prune -o -type f \( "${tests[@]:1}" \) -print |
        sed 's|^\./||' | sort
}

mapfile -t c_files < <(files '*.[ch]' '*.cc')
mapfile -t shell_files < <(files '*.sh' '*.sbatch'; [ ! -e .ci/run ] || echo .ci/run)
mapfile -t python_files < <(files '*.py')
mapfile -t text_files < <(files '*.[ch]' '*.cc' '*.sh' '*.sbatch' '*.py' '*.md' '*.ini' '*.txt' '*.mk' Makefile .clang-format)
mapfile -t program_files < <(printf '%s\n' "${c_files[@]}" "${shell_files[@]}" "${python_files[@]}" Makefile config.mk)

# forbid PATTERN REASON FILE...: complains of every line of the files that matches the extended regular expression.
forbid() {
    local pattern=$1 reason=$2
    shift 2
    [ $# -gt 0 ] || return 0
    if grep -nHE -e "$pattern" -- "$@" >"$work/found"; then
        sed "s|^\([^:]*:[0-9]*\):.*|\1: $reason|" "$work/found"
        status=1
    fi
}

# The C files again under $work/code, lines kept, without comments and without what strings contain.
bare_code() {
    local file
    for file in "$@"; do
        mkdir -p "$work/code/${file%/*}"
        awk '
            {
                line = $0
                out = ""
                while (line != "") {
                    if (comment) {
                        if (!match(line, /\*\//))
                            break
                        line = substr(line, RSTART + 2)
                        comment = 0
                        continue
                    }
                    if (!match(line, /"([^"\\]|\\.)*"|\x27([^\x27\\]|\\.)*\x27|\/\*|\/\//)) {
                        out = out line
                        break
                    }
                    out = out substr(line, 1, RSTART - 1)
                    token = substr(line, RSTART, 2)
                    line = substr(line, RSTART + RLENGTH)
                    if (token == "//")
                        break
                    if (token == "/*")
                        comment = 1
                    else
                        out = out "\"\""
                }
                print out
            }' "$file" >"$work/code/$file"
    done
}

# forbid_call NAMES REASON FILE...: complains of calls of these functions.
forbid_call() {
    local names=$1 reason=$2
    shift 2
    [ $# -gt 0 ] || return 0
    (cd "$work/code" && grep -nHE -e "(^|[^A-Za-z0-9_])($names) *\(" -- "$@") >"$work/found" || return 0
    sed "s|^\([^:]*:[0-9]*\):.*|\1: $reason|" "$work/found"
    status=1
}

# ---- layers and rules

scripts/check_layers.sh || status=1

bare_code "${c_files[@]}"
mapfile -t ending_files < <(printf '%s\n' "${c_files[@]}" |
    grep -vxE 'src/base/(error|processor)\.c|mpi/world\.c|tests/.*' || true)
forbid_call 'exit|_exit|_Exit|abort|MPI_Abort' \
    'programs end only in src/base/error.c, src/base/processor.c and mpi/world.c; use CHECK or return' "${ending_files[@]}"
forbid_call 'assert' 'use ASSERT (our bugs) or CHECK (the world) of src/base/error.h' "${c_files[@]}"
forbid_call 's?rand|random|drand48' 'random numbers come from src/base/rng.h' "${c_files[@]}"

# ---- sizes, and facts with one owner

mapfile -t library_files < <(printf '%s\n' "${c_files[@]}" | grep -E '^(src|mpi|io)/')
(cd "$work/code" && awk '
    FNR == 1 { start = 0 }
    /^\{/ { start = FNR }
    /^\}/ { if (start && FNR - start - 1 > 60) printf "%s:%d: a function of more than 60 lines\n", FILENAME, start; start = 0 }
    FNR == 451 { print FILENAME ":451: a file of more than 450 lines" }' "${library_files[@]}") >"$work/long"
if [ -s "$work/long" ]; then
    cat "$work/long"
    status=1
fi
mapfile -t others < <(printf '%s\n' "${library_files[@]}" | grep -v '^src/core/param_' || true)
forbid 'param(s\[[^]]*\])?(->|\.)offset' 'where a tensor lies only a ParamStore knows; ask it' \
    "${others[@]}"

forbid $'\t' 'tab' "${c_files[@]}" "${shell_files[@]}" "${python_files[@]}"
forbid '[[:blank:]]$' 'blank at the end of the line' "${text_files[@]}"
forbid 'TO''DO|FIX''ME' 'unfinished business belongs in an issue' "${program_files[@]}"
forbid '^.{131}' 'longer than 130 columns' "${program_files[@]}"

# ---- formatting

if ! clang-format --dry-run -Werror "${c_files[@]}" 2>"$work/format"; then
    grep -E '^[^ ]+:[0-9]+:[0-9]+: (error|warning)' "$work/format" | cut -d : -f 1,2 | sort -u -t : -k 1,1 -k 2,2n |
        sed 's|$|: not formatted. Try: make format|'
    status=1
fi

# ---- scripts

if [ ${#shell_files[@]} -gt 0 ]; then
    shellcheck --shell=bash --external-sources --format=gcc "${shell_files[@]}" || status=1
fi
for file in "${python_files[@]}"; do
    PYTHONPYCACHEPREFIX="$work/python" /usr/bin/python3 -m py_compile "$file" || status=1
done

# ---- documents

mapfile -t documents < <(find . \( -path ./.git -o -path ./build \) -prune -o -name '*.md' -print | sed 's|^\./||' | sort)
scripts/check_links.py "${documents[@]}" || status=1

[ "$status" -eq 0 ] || exit 1
echo 'lint: ok'
