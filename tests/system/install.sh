#!/bin/bash
# An installed program works from an empty folder: it prepares, trains and evaluates, its scripts find it, manual pages and
# completion are in their places, and it goes again without a trace. The archive of `make dist` is the same twice, and knows its
# release.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

top=$PWD
prefix=$TEST_FOLDER/prefix
share=$prefix/share/polysketch
release=$(sed -n 's/.*RELEASE_VERSION "\(.*\)"/\1/p' src/base/version.h)
unset MAKEFLAGS MAKELEVEL

# skip WHAT REASON: a part that cannot be tried on this machine.
skip() { echo "skipped: $1, $2"; }

test_release() {
    local line
    grep -qxE '[0-9]+\.[0-9]+\.[0-9]+' <<<"$release" || give_up "the release is '$release'"
    grep -qx "version: $release" CITATION.cff || give_up "CITATION.cff has another release than $release"
    line=$(sed -n 's/.*RELEASE_DATE "\(.*\)"/date-released: \1/p' src/base/version.h)
    grep -qx "$line" CITATION.cff || give_up "CITATION.cff does not say '$line'"
    grep -q "version(\"$release\"" packaging/spack/packages/polysketch/package.py || give_up "Spack's package is not of $release"
    "$program" --version >"$TEST_FOLDER/version.txt"
    grep -qE "^polysketch $release(\+[0-9a-f]+(-dirty)?)?$" "$TEST_FOLDER/version.txt" || give_up "$(<"$TEST_FOLDER/version.txt")"
    for line in '^compiler  (gcc|clang) ' '^flags     .*-O' '^MPI       .*[0-9]' '^HDF5      [0-9.]+$' \
        '^BLAS      [A-Za-z]+ [0-9.]+.*, kernel .*, [0-9]+ threads?$'; do
        grep -qE "$line" "$TEST_FOLDER/version.txt" || give_up "no line '$line' in $(<"$TEST_FOLDER/version.txt")"
    done
    [ "$(launch 2 1 "$program" --version | grep -c ^polysketch)" -eq 1 ] || give_up 'two ranks name two versions'
}

# Nothing that is installed knows the folder that stood before the prefix.
test_stage() {
    local stage=$TEST_FOLDER/stage place=/opt/polysketch
    quiet scripts/install.sh install "$program" "$place" "$stage"
    ! grep -rl -F -e "$stage" "$stage" >&2 || give_up 'these files name DESTDIR'
    grep -qF ":-$place/bin/polysketch}" "$stage$place/share/polysketch/slurm/common.bash" || give_up 'common.bash'
    quiet scripts/install.sh uninstall "$place" "$stage"
}

test_use() {
    local tiny=(--model.layers=1 --model.width=16 --model.heads=2 --model.context_length=64 --attention.block_length=16
        --attention.sketch_size=4 --train.batch_sequences=2 --train.steps=3)
    local files=(--data.train=data/train.h5 --data.validation=data/validation.h5)
    write_text 1200 >"$TEST_FOLDER/text.txt"
    quiet scripts/install.sh install "$program" "$prefix"
    stand_in_for_slurm "$TEST_FOLDER/slurm"
    echo 'echo the settings of a site' >"$share/slurm/site.env"
    mkdir "$TEST_FOLDER/work"
    cd "$TEST_FOLDER/work"
    PATH=$prefix/bin:$TEST_FOLDER/slurm:$PATH
    # shellcheck source=scripts/environment.sh
    . "$share/scripts/environment.sh"
    quiet polysketch prepare --input="$TEST_FOLDER/text.txt" --output=data
    quiet launch 2 1 polysketch train "$share/configs/default.ini" "${tiny[@]}" "${files[@]}" --output.folder=run
    quiet polysketch eval --checkpoint=run/checkpoints/step-00000003.h5 --data=data/validation.h5
    sbatch "$share/slurm/train.sbatch" "$share/configs/default.ini" "${tiny[@]}" "${files[@]}" --output.folder=job \
        >job.txt 2>&1 || give_up "the job script: $(tail -n 5 job.txt)"
    log_says job.txt " $prefix/bin/polysketch train $share/configs/default.ini" 'the settings of a site'
    require_equal_losses work/run work/job
    if command -v gnuplot >/dev/null; then
        quiet "$share/scripts/plot_loss.sh" run
    else
        skip 'the picture' 'gnuplot is not installed'
    fi
    cd "$top"
}

