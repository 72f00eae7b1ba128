#!/bin/bash
# Packs the last commit as FOLDER/polysketch-RELEASE.tar.gz: all files of the repository, in their order, with the time of the
# commit, so that the same commit makes the same bytes anywhere. Called by `make dist`.
#
#     scripts/dist.sh [FOLDER]      default: build
set -euo pipefail
cd "$(dirname "$0")/.."

export GIT_CEILING_DIRECTORIES
GIT_CEILING_DIRECTORIES=$(dirname "$PWD")

git rev-parse --git-dir >/dev/null 2>&1 || {
    echo 'dist.sh: this is no clone of the repository, so there is no commit to pack' >&2
    exit 1
}
[ -z "$(git status --porcelain)" ] || echo 'dist.sh: warning: files that are not committed are not in the archive' >&2

name=polysketch-$(git show HEAD:src/base/version.h | sed -n 's/.*RELEASE_VERSION "\(.*\)"/\1/p')
archive=${1:-build}/$name.tar.gz
mkdir -p "${archive%/*}"
trap 'rm -f "$archive.part"' EXIT
git -c tar.umask=0022 -c core.autocrlf=false archive --format=tar --prefix="$name/" HEAD | gzip -9 -n >"$archive.part"
mv "$archive.part" "$archive"
echo "$archive of commit $(git rev-parse --short HEAD), $(tar -tzf "$archive" | grep -vc '/$') files"
