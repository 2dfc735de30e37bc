#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Style of the sources: the kernel's own tools, shellcheck, Python.

Each finding is a line; any finding is a failure. "compile" builds mm/ksm and
kernel/cgroup/ksm*.c with W=1 and sparse, "tool" the command anew, "bench" what
measures; "floors" looks for calls upwards in the engine, "facts" for documents that
differ from the sources, "kernel-doc" for functions that are described in part.
"""
from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import facts
import floors
from common import BUILD, LOG, TOP, captured

C_FOLDERS = ("mm/", "kernel/", "include/", "selftests/", "tools/")

# Asked of patches to the kernel's list, not of files; and what a lock protects
# is said in the struct's kernel-doc here, where checkpatch does not look.
IGNORE = ("FILE_PATH_CHANGES,COMMIT_MESSAGE,MISSING_SIGN_OFF,EMAIL_SUBJECT,LINUX_VERSION_CODE,"
          "COMMIT_LOG_LONG_LINE,UNKNOWN_COMMIT_ID,UNCOMMENTED_DEFINITION")
# folio_walk_end() leaves the RCU section only if the entry was in a page table, and
# sparse follows no lock that depends on a condition: its findings on the locks of
# these are passed over. None of them holds another spinlock.
UNFOLLOWED = frozenset({"ksm_meet_merged", "ksm_page_get", "ksm_replace"})
# Without a place for an SPDX line, or not a source.
NO_SPDX = ("LICENSES/", "MAINTAINERS", "selftests/config", "vm/selftest/recorded/")


def tracked() -> list[str]:
    done = captured(["git", "-C", str(TOP), "ls-files", "-co", "--exclude-standard"])
    if done.returncode:
        sys.exit(f"style: git ls-files failed, run it in a clone: {done.stderr.strip()}")
    return [name for name in done.stdout.splitlines() if (TOP / name).is_file()]


def head(name: str, lines: int) -> str:
    with (TOP / name).open(errors="replace") as stream:
        return "".join(stream.readline() for _ in range(lines))


def checkpatch(names: list[str]) -> list[str]:
    tool = str(BUILD / "src" / "scripts" / "checkpatch.pl")
    sources = [name for name in names
               if name.startswith(C_FOLDERS) and name.endswith((".c", ".h"))]
    seam = [str(path) for path in sorted((BUILD / "patches").glob("0001-*"))]
    return run_checkpatch([tool, "--no-tree", "-f"], sources) + \
        run_checkpatch([tool, "--no-tree"], seam)


def run_checkpatch(tool: list[str], paths: list[str]) -> list[str]:
    findings = []
    for path in paths:
        done = captured(["perl", *tool, "--strict", "--terse", "--no-summary", "--show-types",
                         "--color=never", "--ignore", IGNORE, path], cwd=TOP)
        findings += [line.replace(str(BUILD), "build") for line in done.stdout.splitlines()
                     if re.search(r": (ERROR|WARNING|CHECK):", line)]
    return findings


def shell(names: list[str]) -> list[str]:
    scripts = [name for name in names if name.endswith(".sh") or
               re.match(r"#!.*\b(ba|da)?sh\b", head(name, 1))]
    if not scripts:
        return []
    done = captured(["shellcheck", "-x", "-f", "gcc", *scripts], cwd=TOP)
    return (done.stdout + done.stderr).splitlines()


def python(names: list[str]) -> list[str]:
    compile_one = ("import py_compile, sys; "
                   "py_compile.compile(sys.argv[1], sys.argv[2], doraise=True)")
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if not (name.endswith(".py") or re.match(r"#!.*\bpython3", head(name, 1))):
                continue
            done = captured([sys.executable, "-W", "error", "-c", compile_one, TOP / name,
                             Path(folder, "x.pyc")])
            if done.returncode:
                findings.append(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return findings


def spdx(names: list[str]) -> list[str]:
    return [f"{name}: no SPDX-License-Identifier in its first lines" for name in names
            if not name.startswith(NO_SPDX) and not name.endswith((".md", ".json")) and
            "SPDX-License-Identifier: " not in head(name, 3)]


def compiler_findings(text: str, kinds: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(rf": ({kinds}):", line)]


def tool(names: list[str]) -> list[str]:
    del names
    with tempfile.TemporaryDirectory() as folder:
        done = captured(["make", "-s", "-C", TOP / "tools" / "ksm-cgroup", f"O={folder}", "all"])
    findings = compiler_findings(done.stderr, "warning|error")
    if done.returncode and not findings:
        findings.append(f"tools/ksm-cgroup does not build: {done.stderr.strip()[-200:]}")
    return findings


def followed(findings: list[str]) -> list[str]:
    """Without the locks that sparse cannot follow; with those that it follows by now."""
    unbalanced = {line: re.search(r"context imbalance in '(\w+)'", line) for line in findings}
    functions = {found[1] for found in unbalanced.values() if found}
    return [line for line, found in unbalanced.items()
            if not (found and found[1] in UNFOLLOWED)] + \
        [f"vm/style.py: UNFOLLOWED has {name}, whose locks sparse finds balanced"
         for name in sorted(UNFOLLOWED - functions)]


def compile_(names: list[str]) -> list[str]:
    del names
    obj = BUILD / "obj" / "ksm"
    for path in [*(obj / "mm" / "ksm").rglob("*.o"), *(obj / "kernel/cgroup").glob("ksm*.o")]:
        path.unlink()
    targets = ["mm/ksm/", *(f"kernel/cgroup/{path.stem}.o"
                            for path in sorted((TOP / "kernel" / "cgroup").glob("ksm*.c")))]
    done = captured([sys.executable, TOP / "vm" / "kernel.py", "ksm", "W=1", "C=2", *targets])
    # An inline function's lock is missed where that function is, not where it is called.
    ours = re.compile(r"(mm/ksm/|kernel/cgroup/ksm|include/linux/ksm|include/uapi)\S*:\d+.*"
                      r"(warning|error)|context imbalance in 'ksm")
    log = (LOG / "kernel-ksm.log").read_text(errors="replace")
    findings = sorted({line.rstrip().replace(f"{BUILD}/linux/", "")
                       for line in log.splitlines() if ours.search(line)})
    if done.returncode:
        return findings or ["mm/ksm does not build with W=1 C=2: see build/log/kernel-ksm.log"]
    return followed(findings)


def bench(names: list[str]) -> list[str]:
    """The benchmark's programs, which no test compiles; one is made of the scheduler."""
    findings = []
    for name in names:
        if not re.fullmatch(r"bench/\w+\.c", name):
            continue
        paths = [] if name != "bench/choice.c" else \
            ["-Ibench/user", f"-I{BUILD / 'linux' / 'tools' / 'include'}"]
        done = captured(["gcc", "-Wall", "-O2", "-fsyntax-only", *paths, name], cwd=TOP)
        findings += compiler_findings(done.stderr, "warning|error|fatal error")
    return findings