# check_manual FILE: rendered without a warning, with what must stand in it.
check_manual() {
    local page=$1 warnings=$TEST_FOLDER/warnings.txt
    if command -v mandoc >/dev/null; then
        mandoc -T lint -W warning "$page" >"$warnings" 2>&1 || true
        [ ! -s "$warnings" ] || give_up "mandoc: $(head -n 3 "$warnings")"
    fi
    if command -v man >/dev/null && command -v groff >/dev/null; then
        MANWIDTH=80 MANROFFSEQ='' LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" >/dev/null 2>"$warnings"
        [ ! -s "$warnings" ] || give_up "man: $(head -n 3 "$warnings")"
    fi
}

test_manuals() {
    local name words pages=$prefix/share/man/man1
    command -v mandoc man >/dev/null || skip 'rendering of manual pages' 'neither man nor mandoc is installed'
    check_manual "$pages/polysketch.1"
    for name in $("$program" --subcommands); do
        check_manual "$pages/polysketch-$name.1"
        for words in '.SH NAME' '.SH SYNOPSIS' '.SH DESCRIPTION' '.SH OPTIONS' '.SH EXAMPLES' '.SH EXIT STATUS'; do
            grep -qxF -e "$words" "$pages/polysketch-$name.1" || give_up "no '$words' for $name"
        done
    done
    "$program" train --help | sed -n 's/^  --\([a-z0-9_.]*\) .*/\1/p' | LC_ALL=C sort >"$TEST_FOLDER/listed.txt"
    sed -n 's/^\.BI \\-\\-\([a-z0-9_.]*\).*/\1/p' "$pages/polysketch-train.1" | LC_ALL=C sort >"$TEST_FOLDER/shown.txt"
    cmp "$TEST_FOLDER/shown.txt" "$TEST_FOLDER/listed.txt" || give_up 'the manual page of train has other options than --help'
    [ "$(wc -l <"$TEST_FOLDER/listed.txt")" -ge 60 ] || give_up "train has only $(wc -l <"$TEST_FOLDER/listed.txt") options"
}

