#!/bin/bash
# The commands and programs of docs/format.md and docs/weights.md, as they are printed there, one after the other. They write
# below build/example.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# A folder that looks like a clone in which the program was built.
clone=$TEST_FOLDER/clone
mkdir -p "$clone/build/release"
cp -r src tests configs docs "$clone"
ln -s "$program" "$clone/build/release/polysketch"

# print_commands FILE: a shell script of its indented blocks that are commands, and of its Python programs.
print_commands() {
    awk '
        /^```python$/ { print "/usr/bin/python3 - <<\"PROGRAM\""; inside = 1; next }
        /^```$/ { if (inside) print "PROGRAM"; inside = 0; next }
        inside { print; next }
        goes_on || /^    (build\/release\/polysketch|\/usr\/bin\/python3) / { sub(/^    /, ""); print; goes_on = /\\$/ }' "$1"
}

for page in docs/format.md docs/weights.md; do
    print_commands $page >"$clone/page.sh"
    [ "$(grep -c '^build/release/polysketch' "$clone/page.sh")" -ge 5 ] || give_up "$page has no commands"
    cat "$clone/page.sh" >>"$clone/commands.sh"
done
cd "$clone"
OMP_NUM_THREADS=1 quiet bash -euo pipefail commands.sh
