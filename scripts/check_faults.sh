#!/bin/bash
# Runs the rows of the table of faults, one line each, and ends with a line "N passed, N failed".
#
#     scripts/check_faults.sh [NAME...]      e.g.  scripts/check_faults.sh mutations fuzz; without names all
#
# A row is a script scripts/faults/NAME.sh. Its comment "test: ..." names what is tested, the last line it prints is the figure,
# exit code 0 means passed. It starts in the repository root, with TEST_FOLDER an empty folder of its own that is removed unless
# the row fails; `make check-faults` has built what it needs. Logs are in build/test-logs/. Each line is also appended
# to results/faults/faults.csv, with command, version and machine.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

logs=build/test-logs
table=${FAULTS_TABLE:-results/faults/faults.csv}
passed=0
failed=0
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

# run_row NAME
run_row() {
    local script=scripts/faults/$1.sh log=$logs/faults-$1.log folder=$PWD/$logs/faults-$1.files test figure start seconds
    local verdict=passed
    if [ ! -e "$script" ]; then
        echo "check_faults.sh: there is no row '$1'. There are: $(basename -s .sh scripts/faults/*.sh | xargs)" >&2
        exit 2
    fi
    test=$(sed -n 's/^# test: //p' "$script")
    rm -rf "$folder"
    mkdir -p "$folder"
    start=$SECONDS
    TEST_FOLDER=$folder bash "$script" >"$log" 2>&1 </dev/null || verdict=failed
    seconds=$((SECONDS - start))
    figure=$(tail -n 1 "$log")
    printf '%-60s | %s | %d s | %s\n' "$test" "$figure" "$seconds" "$verdict"
    record "$test" "$figure" "$seconds" "$verdict" "scripts/check_faults.sh $1"
    if [ "$verdict" = passed ]; then
        passed=$((passed + 1))
        rm -rf "$folder"
    else
        failed=$((failed + 1))
        tail -n 20 "$log" | sed 's/^/    | /'
    fi
}

names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(basename -s .sh scripts/faults/*.sh)
for name in "${names[@]}"; do run_row "$name"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
