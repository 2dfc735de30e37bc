#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write build/patches: the difference to the pristine tree as a series.

The series is tried with git am on the pristine files before it is put in
place, and what comes out is compared with build/linux.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import BUILD, TOP, HintError, captured, same_content

SRC, LINUX, OUTPUT = BUILD / "src", BUILD / "linux", BUILD / "patches"


class PatchError(HintError):
    """The series is not written."""


@dataclass(frozen=True)
class Part:
    name: str
    prefixes: tuple[str, ...]
    subject: str
    body: str


# A path belongs to the first part that takes it; the last part takes the rest.
PARTS = (
    Part("selftests", ("tools/testing/selftests/ksm_cgroup/",),
         "selftests/ksm_cgroup: test merging by control group",
         "One program for each promise of the interface and each invariant that\n"
         "can be seen from outside; frames are compared through pagemap."),
    Part("tool", ("tools/ksm-cgroup/",),
         "tools/ksm-cgroup: add the command",
         "Settings and figures of the cgroups as a table, live or for Prometheus;\n"
         "what stands in the way of merging, and what it would save."),
    Part("docs", ("Documentation/",),
         "Documentation: describe merging by control group",
         "The interface as a user meets it, and the engine's objects, locks and\n"
         "the life of a page."),
    Part("cgroup", ("kernel/cgroup/",),
         "cgroup: add memory.ksm",
         "Merging is switched on, weighed and counted for a control group, so\n"
         "that a container's memory is merged without its knowing of KSM."),
    Part("engine", ("mm/ksm", "include/linux/ksm.h", "include/linux/ksm_cgroup.h",
                    "include/trace/events/ksm.h"),
         "mm/ksm: replace the scanner by one that knows domains",
         "The scanner had one cursor and one pair of trees for the whole host.\n"
         "Lookup by fingerprint in an index for each merge domain takes their\n"
         "place; the interfaces to user space stay."),
    Part("seam", ("",),
         "mm: call the merging engine where control groups and mappings change",
         "The places in the rest of the kernel that the engine needs: fork,\n"
         "exec, exit, the memory controller, the reverse map and the files in\n"
         "proc. The series builds as a whole, this patch by itself does not."),
)
ORDER = ("seam", "engine", "cgroup", "selftests", "tool", "docs")


def label(side: str, top: Path, path: str) -> tuple[str, str]:
    """What diff calls a file, and where it finds it."""
    here = top / path
    return (f"{side}/{path}", str(here)) if here.exists() else ("/dev/null", "/dev/null")


def mode(path: Path) -> str:
    return "100755" if os.access(path, os.X_OK) else "100644"


def diff(path: str) -> str:
    (old, old_path), (new, new_path) = label("a", SRC, path), label("b", LINUX, path)
    text = captured(["diff", "-u", "--label", old, "--label", new, old_path, new_path]).stdout
    if not text:
        return ""
    head = f"diff --git a/{path} b/{path}\n"
    if old == "/dev/null":
        head += f"new file mode {mode(LINUX / path)}\n"
    if new == "/dev/null":
        head += f"deleted file mode {mode(SRC / path)}\n"
    return head + text


def git(folder: Path, *words: str | Path) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    done = captured(["git", "-C", folder, "-c", "user.name=ksm", "-c", "user.email=ksm@localhost",
                     "-c", "commit.gpgsign=false", *words], env=environment)
    if done.returncode:
        raise PatchError(f"git {words[0]} failed", (done.stderr + done.stdout).strip())
    return done.stdout


def verify(series: list[Path], paths: list[str]) -> None:
    """git am on a tree of the pristine files that the series touches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in [*paths, "Makefile"]:
            if (SRC / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(SRC / path, folder / path)
        git(folder, "init", "-q")
        git(folder, "add", "-A", "-f")
        git(folder, "commit", "-q", "-m", "pristine")
        git(folder, "am", "-q", *series)
        for path in paths:
            if not same_content(folder / path, LINUX / path):
                raise PatchError(f"git am makes another {path} than build/linux has",
                                 "compare them: diff() in vm/patches.py misses something")


def divided(paths: list[str]) -> dict[str, list[str]]:
    """Part -> paths."""
    parts: dict[str, list[str]] = {part.name: [] for part in PARTS}
    for path in paths:
        name = next(part.name for part in PARTS if path.startswith(part.prefixes))
        # What the pristine tree has is the seam's, but ksm's own files.
        if name == "cgroup" and (SRC / path).exists():
            name = "seam"
        parts[name].append(path)
    return parts


def write(folder: Path, parts: dict[str, list[str]]) -> list[Path]:
    author = git(TOP, "log", "-1", "--format=%an <%ae>").strip()
    date = git(TOP, "log", "-1", "--format=%aD").strip()
    known = {part.name: part for part in PARTS}
    chosen = [known[name] for name in ORDER if parts[name]]
    series = []
    for index, part in enumerate(chosen, 1):
        slug = re.sub(r"[\W_]+", "-", part.subject.lower())[:52].strip("-")
        path = folder / f"{index:04}-{slug}.patch"
        head = (f"From {0:040x} Mon Sep 17 00:00:00 2001\nFrom: {author}\nDate: {date}\n"
                f"Subject: [PATCH {index}/{len(chosen)}] {part.subject}\n\n{part.body}\n---\n\n")
        path.write_text(head + "".join(map(diff, parts[part.name])) + "-- \nksm-cgroup\n\n")
        series.append(path)
    return series


def main() -> None:
    argparse.ArgumentParser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    paths = [path for path in json.loads((BUILD / "linux.json").read_bytes())["paths"]
             if not same_content(SRC / path, LINUX / path)]
    temporary = BUILD / "patches.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        series = write(temporary, divided(paths))
        verify(series, paths)
    except PatchError as error:
        sys.exit(f"patches: {error}")
    shutil.rmtree(OUTPUT, ignore_errors=True)
    temporary.rename(OUTPUT)
    print(f"  {len(series)} patches for {len(paths)} files in build/patches, tried with git am")


if __name__ == "__main__":
    main()
