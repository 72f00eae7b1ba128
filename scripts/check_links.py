#!/usr/bin/python3
"""Says which links between documents lead nowhere: to a file that is not there, or to a heading that its document does not have.

    scripts/check_links.py FILE.md...

Addresses outside the project are not looked at. Exit code 1 when a link is broken.
"""

import os
import re
import sys

LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"#{1,6} +(.*?) *$")


def prose(path):
    """The numbered lines of a document outside fenced and indented code."""
    fenced, blank, indented = False, True, False
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        indented = line.startswith("    ") and (blank or indented)
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not indented:
            yield number, re.sub(r"`[^`]*`", "``", line) if not line.startswith("#") else line
        blank = not line.strip()


def anchors(path):
    """The names of the headings, as GitHub and pandoc make them; headings of the same name are numbered."""
    names = {}
    for _, line in prose(path):
        heading = HEADING.match(line)
        if not heading:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = names[name] = names.get(name, -1) + 1
        if count:
            names[f"{name}-{count}"] = 0
    return names


def problem(path, target):
    """What is wrong with a link of a document; None: nothing."""
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
    if not os.path.exists(file):
        return f"there is no {file}"
    if anchor and file.endswith(".md") and anchor not in anchors(file):
        return f"{file} has no heading #{anchor}"
    return None


def main():
    broken = 0
    for path in sys.argv[1:]:
        for number, line in prose(path):
            for target in LINK.findall(line):
                wrong = problem(path, target)
                if wrong:
                    print(f"{path}:{number}: a link leads nowhere: {wrong}")
                    broken += 1
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