# completions EXPECTED WORDS...: of the last word, as bash gives them, with those around '=' apart; all on one line.
completions() {
    local expected=$1 found
    shift
    found=$(cd "$TEST_FOLDER/work" && bash --norc --noprofile -c '
        . "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _polysketch
        echo "${COMPREPLY[*]}"' "$prefix/share/bash-completion/completions/polysketch" "$@")
    # The expected text is a pattern.
    # shellcheck disable=SC2053
    [[ $found == $expected ]] || give_up "completion of '$*' is '$found' instead of '$expected'"
}

test_completion() {
    completions 'prepare*' polysketch p
    completions 'train' polysketch help tr
    completions '--model.layers= *--model.zero_init_branches=' polysketch train --model.
    completions '--overwrite' polysketch train x.ini --ov
    completions '--attention.kind=' polysketch plan --attention.ki
    completions '*softmax*' polysketch train --attention.kind =
    completions 'poly* poly*' polysketch train --attention.kind = pol
    completions '--attention.kind=poly* --attention.kind=poly*' polysketch train --attention.kind=pol
    completions 'true false' polysketch train --train.document_mask = ''
    completions 'trained false true' polysketch eval --train.document_mask ''
    completions '' polysketch train --model.layers = ''
    completions 'data' polysketch train --data.train = da
    completions 'data/train.h5*' polysketch prepare --input = data/tr
    completions 'step' polysketch bench st
    completions 'run' polysketch inspect ru
    completions '' polysketch nonsense --a
}

test_module() {
    local start=/usr/share/modules/init/bash
    if [ ! -e "$start" ]; then
        skip 'the module file' 'environment-modules is not installed'
        return
    fi
    # shellcheck disable=SC2016
    quiet env -u MODULEPATH -u LOADEDMODULES PATH=/usr/bin:/bin bash --norc --noprofile -c '
        . "$0"
        module use "$1/share/polysketch/modulefiles"
        module load polysketch
        [ "$(command -v polysketch)" = "$1/bin/polysketch" ] && [ "$POLYSKETCH_SHARE" = "$1/share/polysketch" ] &&
            module list 2>&1 | grep -q "polysketch/$2" && module unload polysketch && ! command -v polysketch' \
        "$start" "$prefix" "$release"
}

# Once more over what is there, then away: nothing is left but what others have put there.
test_uninstall() {
    touch "$share/configs/of-an-earlier-release.ini"
    echo share/polysketch/configs/of-an-earlier-release.ini >>"$share/files.txt"
    quiet scripts/install.sh install "$program" "$prefix"
    [ ! -e "$share/configs/of-an-earlier-release.ini" ] || give_up 'a file of an earlier installation stays'
    quiet scripts/install.sh uninstall "$prefix"
    [ "$(find "$prefix" -type f)" = "$share/slurm/site.env" ] || give_up "left: $(find "$prefix" -type f)"
}

# refused WORDS COMMAND...: exit code 1 and one line.
refused() {
    local words=$1 output status=0
    shift
    output=$("$@" 2>&1) || status=$?
    if [ "$status" -eq 0 ] || [ "$(wc -l <<<"$output")" -ne 1 ] || [[ $output != *"$words"* ]]; then
        give_up "exit code $status of $*, without '$words': $output"
    fi
}

test_refusals() {
    refused 'is no path from' scripts/install.sh install "$program" relative "$TEST_FOLDER/none"
    refused 'is no path from' scripts/install.sh install "$program" '/a b' "$TEST_FOLDER/none"
    refused 'Try: make' scripts/install.sh install "$TEST_FOLDER/none" /usr "$TEST_FOLDER/none"
    touch "$TEST_FOLDER/file"
    refused 'cannot write below' scripts/install.sh install "$program" /usr "$TEST_FOLDER/file"
    refused 'nothing of polysketch is installed' scripts/install.sh uninstall /usr "$TEST_FOLDER/none"
    refused "unknown subcommand 'nonsense'" "$program" --man nonsense
    [ ! -e "$TEST_FOLDER/none" ] || give_up 'a refused installation leaves something'
}

# What make says of a BLAS library that it does not know, or that is not there.
test_blas() {
    local flavour=-refused-$$
    ! make -s BLAS=atlas info >"$TEST_FOLDER/make.txt" 2>&1 || give_up 'BLAS=atlas is taken'
    log_says "$TEST_FOLDER/make.txt" 'BLAS=atlas is unknown; it is one of openblas, blis, mkl'
    ! make -s BLAS=mkl BLAS_PACKAGES_mkl=no-such-package FLAVOUR="$flavour" program >"$TEST_FOLDER/make.txt" 2>&1 ||
        give_up 'no-such-package is taken'
    log_says "$TEST_FOLDER/make.txt" "BLAS=mkl: pkg-config does not find 'no-such-package'. Try: "
    rm -rf "build/release$flavour"
}

# Of the last commit, whose release may be another than that of files which were changed since.
test_archive() {
    local name folder
    if ! git rev-parse --git-dir >/dev/null 2>&1; then
        skip 'the archive' 'this is no clone'
        return
    fi
    for folder in once twice; do quiet scripts/dist.sh "$TEST_FOLDER/$folder"; done
    name=$(basename "$TEST_FOLDER"/once/polysketch-*.tar.gz .tar.gz)
    cmp "$TEST_FOLDER"/{once,twice}/"$name.tar.gz" || give_up 'two archives of one commit differ'
    tar -xzf "$TEST_FOLDER/once/$name.tar.gz" -C "$TEST_FOLDER"
    git ls-tree -r --name-only HEAD | LC_ALL=C sort >"$TEST_FOLDER/listed.txt"
    (cd "$TEST_FOLDER/$name" && find . -type f -o -type l | sed 's|^\./||' | LC_ALL=C sort) | cmp - "$TEST_FOLDER/listed.txt" ||
        give_up 'the archive has other files than the commit'
    [ "$(make -s -C "$TEST_FOLDER/$name" --no-print-directory info | head -n 1)" = "version   ${name#polysketch-}" ] ||
        give_up "the archive does not know that it is $name"
    refused 'no clone' "$TEST_FOLDER/$name/scripts/dist.sh"
}

test_release
test_stage
test_use
test_manuals
test_completion
test_module
test_uninstall
test_refusals
test_blas
test_archive
