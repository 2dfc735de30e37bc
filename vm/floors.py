#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The floors of the engine: no call goes upwards.

The table of floors is mm/ksm/Makefile (floor-NAME := files, from the top). The
cgroup side, kernel/cgroup/ksm*.c, stands above all of them. Checked are:

  - every file of mm/ksm stands on one floor;
  - no function calls one that is defined on a floor above;
  - the files of a floor call each other in no circle;
  - no file has more than 500 lines;
  - no file includes another directory's private header, mm/internal.h excepted;
  - the picture in Documentation/mm/ksm-cgroup.rst shows the table.

Calls are found by name in the sources, without comments and strings: enough for
functions of one prefix, none of which is called by pointer across floors.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
LONGEST = 500


@dataclass(frozen=True)
class Source:
    """A C file: what it defines and what it calls."""
    name: str
    floor: int
    includes: tuple[str, ...]
    defines: frozenset[str]
    statics: frozenset[str]
    calls: frozenset[str]


@dataclass
class Engine:
    floors: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)


def table(makefile: str) -> Engine:
    """The floors and the files on them."""
    engine = Engine()
    for name, files in re.findall(r"^floor-(\w+) := (.*)$", makefile, re.M):
        for word in files.split():
            engine.files[word.removesuffix(".o") + ".c"] = len(engine.floors)
        engine.floors.append(name)
    return engine


def bare(text: str) -> str:
    """Without comments, strings and preprocessor lines; lines stay where they are."""
    def newlines(found: re.Match[str]) -> str:
        return "\n" * found[0].count("\n")

    text = re.sub(r"/\*.*?\*/", newlines, text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"^#(?:.*\\\n)*.*$", newlines, text, flags=re.M)


def bodies(text: str) -> Iterator[tuple[str, bool, str]]:
    """Name, static or not, and body of each function."""
    for found in re.finditer(r"^((?:\w[^;{}()]*?)?\b(\w+)\([^;{}]*\))\s*\n\{\n(.*?)^\}", text,
                             re.M | re.S):
        yield found[2], bool(re.search(r"\bstatic\b", found[1])), found[3]


def source(name: str, floor: int, text: str) -> Source:
    functions = list(bodies(bare(text)))
    words = set(re.findall(r"\b(\w+)\b(?=\s*[(,;)}])", " ".join(body for _, _, body in functions)))
    return Source(name, floor,
                  tuple(re.findall(r'^#include "([^"]+)"', text, re.M)),
                  frozenset(name for name, static, _ in functions if not static),
                  frozenset(name for name, static, _ in functions if static),
                  frozenset(words))


def edges(sources: list[Source]) -> dict[str, dict[str, str]]:
    """File -> file that it calls -> a function that is called there."""
    home = {function: one.name for one in sources for function in one.defines}
    result: dict[str, dict[str, str]] = {}
    for one in sources:
        for function in sorted(one.calls - one.statics):
            target = home.get(function)
            if target and target != one.name:
                result.setdefault(one.name, {}).setdefault(target, function)
    return result


def circles(graph: dict[str, dict[str, str]]) -> list[list[str]]:
    """Circles of files, each once."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circle = path[path.index(name):]
            if not any(set(circle) == set(other) for other in found):
                found.append(circle)
            return
        if name in done:
            return
        for target in graph.get(name, {}):
            visit(target, path + [name])
        done.add(name)

    for name in graph:
        visit(name, [])
    return found


def judge(engine: Engine, sources: list[Source]) -> list[str]:
    """What is wrong with the calls."""
    names = ["cgroup", *engine.floors]
    floor = {one.name: one.floor for one in sources}
    graph = edges(sources)
    findings = []
    for caller, targets in sorted(graph.items()):
        for target, function in sorted(targets.items()):
            if floor[target] < floor[caller]:
                findings.append(f"{caller}: calls {function}() upwards, in {target}: from "
                                f"{names[floor[caller] + 1]} to {names[floor[target] + 1]}")
    findings += [f"{' -> '.join(circle + circle[:1])}: a circle of calls"
                 for circle in circles(graph)]
    return findings


def picture(engine: Engine, page: str) -> list[str]:
    """Does the design page show the table?"""
    rows = re.findall(r"^ +\| (\w+) +\| ([\w. -]+?) *\|$", page, re.M)
    shown: dict[str, list[str]] = {}
    for name, files in rows:
        shown.setdefault(name, []).extend(files.split())
    wanted = {name: [file.removesuffix(".c") for file, floor in engine.files.items()
                     if engine.floors[floor] == name] for name in engine.floors}
    return [f"Documentation/mm/ksm-cgroup.rst: floor {name} is shown as "
            f"{' '.join(shown.get(name, [])) or 'nothing'}, not {' '.join(files)}"
            for name, files in wanted.items() if shown.get(name) != files]


def check(top: Path = TOP) -> list[str]:
    """All findings, a line each."""
    folder = top / "mm" / "ksm"
    engine = table((folder / "Makefile").read_text())
    findings, sources = [], []
    for path in sorted(folder.glob("*.c")):
        if path.name not in engine.files:
            findings.append(f"mm/ksm/{path.name}: stands on no floor of mm/ksm/Makefile")
            continue
        sources.append(source(f"mm/ksm/{path.name}", engine.files[path.name], path.read_text()))
    findings += [f"mm/ksm/Makefile: {name} does not exist" for name in engine.files
                 if not (folder / name).exists()]
    for path in sorted((top / "kernel" / "cgroup").glob("ksm*.c")):
        sources.append(source(f"kernel/cgroup/{path.name}", -1, path.read_text()))
    for path in sorted([*folder.glob("*.[ch]"), *(top / "kernel" / "cgroup").glob("ksm*.[ch]")]):
        lines = path.read_text().count("\n")
        if lines > LONGEST:
            findings.append(f"{path.relative_to(top)}: {lines} lines, more than {LONGEST}")
    for one in sources:
        findings += [f"{one.name}: includes {header}, another directory's private header"
                     for header in one.includes if "/" in header and
                     header != "../internal.h" and not header.startswith("tests/")]
    findings += judge(engine, sources)
    return findings + picture(engine, (top / "Documentation" / "mm" / "ksm-cgroup.rst").read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("top", nargs="?", type=Path, default=TOP, help="the project")
    findings = check(parser.parse_args().top)
    for line in findings:
        print(line)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
