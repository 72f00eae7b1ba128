#!/bin/bash
# Puts the program, its manual pages, the completion of bash, configurations, job scripts and documents below a folder, with the
# library if it is built, or takes them away again. Called by `make install` and `make uninstall`.
#
#     scripts/install.sh install PROGRAM PREFIX [DESTDIR]
#     scripts/install.sh uninstall PREFIX [DESTDIR]
#
# DESTDIR is put before PREFIX where files are written, and stands in none of them. What was installed is listed in
# share/polysketch/files.txt: exactly that goes when it is uninstalled, or installed again. A site.env that somebody has put
# beside the job script stays.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

# check_prefix: sets $root, the folder below which files are written, and $list. The prefix stands in scripts that are installed.
check_prefix() {
    [[ $prefix =~ ^/[A-Za-z0-9/._+@~-]*$ ]] ||
        fail "PREFIX='$prefix' is no path from '/' on, without blanks. Example: make install PREFIX=\$HOME/.local"
    prefix=${prefix%/}
    root=$destdir$prefix
    list=$root/share/polysketch/files.txt
}

# Files of the project that are installed as they are, but for the paths in them.
texts=(configs/* slurm/* scripts/environment.sh scripts/plot* scripts/compare_runs.sh scripts/tensorboard.py scripts/job_tables.py
    scripts/moving_average.awk scripts/quality/plot.py)
documents=(README.md CHANGELOG.md LICENSE CITATION.cff docs/*.md)

# with_paths: from those of a clone, below the folder that one works or submits in, to the installed ones.
with_paths() {
    local start='(^|[^A-Za-z0-9_/.])(\$\{SLURM_SUBMIT_DIR[^}]*\}/)?' file='((slurm|scripts)/[A-Za-z_]+\.[a-z]+)'
    sed -E "s#build/release/polysketch#$prefix/bin/polysketch#g; s#$start$file#\1$prefix/share/polysketch/\3#g"
}

# stage_library FOLDER: libraries, header, and what pkg-config says of them.
stage_library() {
    local built=${program%/*}/lib
    [ -e "$built/libpolysketch.a" ] || return 0
    mkdir -p "$1/lib/pkgconfig"
    cp -P "$built"/libpolysketch.* "$1/lib"
    install -D -m 644 include/polysketch.h "$1/include/polysketch.h"
    sed "s#^Libs: .*#Libs: -L$prefix/lib -lpolysketch#; s#^Cflags: .*#Cflags: -I$prefix/include#" \
        "$built/polysketch-uninstalled.pc" >"$1/lib/pkgconfig/polysketch.pc"
}

# stage FOLDER: everything as it will stand below PREFIX.
stage() {
    local share=$1/share/polysketch file name release
    release=$(sed -n 's/.*RELEASE_VERSION "\(.*\)"/\1/p' src/base/version.h)
    install -D -m 755 "$program" "$1/bin/polysketch"
    mkdir -p "$1/share/man/man1" "$1/share/bash-completion/completions"
    "$program" --man >"$1/share/man/man1/polysketch.1"
    for name in $("$program" --subcommands); do "$program" --man "$name" >"$1/share/man/man1/polysketch-$name.1"; done
    "$program" --completion >"$1/share/bash-completion/completions/polysketch"
    for file in "${texts[@]}"; do
        if [ ! -f "$file" ] || [ "$file" = slurm/site.env ]; then continue; fi
        mkdir -p "$share/${file%/*}"
        with_paths <"$file" >"$share/$file"
        chmod --reference="$file" "$share/$file"
    done
    for file in "${documents[@]}"; do install -D -m 644 "$file" "$1/share/doc/polysketch/$file"; done
    mkdir -p "$share/modulefiles/polysketch"
    sed "s#@PREFIX@#$prefix#; s#@RELEASE@#$release#" packaging/modulefile >"$share/modulefiles/polysketch/$release"
    stage_library "$1"
    touch "$share/files.txt"
    (cd "$1" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort) >"$share/files.txt"
}

# remove_files: those that an earlier installation has listed, and the folders that are then empty and ours alone.
remove_files() {
    local file
    while read -r file; do rm -f "$root/$file"; done <"$list"
    find "$root/share/polysketch" "$root/share/doc/polysketch" -depth -type d -empty -delete 2>/dev/null || true
}

install_all() {
    local stage
    [ -x "$program" ] || fail "there is no program '$program'. Try: make"
    stage=$(mktemp -d)
    # The name as it is now: the variable is gone when the script ends.
    # shellcheck disable=SC2064
    trap "rm -rf '$stage'" EXIT
    stage "$stage"
    { mkdir -p "$root" && [ -w "$root" ]; } 2>/dev/null ||
        fail "cannot write below '$root'. Try: sudo make install, or a folder of your own: make install PREFIX=\$HOME/.local"
    [ ! -e "$list" ] || remove_files
    cp -RP "$stage/." "$root"
    echo "installed below $root: $(wc -l <"$list") files, listed in share/polysketch/files.txt"
}

uninstall_all() {
    [ -e "$list" ] || fail "nothing of polysketch is installed below '$root': there is no '$list'"
    remove_files
    if [ -e "$root/share/polysketch" ]; then echo "left: $(find "$root/share/polysketch" -type f | tr '\n' ' ')"; fi
    echo "uninstalled from $root"
}

case ${1:-} in
    install)
        program=$2 prefix=$3 destdir=${4:-}
        check_prefix
        install_all
        ;;
    uninstall)
        prefix=$2 destdir=${3:-}
        check_prefix
        uninstall_all
        ;;
    *) fail 'usage: scripts/install.sh install PROGRAM PREFIX [DESTDIR], or uninstall PREFIX [DESTDIR]' ;;
esac
