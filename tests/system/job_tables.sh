#!/bin/bash
# Tables and pictures of sweeps and of scaling (scripts/job_tables.py) say what the tables of the runs say, and what bench has
# measured; the lines of a sweep file are read alike by the job scripts and by the table, and wrong ones are refused.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# same_value CSV NAME_COLUMN NAME COLUMN EXPECTED: to the digits that are printed.
same_value() {
    python - "$@" <<'END' || give_up "$4 of $3 in $1 is not $5: $(<"$1")"
import csv, sys
table, key, name, column, expected = sys.argv[1:]
with open(table, newline="") as file:
    value, = (row[column] for row in csv.DictReader(file) if row[key] == name)
digits = len(value.partition(".")[2])
sys.exit(abs(float(value) - float(expected)) > 0.51 * 10.0**-digits)
END
}

# picture FILE: where there is gnuplot.
picture() {
    if command -v gnuplot >/dev/null; then
        [ -s "$1" ] || give_up "no picture $1"
    else
        echo 'skipped: pictures (gnuplot is not installed)'
    fi
}

test_sweep() {
    local sweep=$TEST_FOLDER/sweep lines=$TEST_FOLDER/lines.txt
    printf '# name | options\nfirst | train.learning_rate=0.001  # slow\n\nsecond\nthird | train.steps=9\n' >"$lines"
    train 1 sweep/first --data.validation="$data/validation.h5" --train.learning_rate=0.001
    train 1 sweep/second --data.validation="$data/validation.h5" --train.steps=120
    quiet scripts/job_tables.py sweep "$sweep" "$lines"
    [ "$(cut -d , -f 1-3 "$sweep/sweep.csv" | xargs)" = 'name,state,steps first,finished,5 second,finished,120 third,none,0' ] ||
        give_up "$(<"$sweep/sweep.csv")"
    same_value "$sweep/sweep.csv" name first loss "$(column loss "$sweep/first/metrics.csv" | tail -n 1)"
    same_value "$sweep/sweep.csv" name second loss \
        "$(column loss "$sweep/second/metrics.csv" | tail -n 2 | awk '{ sum += $1 } END { print sum / 2 }')"
    same_value "$sweep/sweep.csv" name second validation_loss "$(column loss "$sweep/second/evaluations.csv")"
    same_value "$sweep/sweep.csv" name second bits_per_byte "$(column bits_per_byte "$sweep/second/evaluations.csv")"
    same_value "$sweep/sweep.csv" name first tokens_per_second \
        "$(column tokens_per_second "$sweep/first/metrics.csv" | sort -g | sed -n 3p)"
    log_says "$sweep/sweep.txt" 'train.learning_rate=0.001' none
    picture "$sweep/sweep.png"
    train 1 sweep/third --train.steps=9 # a table can be made again
    sed -i 's/^steps = 9$/steps = 10/' "$sweep/third/config.ini"
    quiet scripts/job_tables.py sweep "$sweep" "$lines"
    grep -q '^third,unfinished,9,' "$sweep/sweep.csv" || give_up "$(<"$sweep/sweep.csv")"
}

# reads_lines FILE: the names and options that the job scripts read.
reads_lines() {
    bash -euo pipefail -c '. slurm/common.bash; read_sweep "$1"
        for i in "${!names[@]}"; do echo "${names[i]}: ${settings[i]}"; done' slurm/sweep.sh "$1"
}

# refuses_lines WORDS TEXT
refuses_lines() {
    printf '%b' "$2" >"$TEST_FOLDER/wrong.txt"
    ! reads_lines "$TEST_FOLDER/wrong.txt" >"$TEST_FOLDER/wrong.out" 2>&1 || give_up "accepted: $2"
    log_says "$TEST_FOLDER/wrong.out" "$1"
}

test_lines() {
    local lines=$TEST_FOLDER/lines.txt
    printf 'a|x.y=1   x.z=2*\n  b-1 | # none\n\t\nc | attention.pattern=polysketch*3,softmax' >"$lines"
    cmp <(reads_lines "$lines") <(printf 'a: x.y=1 x.z=2*\nb-1: \nc: attention.pattern=polysketch*3,softmax\n') ||
        give_up "$(reads_lines "$lines")"
    cmp <(reads_lines "$lines") <(python - "$lines" <<'END'
import pathlib, sys
sys.path.insert(0, "scripts")
import job_tables
for name, options in job_tables.sweep_lines(pathlib.Path(sys.argv[1])):
    print(f"{name}: {options}")
END
    ) || give_up 'the table reads other lines'
    refuses_lines 'line 2: there are two runs named' 'a | x.y=1\na | x.y=2\n'
    refuses_lines "line 1: '--x.y=1' is not section.key=value" 'a | --x.y=1\n'
    refuses_lines 'line 3 is not NAME | section.key=value' '\n\na b | x.y=1\n'
    refuses_lines 'line 1 is not NAME | section.key=value' '../a | x.y=1\n'
    refuses_lines 'has no runs' '# a | x.y=1\n'
}

test_scaling() {
    local scaling=$TEST_FOLDER/scaling ranks
    mkdir "$scaling"
    for ranks in 2 1; do
        quiet launch $ranks 1 "$program" bench step tests/data/tiny.ini --variants=config --contexts=64 --repeats=1 --warmups=0 \
            --csv="$scaling/strong.csv"
    done
    ! scripts/job_tables.py scaling "$data" 2>"$TEST_FOLDER/refused" || give_up 'a folder without rows'
    log_says "$TEST_FOLDER/refused" 'slurm/scaling.sbatch makes them'
    quiet scripts/job_tables.py scaling "$scaling" --ranks-per-node=1
    [ "$(cut -d , -f 1-3,6 "$scaling/scaling.csv" | xargs)" = \
        'scaling,ranks,nodes,context strong,1,1,64 strong,2,2,64' ] || give_up "$(<"$scaling/scaling.csv")"
    same_value "$scaling/scaling.csv" ranks 1 efficiency 1
    same_value "$scaling/scaling.csv" ranks 2 speedup \
        "$(column useful_gflops "$scaling/strong.csv" | awk 'NR == 1 { two = $1 } END { print two / $1 }')"
    same_value "$scaling/scaling.csv" ranks 2 waiting "$(column waiting_fraction "$scaling/strong.csv" | head -n 1)"
    same_value "$scaling/scaling.csv" ranks 2 communication "$(column communication_fraction "$scaling/strong.csv" | head -n 1)"
    picture "$scaling/scaling.png"
}

prepare_data
test_lines
test_sweep
test_scaling
