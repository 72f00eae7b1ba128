# shellcheck shell=bash
# What the scripts share that draw the tables of a run folder with gnuplot.
export LC_ALL=C
script=${0##*/}

fail() {
    echo "$script: $1" >&2
    exit 1
}

# open_run TABLE.csv ARGUMENTS...: of a script that takes RUN_FOLDER [OUTPUT.png] and needs this table. Sets $run, the folder, and
# $title, its name; $work, a folder for files that goes away; $terminal, which draws pictures.
open_run() {
    local table=$1
    shift
    if [ $# -lt 1 ] || [ $# -gt 2 ]; then
        fail "usage: scripts/$script RUN_FOLDER [OUTPUT.png]"
    fi
    run=${1%/}
    command -v gnuplot >/dev/null || fail 'gnuplot is not installed. Try: make install-packages'
    [ -r "$run/$table" ] || fail "there is no '$run/$table'; is '$run' the folder of a run?"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    terminal=png
    if gnuplot -e 'set terminal pngcairo' 2>/dev/null; then
        terminal=pngcairo
    fi
    title=$(basename "$(realpath "$run")")
}

# columns CSV NAME...: the named columns, separated by blanks, of the rows whose values are all numbers.
columns() {
    local csv=$1
    shift
    awk -F, -v names="$*" -v script="$script" '
        { gsub(/[" \t\r]/, "") }
        NR == 1 {
            count = split(names, name, " ")
            for (i = 1; i <= NF; i++)
                place[$i] = i
            for (i = 1; i <= count; i++)
                if (!(name[i] in place)) {
                    print script ": no column \"" name[i] "\" in " FILENAME >"/dev/stderr"
                    exit 1
                }
            next
        }
        {
            line = ""
            for (i = 1; i <= count; i++) {
                value = $place[name[i]]
                if (value !~ /^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$/)
                    next
                line = line value " "
            }
            print line
        }' "$csv"
}
