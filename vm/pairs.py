#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What holds in a cgroup for its own value of memory.ksm and the one above.

The answer comes from the engine's own code: the function that decides is taken
out of the sources, with all that it needs, and compiled here. Prints the table
of the admin guide, or with --header the one that a test compares with a kernel.
"""
from __future__ import annotations

import argparse
import functools
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PATTERNS = ("mm/ksm/*.[ch]", "kernel/cgroup/ksm*.[ch]", "include/linux/ksm*.h")
DECIDES = "ksm_config_resolve"

# A value, and whether the write was granted.
Said = tuple[str, bool]
ABOVE: tuple[Said, ...] = (("0", True), ("madvise", True), ("1", True),
                           ("madvise", False), ("1", False))
OWN: tuple[Said, ...] = (("inherit", True), ("0", True), ("madvise", True), ("1", True),
                         ("madvise", False), ("1", False))

# As much of the kernel as the function needs.
AROUND = """
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define ERR_PTR(error) ((void *)(long)(error))
#define READ_ONCE(x) (x)
#define BIT(n) (1U << (n))
struct ksm_domain { int unused; };
static struct ksm_domain ksm_root_domain;
"""
GROUP = """
struct ksm_group {
    struct ksm_group *parent;
    struct ksm_config config;
    struct ksm_effective effective;
    struct ksm_domain *own_domain;
};
"""
# As after boot, below it a granted 1 where the next value is to count without a
# grant; then the two values.
MAIN = """
static int setting(const char *name)
{
    int nr = sizeof(ksm_setting_names) / sizeof(*ksm_setting_names);

    for (int i = 0; i < nr; i++) {
        if (ksm_setting_names[i] && !strcmp(ksm_setting_names[i], name))
            return i;
    }
    fprintf(stderr, "sources: memory.ksm does not take %s", name);
    exit(1);
}

