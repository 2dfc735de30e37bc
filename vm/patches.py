#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write build/patches: the difference to the pristine tree as a series.

The series is tried with git am on the pristine files before it is put in
place, and what comes out is compared with build/linux.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
SRC, LINUX = os.path.join(BUILD, "src"), os.path.join(BUILD, "linux")

# A path belongs to the first part that takes it; the last part takes the rest.
PARTS = (
    ("selftests", ("tools/testing/selftests/ksm_cgroup/",),
     "selftests/ksm_cgroup: test merging by control group",
     "One program for each promise of the interface and each invariant that\n"
     "can be seen from outside; frames are compared through pagemap."),
    ("tool", ("tools/ksm-cgroup/",),
     "tools/ksm-cgroup: add the command",
     "Settings and figures of the cgroups as a table, live or for Prometheus;\n"
     "what stands in the way of merging, and what it would save."),
    ("docs", ("Documentation/",),
     "Documentation: describe merging by control group",
     "The interface as a user meets it, and the engine's objects, locks and\n"
     "the life of a page."),
    ("cgroup", ("kernel/cgroup/",),
     "cgroup: add memory.ksm",
     "Merging is switched on, weighed and counted for a control group, so\n"
     "that a container's memory is merged without its knowing of KSM."),
    ("engine", ("mm/ksm", "include/linux/ksm.h", "include/trace/events/ksm.h"),
     "mm/ksm: replace the scanner by one that knows domains",
     "The scanner had one cursor and one pair of trees for the whole host.\n"
     "Lookup by fingerprint in an index for each merge domain takes their\n"
     "place; the interfaces to user space stay."),
    ("seam", ("",),
     "mm: call the merging engine where control groups and mappings change",
     "The places in the rest of the kernel that the engine needs: fork,\n"
     "exec, exit, the memory controller, the reverse map and the files in\n"
     "proc. The series builds as a whole, this patch by itself does not."),
)
ORDER = ("seam", "engine", "cgroup", "selftests", "tool", "docs")


def diff(path):
    old, new = os.path.join(SRC, path), os.path.join(LINUX, path)
    have_old, have_new = os.path.exists(old), os.path.exists(new)
    text = "diff --git a/%s b/%s\n" % (path, path)
    if not have_old:
        text += "new file mode 100%s\n" % ("755" if os.access(new, os.X_OK) else "644")
    if not have_new:
        text += "deleted file mode 100%s\n" % ("755" if os.access(old, os.X_OK) else "644")
    done = subprocess.run(
        ["diff", "-u", "--label", "a/" + path if have_old else "/dev/null",
         "--label", "b/" + path if have_new else "/dev/null",
         old if have_old else "/dev/null", new if have_new else "/dev/null"],
        capture_output=True, text=True, check=False)
    return text + done.stdout if done.stdout else ""


def same(path):
    old, new = os.path.join(SRC, path), os.path.join(LINUX, path)
    if os.path.exists(old) != os.path.exists(new):
        return False
    if not os.path.exists(old):
        return True
    with open(old, "rb") as left, open(new, "rb") as right:
        return left.read() == right.read()


def git(folder, *words):
    environment = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")
    done = subprocess.run(["git", "-C", folder, "-c", "user.name=ksm", "-c", "user.email=ksm@localhost",
                           "-c", "commit.gpgsign=false"] + list(words), env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit("patches: git %s failed: %s" % (words[0], (done.stderr + done.stdout).strip()))
    return done.stdout


def verify(series, paths):
    """git am on a tree of the pristine files that the series touches."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths + ["Makefile"]:
            if os.path.exists(os.path.join(SRC, path)):
                os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
                shutil.copy(os.path.join(SRC, path), os.path.join(folder, path))
        git(folder, "init", "-q")
        git(folder, "add", "-A", "-f")
        git(folder, "commit", "-q", "-m", "pristine")
        git(folder, "am", "-q", *series)
        for path in paths:
            here, there = os.path.join(folder, path), os.path.join(LINUX, path)
            if os.path.exists(here) != os.path.exists(there):
                sys.exit("patches: %s is not what build/linux has" % path)
            if os.path.exists(here):
                with open(here, "rb") as left, open(there, "rb") as right:
                    if left.read() != right.read():
                        sys.exit("patches: %s is not what build/linux has" % path)


def main():
    with open(os.path.join(BUILD, "linux.json")) as stream:
        paths = [path for path in json.load(stream)["paths"] if not same(path)]
    parts = {part[0]: [] for part in PARTS}
    for path in paths:
        for name, prefixes, unused, unused2 in PARTS:
            if path.startswith(prefixes):
                # What exists in the pristine tree is the seam's, but ksm's own files.
                if os.path.exists(os.path.join(SRC, path)) and name in ("cgroup", "docs"):
                    name = "seam" if name == "cgroup" else name
                parts[name].append(path)
                break
    author = git(TOP, "log", "-1", "--format=%an <%ae>").strip()
    date = git(TOP, "log", "-1", "--format=%aD").strip()
    output = os.path.join(BUILD, "patches")
    temporary = output + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.mkdir(temporary)
    texts = {part[0]: part[2:] for part in PARTS}
    names = [name for name in ORDER if parts[name]]
    series = []
    for index, name in enumerate(names, 1):
        subject, body = texts[name]
        slug = "".join(c if c.isalnum() else "-" for c in subject.lower())
        while "--" in slug:
            slug = slug.replace("--", "-")
        file = os.path.join(temporary, "%04d-%s.patch" % (index, slug[:52].strip("-")))
        with open(file, "w") as stream:
            stream.write("From %040x Mon Sep 17 00:00:00 2001\nFrom: %s\nDate: %s\n"
                         "Subject: [PATCH %d/%d] %s\n\n%s\n---\n\n"
                         % (0, author, date, index, len(names), subject, body))
            stream.write("".join(diff(path) for path in parts[name]) + "-- \nksm-cgroup\n\n")
        series.append(file)
    verify(series, paths)
    shutil.rmtree(output, ignore_errors=True)
    os.rename(temporary, output)
    print("  %d patches for %d files in build/patches, tried with git am" % (len(series), len(paths)))


main()
