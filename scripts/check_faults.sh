#!/bin/bash
# Runs the rows of the table of faults, one line each, and ends with a line "N passed, N failed".
#
#     scripts/check_faults.sh [NAME...]      e.g.  scripts/check_faults.sh mutations fuzz; without names all
#
# Two rows run at a time (ROWS_AT_ONCE). A row is a script scripts/faults/NAME.sh. Its comment "test: ..." names what is tested,
# "seconds: N" is about how long it takes, the last line it prints is the figure, exit code 0 means passed. It starts in the
# repository root, with TEST_FOLDER an empty folder of its own that is removed unless the row fails; `make check-faults` has built
# what it needs. Logs are in build/test-logs/. Each line is also appended to results/faults/faults.csv, with command, version and
# machine.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

at_once=${ROWS_AT_ONCE:-2}
logs=build/test-logs
table=${FAULTS_TABLE:-results/faults/faults.csv}
mkdir -p "$logs" "$(dirname "$table")"
[ -e "$table" ] || echo 'date,version,machine,test,figure,seconds,verdict,command' >"$table"
version=$(git describe --always --dirty 2>/dev/null || echo unknown)
machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(usable_processors) processors"

# quoted TEXT: as a field of a CSV file.
quoted() { printf '"%s"' "${1//\"/\"\"}"; }

# record TEST FIGURE SECONDS VERDICT COMMAND: a line of the table.
record() {
    printf '%s,%s,%s,%s,%s,%s,%s,%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$version" "$(quoted "$machine")" "$(quoted "$1")" \
        "$(quoted "$2")" "$3" "$4" "$(quoted "$5")" >>"$table"
}

# run_row NAME: prints its line when it is done; the verdict is left beside its log.
run_row() {
    local script=scripts/faults/$1.sh log=$logs/faults-$1.log folder=$PWD/$logs/faults-$1.files test figure start=$SECONDS
    local verdict=passed
    test=$(sed -n 's/^# test: //p' "$script")
    rm -rf "$folder"
    mkdir -p "$folder"
    TEST_FOLDER=$folder bash "$script" >"$log" 2>&1 </dev/null || verdict=failed
    figure=$(tail -n 1 "$log")
    printf '%-60s | %s | %d s | %s\n' "$test" "$figure" $((SECONDS - start)) "$verdict"
    record "$test" "$figure" $((SECONDS - start)) "$verdict" "scripts/check_faults.sh $1"
    if [ "$verdict" = passed ]; then rm -rf "$folder"; else tail -n 20 "$log" | sed 's/^/    | /'; fi
    echo "$verdict" >"$logs/faults-$1.verdict"
}

# rows_by_time: all rows, the longest first, so that the last ones end together.
rows_by_time() { grep '^# seconds: ' scripts/faults/*.sh | sort -k 3 -rn | sed 's|.*/\(.*\)\.sh:.*|\1|'; }

names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(rows_by_time)
for name in "${names[@]}"; do
    if [ ! -e "scripts/faults/$name.sh" ]; then
        echo "check_faults.sh: there is no row '$name'. There are: $(rows_by_time | sort | xargs)" >&2
        exit 2
    fi
done
rm -f "$logs"/faults-*.verdict
for name in "${names[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do wait -n || true; done
    run_row "$name" &
done
wait
passed=$(cat "$logs"/faults-*.verdict | grep -c '^passed$' || true)
echo "$passed passed, $((${#names[@]} - passed)) failed"
[ "$passed" -eq ${#names[@]} ]