static void pair(const char *above, bool above_granted, const char *own, bool own_granted)
{
    struct ksm_domain domain[3];
    struct ksm_group root = { .own_domain = &ksm_root_domain }, group[3];
    const char *name[] = { above_granted ? "inherit" : "1", above, own };
    bool granted[] = { true, above_granted, own_granted };

    root.config.setting = KSM_MADVISE;
    root.effective = ksm_config_resolve(&root);
    for (int i = 0; i < 3; i++) {
        group[i] = (struct ksm_group){ .parent = i ? &group[i - 1] : &root,
                                       .own_domain = &domain[i] };
        group[i].config.setting = setting(name[i]);
        group[i].config.granted = granted[i];
        group[i].effective = ksm_config_resolve(&group[i]);
    }
    printf("%s %d\\n", ksm_setting_names[group[2].effective.setting],
           group[2].effective.domain == &domain[2]);
}
"""


class PairsError(Exception):
    """The code that decides cannot be taken out of the sources."""


class Code:
    """The sources as one text, and what is taken from it."""

    def __init__(self, top: Path) -> None:
        texts = [path.read_text() for pattern in PATTERNS for path in sorted(top.glob(pattern))]
        self.text = re.sub(r"/\*.*?\*/", "", "\n".join(texts), flags=re.S)
        self.functions: list[str] = []
        self.seen: set[str] = set()

    def find(self, pattern: str) -> str | None:
        found = re.search(pattern, self.text, re.M | re.S)
        return found[0] if found else None

    def need(self, what: str, pattern: str) -> str:
        found = self.find(pattern)
        if not found:
            raise PairsError(f"sources: no {what}, which decides what holds in a cgroup")
        return found

    def body(self, name: str) -> str | None:
        return self.find(rf"^(?:static )?[\w *]*?\b{name}\([^;{{}}]*?\)\n\{{\n.*?^\}}")

    def take(self, name: str) -> None:
        """A function, after those that it calls."""
        self.seen.add(name)
        body = self.body(name)
        if not body:
            return
        for other in re.findall(r"\b([a-z]\w+)\(", body.partition("\n{")[2]):
            if other not in self.seen:
                self.take(other)
        self.functions.append(body)

    def macros(self) -> str:
        words = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", "".join(self.functions)))
        found = [self.find(rf"^#define {word}[ \t][^\n\\]+$") for word in sorted(words)]
        return "\n".join(filter(None, found))

    def program(self) -> str:
        self.need(f"function {DECIDES}()", rf"\b{DECIDES}\([^;{{}}]*\)\n\{{")
        self.take(DECIDES)
        types = [self.need(f"{kind} {name}", rf"^{kind} {name} \{{\n.*?^\}};") for kind, name in (
            ("enum", "ksm_setting"), ("enum", "ksm_type"), ("struct", "ksm_config"),
            ("struct", "ksm_effective"))]
        objects = [self.need("array of setting names",
                             r"^static const char \* const ksm_setting_names\[\] = \{\n.*?^\};"),
                   self.need("value above the root",
                             r"^static const struct ksm_effective \w+ = \{\n.*?^\};")]
        calls = [f'    pair("{above}", {int(granted)}, "{own}", {int(own_granted)});'
                 for above, granted in ABOVE for own, own_granted in OWN]
        return "\n".join([AROUND, *types, GROUP, self.macros(), *objects, *self.functions, MAIN,
                          "int main(void)\n{", *calls, "    return 0;\n}\n"])


@functools.cache
def run(program: str) -> list[str]:
    """The program's lines."""
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "pairs.c"), Path(folder, "pairs")
        source.write_text(program)
        built = subprocess.run(["gcc", "-std=gnu11", "-O0", "-w", "-o", binary, source],
                               capture_output=True, text=True, check=False)
        if built.returncode:
            error = next((line for line in built.stderr.splitlines() if "error" in line), "")
            raise PairsError(f"sources: {DECIDES}() does not compile alone, see vm/pairs.py: "
                             f"{error.partition('error: ')[2]}")
        done = subprocess.run([binary], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PairsError(done.stderr or f"sources: {DECIDES}() alone fails, see vm/pairs.py")
    return done.stdout.splitlines()


def pairs(top: Path = TOP) -> list[list[str]]:
    """A row for each value above: what holds for each own value. "own" before it
    says that the cgroup is the root of a domain."""
    cells = []
    for line in run(Code(top).program()):
        value, own = line.split()
        cells.append(f"own {value}" if own == "1" and value != "0" else value)
    return [cells[i:i + len(OWN)] for i in range(0, len(cells), len(OWN))]


def table(rows: Sequence[Sequence[str]]) -> str:
    """For the admin guide."""
    first = ["", "Above"] + [value if granted else f"{value}, not granted"
                             for value, granted in ABOVE]
    columns = [first] + [[value, "" if granted else "not granted", *(row[i] for row in rows)]
                         for i, (value, granted) in enumerate(OWN)]
    widths = [max(map(len, column)) for column in columns]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
             for line in zip(*columns)]
    lines[0] = "\\" + lines[0][1:]
    return "\n".join([rule, *lines[:2], rule, *lines[2:], rule]) + "\n"


def header(rows: Sequence[Sequence[str]]) -> str:
    """For the test."""
    def said(list_: Sequence[Said]) -> str:
        return "".join(f'\t{{ "{value}", {str(granted).lower()} }},\n' for value, granted in list_)

    cells = "".join("\t{ " + ", ".join(f'"{cell}"' for cell in row) + " },\n" for row in rows)
    return f"""/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What holds in a cgroup for each value above it and each of its own, as the
 * engine's code decides: printed by vm/pairs.py --header. "own" before a value
 * says that the cgroup is the root of a merge domain.
 */
#ifndef KSMPAIRS_H
#define KSMPAIRS_H

struct said {{
	const char *value;
	bool granted;
}};

/* One above that is not granted is below a granted 1. */
static const struct said said_above[] = {{
{said(ABOVE)}}};

static const struct said said_own[] = {{
{said(OWN)}}};

static const char * const said_holds[][{len(OWN)}] = {{
{cells}}};

#endif /* KSMPAIRS_H */
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--header", action="store_true", help="print selftests/ksmpairs.h")
    parser.add_argument("top", nargs="?", type=Path, default=TOP)
    arguments = parser.parse_args()
    try:
        rows = pairs(arguments.top)
    except PairsError as error:
        sys.exit(f"pairs: {error}")
    print((header if arguments.header else table)(rows), end="")


if __name__ == "__main__":
    main()
