#!/bin/bash
# All documents and manual pages as pages that a browser reads, with the pictures and sources that they link, below build/docs;
# index.html lists them. Called by `make docs`.
#
#     scripts/make_docs.sh PROGRAM [FOLDER]      pages of an earlier time in it are replaced
set -euo pipefail
program=$(realpath "$1")
folder=$(realpath -m "${2:-build/docs}")
cd "$(dirname "$0")/.."

command -v pandoc >/dev/null || {
    echo 'make_docs.sh: pandoc is not installed. Try: scripts/install_packages.sh docs. Or read the documents as they are' >&2
    exit 1
}
[ ! -e "$folder" ] || [ -e "$folder/style.css" ] || {
    echo "make_docs.sh: '$folder' is there and has no pages to replace. Name another folder" >&2
    exit 1
}
mkdir -p "${folder%/*}"
pages=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$pages"' EXIT
chmod 755 "$pages"
cp docs/style.css "$pages"

# page FORMAT PAGE TITLE: standard input as PAGE below $pages.
page() {
    local up
    up=$(dirname "$2" | sed 's|^\.$||; s|[^/]\+/\?|../|g')
    mkdir -p "$pages/$(dirname "$2")"
    pandoc --from="$1" --to=html5 --standalone --css="${up}style.css" --metadata=pagetitle="$3" \
        --lua-filter=scripts/html_links.lua --output="$pages/$2"
}

# copy_linked DOCUMENT: the files named on standard input, which are relative to it.
copy_linked() {
    local file
    while read -r file; do
        file=$(realpath --relative-to=. "$(dirname "$1")/$file")
        mkdir -p "$pages/$(dirname "$file")"
        cp -rT "$file" "$pages/$file"
    done
}

mapfile -t documents < <(find . \( -path ./.git -o -path ./build \) -prune -o -name '*.md' -print | sed 's|^\./||' | sort)
index=$'# polysketch\n\n'
for document in "${documents[@]}"; do
    title=$(sed -n '/^# /{s/^# //p;q}' "$document")
    page gfm "${document%.md}.html" "$title" <"$document" 2>"$pages/linked" || {
        cat "$pages/linked" >&2
        exit 1
    }
    copy_linked "$document" <"$pages/linked"
    index+="- [$title](${document%.md}.html), $document"$'\n'
done
index+=$'\n## Manual pages\n\n'
for name in '' $("$program" --subcommands); do
    # Without a name: the page of the program.
    # shellcheck disable=SC2086
    "$program" --man $name | page man "man/polysketch${name:+-$name}.html" "polysketch $name"
    index+="- [polysketch $name](man/polysketch${name:+-$name}.html)"$'\n'
done
page gfm index.html polysketch <<<"$index"
rm "$pages/linked"
rm -rf "$folder"
mv "$pages" "$folder"
echo "$folder/index.html"
