#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Style of the sources: the kernel's own tools, shellcheck, Python.

usage: style.py [checkpatch|shell|python|spdx|tool|bench|compile]...

Each finding is a line; any finding is a failure. "compile" builds mm/ksm and
kernel/cgroup/ksm.c with W=1 and sparse, "tool" the command anew, "bench" what
measures.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
C_FOLDERS = ("mm/", "kernel/", "include/", "selftests/", "tools/")

# Asked of patches to the kernel's list, not of files; and what a lock protects
# is said in the struct's kernel-doc here, where checkpatch does not look.
IGNORE = "FILE_PATH_CHANGES,COMMIT_MESSAGE,MISSING_SIGN_OFF,EMAIL_SUBJECT,LINUX_VERSION_CODE," \
         "COMMIT_LOG_LONG_LINE,UNKNOWN_COMMIT_ID,UNCOMMENTED_DEFINITION"


def tracked():
    done = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"],
                          capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if os.path.isfile(os.path.join(TOP, name))]


def first_line(name):
    with open(os.path.join(TOP, name), errors="replace") as stream:
        return stream.readline()


def checkpatch(names):
    tool = os.path.join(BUILD, "src", "scripts", "checkpatch.pl")
    sources = [name for name in names
               if name.startswith(C_FOLDERS) and name.endswith((".c", ".h"))]
    findings = run_checkpatch([tool, "--no-tree", "-f"], sources)
    folder = os.path.join(BUILD, "patches")
    seam = [os.path.join(folder, name) for name in sorted(os.listdir(folder))
            if name.startswith("0001-")] if os.path.isdir(folder) else []
    return findings + run_checkpatch([tool, "--no-tree"], seam)


def run_checkpatch(tool, paths):
    findings = []
    for path in paths:
        done = subprocess.run(["perl"] + tool + ["--strict", "--terse", "--no-summary",
                                                 "--show-types", "--color=never",
                                                 "--ignore", IGNORE, path],
                              cwd=TOP, capture_output=True, text=True, check=False)
        findings += [line.replace(BUILD, "build") for line in done.stdout.splitlines()
                     if re.search(r": (ERROR|WARNING|CHECK):", line)]
    return findings


def shell(names):
    scripts = [name for name in names if name.endswith(".sh") or
               re.match(r"#!.*\b(ba|da)?sh\b", first_line(name))]
    if not scripts:
        return []
    done = subprocess.run(["shellcheck", "-x", "-f", "gcc"] + scripts, cwd=TOP,
                          capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def python(names):
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if not (name.endswith(".py") or re.match(r"#!.*\bpython3", first_line(name))):
                continue
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c",
                 "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True)",
                 os.path.join(TOP, name), os.path.join(folder, "x.pyc")],
                capture_output=True, text=True, check=False)
            if done.returncode:
                findings.append("%s: %s" % (name, done.stderr.strip().splitlines()[-1]))
    return findings


def spdx(names):
    findings = []
    for name in names:
        if name.startswith(("LICENSES/", "MAINTAINERS")) or name.endswith((".md", ".json")) or \
                name == "selftests/config":
            continue
        with open(os.path.join(TOP, name), errors="replace") as stream:
            head = "".join(stream.readline() for unused in range(3))
        if "SPDX-License-Identifier: " not in head:
            findings.append("%s: no SPDX-License-Identifier in its first lines" % name)
    return findings


def tool(names):
    del names
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["make", "-s", "-C", os.path.join(TOP, "tools", "ksm-cgroup"),
                               "O=" + folder, "all"], capture_output=True, text=True, check=False)
    findings = [line for line in done.stderr.splitlines() if re.search(r": (warning|error):", line)]
    if done.returncode and not findings:
        findings.append("tools/ksm-cgroup does not build: " + done.stderr.strip()[-200:])
    return findings


def compile_(names):
    del names
    obj = os.path.join(BUILD, "obj", "ksm")
    for target in ("mm/ksm", "kernel/cgroup"):
        for found, unused, files in os.walk(os.path.join(obj, target)):
            for name in files:
                if name.endswith(".o") and (target == "mm/ksm" or name == "ksm.o"):
                    os.unlink(os.path.join(found, name))
    targets = ["mm/ksm/"]
    if os.path.exists(os.path.join(TOP, "kernel", "cgroup", "ksm.c")):
        targets.append("kernel/cgroup/ksm.o")
    log = os.path.join(BUILD, "log", "kernel-ksm.log")
    done = subprocess.run([sys.executable, os.path.join(TOP, "vm", "kernel.py"), "ksm",
                           # Locks of page tables are not annotated anywhere in the kernel.
                           "W=1", "C=2", "CF=-Wno-context"] + targets, capture_output=True, text=True, check=False)
    ours = re.compile(r"(mm/ksm/|kernel/cgroup/ksm\.|include/linux/ksm|include/uapi)\S*:\d+.*"
                      r"(warning|error)")
    with open(log) as stream:
        findings = sorted({line.rstrip().replace(BUILD + "/linux/", "")
                           for line in stream if ours.search(line)})
    if done.returncode and not findings:
        findings.append("mm/ksm does not build with W=1 C=2: see build/log/kernel-ksm.log")
    return findings


def bench(names):
    """The benchmark's programs, which no test compiles; one is made of the scheduler."""
    findings = []
    for name in names:
        if not re.fullmatch(r"bench/\w+\.c", name):
            continue
        paths = ["-Ibench/user", "-I" + os.path.join(BUILD, "linux", "tools", "include")]
        done = subprocess.run(["gcc", "-Wall", "-O2", "-fsyntax-only",
                               *(paths if name == "bench/choice.c" else ()), name],
                              cwd=TOP, capture_output=True, text=True, check=False)
        findings += [line for line in done.stderr.splitlines()
                     if re.search(r": (warning|error|fatal error):", line)]
    return findings


CHECKS = {"spdx": spdx, "python": python, "shell": shell, "checkpatch": checkpatch,
          "tool": tool, "bench": bench, "compile": compile_}


def main():
    wanted = sys.argv[1:] or list(CHECKS)
    names, bad = tracked(), 0
    for check in wanted:
        if check not in CHECKS:
            sys.exit(__doc__)
        start = time.monotonic()
        findings = CHECKS[check](names)
        print("==> style: %s: %d findings, %.0f s" % (check, len(findings),
                                                      time.monotonic() - start), flush=True)
        for line in findings:
            print("    " + line, flush=True)
        bad += len(findings)
    return 1 if bad else 0


sys.exit(main())
