#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Lay the overlay over a kernel tree.

usage: tree.py source [KSRC] | sync

source  unpacks the pristine tree into build/src.
sync    makes build/linux: a copy of build/src by hard links, in which the
        files that differ are files of their own. Run again it touches only
        what changed, so that make rebuilds only that. build/linux.stamp gets
        a new time when anything did.
"""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

from steps import step

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
SRC = os.path.join(BUILD, "src")
LINUX = os.path.join(BUILD, "linux")
STAMP = os.path.join(BUILD, "linux.stamp")
STATE = os.path.join(BUILD, "linux.json")
PATCHED = os.path.join(BUILD, "integration")    # what integration/apply wrote
TARBALL = "/usr/src/linux-source-6.12.tar.xz"
NEED_GB = 15

OVERLAY = (("mm", "mm"), ("kernel", "kernel"), ("include", "include"),
           ("selftests", "tools/testing/selftests/ksm_cgroup"),
           ("tools/ksm-cgroup", "tools/ksm-cgroup"),
           ("Documentation", "Documentation"))
REMOVED = ["mm/ksm.c"]
# Left by compilers and editors, no part of the overlay.
IGNORED = re.compile(r"(\.(o|a|ko|cmd|mod|order|orig|rej|swp|pyc|tmp)|~)$|^\.")


class TreeError(Exception):
    pass


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def put(path, data, mode=0o644):
    """Write a file as a new inode, never through a hard link."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + ".ksm-tmp"
    with open(temporary, "wb") as stream:
        stream.write(data)
    os.chmod(temporary, mode)
    os.rename(temporary, path)


def files(top):
    for directory, dirs, names in os.walk(top):
        dirs[:] = sorted(d for d in dirs if not IGNORED.search(d) and d != "__pycache__")
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not IGNORED.search(name):
                yield os.path.relpath(path, top)


def check_version(tree, remedy):
    try:
        head = read(os.path.join(tree, "Makefile")).decode(errors="replace")[:400]
    except OSError:
        raise TreeError("%s is no kernel tree: %s" % (tree, remedy)) from None
    version = [(re.search(r"^%s = *(\S*)" % key, head, re.M) or [0, "?"])[1]
               for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if version[:2] != ["6", "12"]:
        raise TreeError("%s is Linux %s, not 6.12: %s" % (tree, ".".join(version), remedy))


def source(ksrc):
    origin = os.path.abspath(ksrc) if ksrc else TARBALL
    if ksrc:
        check_version(origin, "give KSRC a 6.12 tree, or leave it away")
        identity = origin
    else:
        if not os.path.exists(TARBALL):
            raise TreeError("%s is missing: make deps, or give KSRC=dir" % TARBALL)
        status = os.stat(TARBALL)
        identity = "%s %d %d" % (TARBALL, status.st_size, status.st_mtime)
    note = os.path.join(BUILD, "src.origin")
    if os.path.isdir(SRC) and os.path.exists(note) and read(note).decode() == identity:
        return
    free = shutil.disk_usage(BUILD).free / 1e9
    if free < NEED_GB:
        raise TreeError("%.0f GB free where build/ is, %d are needed: make room, or make build a "
                        "symbolic link to a larger disk" % (free, NEED_GB))
    temporary = SRC + ".tmp"
    for path in (temporary, SRC, LINUX):
        shutil.rmtree(path, ignore_errors=True)
    for path in (STATE, STAMP, note):
        if os.path.exists(path):
            os.unlink(path)
    with step("%s %s" % ("copying" if ksrc else "unpacking", origin)):
        if ksrc:
            shutil.copytree(origin, temporary, symlinks=True,
                            ignore=shutil.ignore_patterns(".git", "*.o", "*.cmd"))
            if os.path.exists(os.path.join(temporary, ".config")):
                run(["make", "-C", temporary, "mrproper"],
                    "make mrproper in the copy of KSRC failed")
        else:
            os.mkdir(temporary)
            run(["tar", "-xf", TARBALL, "--strip-components=1", "-C", temporary],
                "unpacking failed: reinstall linux-source-6.12")
        check_version(temporary, "install linux-source-6.12, or give KSRC=dir")
        os.rename(temporary, SRC)
    with open(note, "w") as stream:
        stream.write(identity)


def run(command, failure):
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                      check=False).returncode:
        raise TreeError(failure)


