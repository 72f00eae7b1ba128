#!/bin/bash
# The commands of docs/guide.md, as they are printed there, one after the other, by an installed program in an empty folder.
# Models are tiny: the program is wrapped so that `train` gets a few more options. Jobs run on this machine.
# time limit: 300 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

top=$PWD
export HOME=$TEST_FOLDER/home
commands=$TEST_FOLDER/commands.sh
real=$HOME/.local/bin/real-polysketch

# wrap_program: the last of two options counts. A test of recall keeps the lengths that the guide gives it.
wrap_program() {
    local tiny='--model.layers=1 --model.width=16 --model.heads=2 --attention.sketch_size=4 --train.batch_sequences=2'
    mv "$HOME/.local/bin/polysketch" "$real"
    cat >"$HOME/.local/bin/polysketch" <<END
#!/bin/bash
case "\$*" in
    train*data.source=*) exec '$real' "\$@" $tiny ;;
    train*) exec '$real' "\$@" $tiny --model.context_length=64 --attention.block_length=16 ;;
esac
exec '$real' "\$@"
END
    chmod +x "$HOME/.local/bin/polysketch"
}

# print_commands: the indented lines, which are all commands.
print_commands() {
    sed -n 's/^    //p' "$top/docs/guide.md" | if command -v gnuplot >/dev/null; then
        cat
    else
        echo 'skipped: the pictures, gnuplot is not installed' >&2
        sed '/plot_/d'
    fi
}

quiet scripts/install.sh install "$program" "$HOME/.local"
wrap_program
stand_in_for_slurm "$HOME/.local/bin"
print_commands >"$commands"
[ "$(grep -c polysketch "$commands")" -ge 20 ] || give_up 'docs/guide.md has no commands'

mkdir "$TEST_FOLDER/work"
cd "$TEST_FOLDER/work"
bash -euxo pipefail "$commands" >output.txt 2>&1 || give_up "exit code $?: $(tail -n 25 output.txt)"

# What the guide says comes out of them.
log_says results/first/train.log '| 2 ranks = ' 'step 200/200' 'step 240/240' 'step-00000200.h5: step 200' 'step 220/220'
log_says results/both/train.log "75.00 % of the sequences from 'data/ids/train.h5'"
log_says results/job/train.log '| 2 ranks = ' 'step 50/50'
log_says results/recall/train.log 'accuracy'
log_says model.txt 'all values are finite, and agree with their digests'
! command -v gnuplot >/dev/null || ls results/first/loss.png results/first/attention.png >/dev/null
