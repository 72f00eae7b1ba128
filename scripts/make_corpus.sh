#!/bin/bash
# Writes the King James Bible of Debian's package bible-kjv as a folder of text files, one per book in their order
# (01-Ge.txt ... 66-Rev.txt), one verse per line and without the verse numbers. Does nothing when the folder is there.
#
#     scripts/make_corpus.sh OUT_FOLDER
set -euo pipefail
export LC_ALL=C

fail() {
    echo "make_corpus.sh: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail 'usage: scripts/make_corpus.sh OUT_FOLDER'
out=${1%/}
[ ! -e "$out" ] || exit 0
command -v bible >/dev/null || fail "the program 'bible' is not installed. Try: make install-packages"

# Written beside and renamed, so that a folder of that name is always complete.
mkdir -p "$(dirname "$out")"
part="$out.part.$$"
trap 'rm -rf "$part"' EXIT
rm -rf "$part"
mkdir "$part"

# A line is "Ge1:1 In the beginning ...": book, chapter, colon, verse.
bible -f 'Gen1:1-Rev22:21' | awk -v folder="$part" '
    {
        if (!match($1, /[0-9]+:[0-9]+$/)) {
            print "line " NR " has no verse label: " $0 >"/dev/stderr"
            exit 1
        }
        label = substr($1, 1, RSTART - 1)
        if (label != book) {
            book = label
            if (file != "")
                close(file)
            file = sprintf("%s/%02d-%s.txt", folder, ++books, book)
        }
        print substr($0, length($1) + 2) >file
    }' || fail "'bible' does not print the text in the expected form"

books=$(find "$part" -name '*.txt' | wc -l)
bytes=$(cat "$part"/*.txt | wc -c)
if [ "$books" -ne 66 ] || [ "$bytes" -lt 4100000 ] || [ "$bytes" -gt 4500000 ]; then
    fail "found $books books and $bytes bytes where 66 books and 4.1 to 4.5 million bytes were expected"
fi

mv -T "$part" "$out"
echo "$out: $books books, $bytes bytes"