def integrate(state):
    """Run integration/apply when it or the pristine tree changed."""
    folder = os.path.join(TOP, "integration")
    program = os.path.join(folder, "apply")
    if not os.path.exists(program):
        raise TreeError("integration/apply is missing: the seam with the kernel is not there")
    digest = hashlib.sha256(read(os.path.join(BUILD, "src.origin")))
    for name in files(folder):
        digest.update(name.encode() + b"\0" + read(os.path.join(folder, name)))
    if state.get("integration") == digest.hexdigest() and os.path.isdir(PATCHED):
        return
    temporary = PATCHED + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.mkdir(temporary)
    with step("applying integration/ to the tree"):
        done = subprocess.run([program, SRC, temporary], stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            shutil.rmtree(temporary, ignore_errors=True)
            raise TreeError("integration/apply stopped, build/linux is as it was "
                            "(see the line above)")
    shutil.rmtree(PATCHED, ignore_errors=True)
    os.rename(temporary, PATCHED)
    state["integration"] = digest.hexdigest()


def wanted():
    """Path in the tree -> file that it comes from; None: removed."""
    result = {path: None for path in REMOVED}
    for name in files(PATCHED):
        result[name] = os.path.join(PATCHED, name)
    for folder, place in OVERLAY:
        top = os.path.join(TOP, folder)
        for name in files(top) if os.path.isdir(top) else ():
            result[os.path.join(place, name)] = os.path.join(top, name)
    return result


def sync():
    try:
        state = json.loads(read(STATE))
    except (OSError, ValueError):
        state = {}
    if not os.path.isdir(LINUX):
        shutil.rmtree(LINUX + ".tmp", ignore_errors=True)
        run(["cp", "-al", SRC, LINUX + ".tmp"], "copying build/src by hard links failed")
        os.rename(LINUX + ".tmp", LINUX)
        state.pop("paths", None)
    integrate(state)
    target, changed = wanted(), []
    for path in state.get("paths", []):
        if path in target:
            continue
        here, pristine = os.path.join(LINUX, path), os.path.join(SRC, path)
        if os.path.exists(here):
            os.unlink(here)
        if os.path.exists(pristine):
            put(here, read(pristine), os.stat(pristine).st_mode & 0o777)
        changed.append(path)
    for path, origin in sorted(target.items()):
        here = os.path.join(LINUX, path)
        if origin is None:
            if os.path.exists(here):
                os.unlink(here)
                changed.append(path)
            continue
        data = read(origin)
        if os.path.exists(here) and read(here) == data:
            continue
        put(here, data, 0o755 if os.access(origin, os.X_OK) else 0o644)
        changed.append(path)
    state["paths"] = sorted(target)
    if changed:
        print("    %d files of build/linux changed%s" % (
            len(changed), ": " + " ".join(changed) if len(changed) < 6 else ""), flush=True)
    # Tests and words are no reason to build a kernel.
    if not os.path.exists(STAMP) or any(
            not path.startswith(("tools/", "Documentation/")) for path in changed):
        put(STAMP, "".join(path + "\n" for path in changed).encode())
    put(STATE, json.dumps(state, indent=1).encode())


def main():
    os.makedirs(BUILD, exist_ok=True)
    try:
        with open(os.path.join(BUILD, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if sys.argv[1:2] == ["source"]:
                source(sys.argv[2] if len(sys.argv) > 2 else None)
            elif sys.argv[1:] == ["sync"]:
                sync()
            else:
                sys.exit(__doc__)
    except TreeError as error:
        sys.exit("tree: %s" % error)


if __name__ == "__main__":
    main()
