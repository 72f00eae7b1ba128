# shellcheck shell=bash
# What the scripts share that draw the tables of run folders with gnuplot.
export LC_ALL=C
script=${0##*/}

fail() {
    echo "$script: $1" >&2
    exit 1
}

# check_gnuplot: sets $terminals, how pictures are drawn by their endings, and $work, a folder for files that goes away.
check_gnuplot() {
    command -v gnuplot >/dev/null || fail 'gnuplot is not installed. Try: make install-packages'
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    declare -gA terminals=([png]=png [svg]="svg background '#ffffff'")
    if gnuplot -e 'set terminal pngcairo' 2>/dev/null; then
        terminals[png]=pngcairo
    fi
}

# open_run TABLE.csv NAME ARGUMENTS...: of a script that takes RUN_FOLDER [OUTPUT.png|OUTPUT.svg] and needs this table. Sets $run,
# the folder, $title, its name, and $outputs: the file that was asked for, or NAME.png and NAME.svg in the folder.
open_run() {
    local table=$1 name=$2
    shift 2
    if [ $# -lt 1 ] || [ $# -gt 2 ]; then
        fail "usage: scripts/$script RUN_FOLDER [OUTPUT.png|OUTPUT.svg]"
    fi
    run=${1%/}
    check_gnuplot
    [ -r "$run/$table" ] || fail "there is no '$run/$table'; is '$run' the folder of a run?"
    title=$(basename "$(realpath "$run")")
    outputs=("$run/$name.png" "$run/$name.svg")
    [ $# -lt 2 ] || outputs=("$2")
}

# draw WIDTH,HEIGHT: a picture by the commands on standard input, which say `set output picture` before they plot; once for each
# of $outputs, in the format of its name. A picture is put in its place when it is whole.
draw() {
    local commands output format begin
    commands=$(cat)
    for output in "${outputs[@]}"; do
        format=${output##*.}
        [ -n "${terminals[$format]:-}" ] || fail "'$output' is neither .png nor .svg"
        begin="set terminal ${terminals[$format]} size $1 font 'DejaVu Sans,13'; picture = '$work/picture'"
        gnuplot -e "$begin" - <<<"$commands"
        mv "$work/picture" "$output"
    done
}

# moving_average: of lines `step value`, with the average around each step behind them.
moving_average() { awk -f "$(dirname "${BASH_SOURCE[0]}")/moving_average.awk"; }

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
