#!/bin/bash
# The pages of make docs: there is one for every document and subcommand, and every link and picture leads to a file of the same
# folder, and to a place in it. Links between documents that lead nowhere are found. Pages are skipped where there is no pandoc.
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

test_broken_links() {
    local folder=$TEST_FOLDER/documents
    mkdir -p "$folder"
    printf '# Other part\n' >"$folder/other.md"
    cat >"$folder/right.md" <<'END'
# A `first` head
[1](#a-first-head) [2](other.md#other-part) ![3](other.md)
END
    printf '# Wrong\n[1](#nothing) [2](other.md#part)\n![3](absent.png)\n\n    [not](a-link.md)\n' >"$folder/wrong.md"
    scripts/check_links.py "$folder"/{right,other}.md || give_up 'a link that is right is called broken'
    ! scripts/check_links.py "$folder/wrong.md" >"$folder/said" || give_up 'links that are broken are called right'
    grep -q 'wrong.md:2: .*no heading #nothing' "$folder/said" || give_up "$(<"$folder/said")"
    grep -q 'wrong.md:2: .*other.md has no heading #part' "$folder/said" || give_up "$(<"$folder/said")"
    grep -q 'wrong.md:3: .*there is no .*absent.png' "$folder/said" || give_up "$(<"$folder/said")"
    [ "$(wc -l <"$folder/said")" -eq 3 ] || give_up "$(<"$folder/said")"
}

test_pages() {
    local pages=$TEST_FOLDER/pages
    quiet scripts/make_docs.sh "$program" "$pages"
    quiet scripts/make_docs.sh "$program" "$pages" # replaces them
    ! scripts/make_docs.sh "$program" "$TEST_FOLDER/documents" 2>"$TEST_FOLDER/refusal" || give_up 'another folder is replaced'
    grep -q 'no pages to replace' "$TEST_FOLDER/refusal" || give_up "$(<"$TEST_FOLDER/refusal")"
    [ -s "$TEST_FOLDER/documents/wrong.md" ] || give_up 'another folder is gone'
    quiet python - "$pages" README.md docs/*.md ARCHITECTURE.md slurm/README.md <<'END'
import os, re, sys
from html.parser import HTMLParser
from urllib.parse import unquote
root, documents = sys.argv[1], sys.argv[2:]
class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(open(path, encoding="utf-8").read())
    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src"):
                self.links.append(value)
            elif name == "id":
                self.ids.add(value)
pages = {path: Page(path) for folder, _, files in os.walk(root) for path in (os.path.join(folder, f) for f in files)
         if path.endswith(".html")}
links = 0
for path, page in pages.items():
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        assert os.path.exists(target) and not target.endswith(".md"), (path, link)
        assert target.startswith(root) and (not anchor or target not in pages or anchor in pages[target].ids), (path, link)
        links += 1
assert links > 100, links
listed = pages[os.path.join(root, "index.html")].links
for document in documents:
    assert document.removesuffix("md") + "html" in listed, document
for name in ("train", "plan", "eval"):
    assert f"man/polysketch-{name}.html" in listed, name
END
}

start test_broken_links
finish
if command -v pandoc >/dev/null; then
    start test_pages
    finish
else
    echo 'skipped: pages of documents, for there is no pandoc'
fi