def kernel_doc(names: list[str]) -> list[str]:
    sources = [name for name in names if name.endswith((".c", ".h")) and
               name.startswith(("mm/ksm/", "kernel/cgroup/ksm", "include/linux/ksm"))]
    done = captured(["perl", BUILD / "src" / "scripts" / "kernel-doc", "-none", "-Wall", *sources],
                    cwd=TOP)
    return compiler_findings(done.stderr, "warning|error")


CHECKS: dict[str, Callable[[list[str]], list[str]]] = {
    "spdx": spdx, "python": python, "shell": shell, "checkpatch": checkpatch, "tool": tool,
    "bench": bench, "kernel-doc": kernel_doc, "floors": lambda names: floors.check(),
    "facts": lambda names: facts.differences(TOP), "compile": compile_}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="*", help=f"one of {', '.join(CHECKS)}; default: all")
    wanted = parser.parse_args().check
    for name in wanted:
        if name not in CHECKS:
            parser.error(f"no check '{name}': it is one of {', '.join(CHECKS)}")
    names, bad = tracked(), 0
    for name in wanted or CHECKS:
        start = time.monotonic()
        findings = CHECKS[name](names)
        print(f"==> style: {name}: {len(findings)} findings, {time.monotonic() - start:.0f} s",
              flush=True)
        for line in findings:
            print(f"    {line}", flush=True)
        bad += len(findings)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
