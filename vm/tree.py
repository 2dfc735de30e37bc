#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Lay the overlay over a kernel tree.

source  unpacks the pristine tree into build/src.
sync    makes build/linux: a copy of build/src by hard links, in which the
        files that differ are files of their own. Run again it touches only
        what changed, so that make rebuilds only that. build/linux.stamp gets
        a new time when anything did.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import BUILD, TOP, HintError, locked, note, put, step

SRC = BUILD / "src"
ORIGIN = BUILD / "src.origin"
LINUX = BUILD / "linux"
STAMP = BUILD / "linux.stamp"
STATE = BUILD / "linux.json"
PATCHED = BUILD / "integration"     # what integration/apply wrote
TARBALL = Path("/usr/src/linux-source-6.12.tar.xz")
BASE = ["6", "12"]
NEED_GB = 15

OVERLAY = (("mm", "mm"), ("kernel", "kernel"), ("include", "include"),
           ("selftests", "tools/testing/selftests/ksm_cgroup"),
           ("tools/ksm-cgroup", "tools/ksm-cgroup"),
           ("Documentation", "Documentation"))
REMOVED = ("mm/ksm.c",)
# Left by compilers and editors, no part of the overlay.
IGNORED = re.compile(r"(\.(o|a|ko|cmd|mod|order|orig|rej|swp|pyc|tmp)|~)$|^\.|^__pycache__$")
# Tests and words are no reason to build a kernel.
NOT_BUILT = ("tools/", "Documentation/")


class TreeError(HintError):
    """The tree is not there, or not as it should be."""


def files(top: Path) -> Iterator[str]:
    """Paths below a folder, sorted within each; none of a folder that is not there."""
    for directory, dirs, names in os.walk(top):
        dirs[:] = sorted(name for name in dirs if not IGNORED.search(name))
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_file() and not IGNORED.search(name):
                yield str(path.relative_to(top))


def run(command: Sequence[str | Path], failure: TreeError) -> None:
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                      check=False).returncode:
        raise failure


def check_version(tree: Path, remedy: str) -> None:
    try:
        head = (tree / "Makefile").read_text(errors="replace")[:400]
    except OSError:
        raise TreeError(f"{tree} is no kernel tree", remedy) from None
    found = [re.search(rf"^{key} = *(\S*)", head, re.M)
             for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    version = [match[1] if match else "?" for match in found]
    if version[:2] != BASE:
        raise TreeError(f"{tree} is Linux {'.'.join(version)}, not {'.'.join(BASE)}", remedy)


# -- the pristine tree


def identity(ksrc: Path | None) -> tuple[Path, str]:
    """Where the pristine tree comes from, and what tells it from another."""
    if ksrc:
        check_version(ksrc, "give KSRC a 6.12 tree, or leave it away")
        return ksrc, str(ksrc)
    if not TARBALL.exists():
        raise TreeError(f"{TARBALL} is missing", "make deps, or give KSRC=dir")
    status = TARBALL.stat()
    return TARBALL, f"{TARBALL} {status.st_size} {int(status.st_mtime)}"


def source(ksrc: Path | None) -> None:
    origin, identifier = identity(ksrc)
    if SRC.is_dir() and ORIGIN.exists() and ORIGIN.read_text() == identifier:
        return
    free = shutil.disk_usage(BUILD).free / 1e9
    if free < NEED_GB:
        raise TreeError(f"{free:.0f} GB free where build/ is, {NEED_GB} are needed",
                        "make room, or make build a symbolic link to a larger disk")
    temporary = BUILD / "src.tmp"
    for folder in (temporary, SRC, LINUX):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (STATE, STAMP, ORIGIN):
        path.unlink(missing_ok=True)
    with step(f"{'copying' if ksrc else 'unpacking'} {origin}"):
        if ksrc:
            copy_tree(origin, temporary)
        else:
            temporary.mkdir()
            run(["tar", "-xf", TARBALL, "--strip-components=1", "-C", temporary],
                TreeError("unpacking failed", "reinstall linux-source-6.12"))
        check_version(temporary, "install linux-source-6.12, or give KSRC=dir")
        temporary.rename(SRC)
    ORIGIN.write_text(identifier)


def copy_tree(origin: Path, target: Path) -> None:
    shutil.copytree(origin, target, symlinks=True,
                    ignore=shutil.ignore_patterns(".git", "*.o", "*.cmd"))
    if (target / ".config").exists():
        run(["make", "-C", target, "mrproper"],
            TreeError("make mrproper in the copy of KSRC failed", "try it in KSRC itself"))


# -- the patched tree


def integrate(state: dict[str, Any]) -> None:
    """Run integration/apply when it or the pristine tree changed."""
    folder = TOP / "integration"
    program = folder / "apply"
    if not program.exists():
        raise TreeError("integration/apply, the seam with the kernel, is missing",
                        "git checkout integration")
    digest = hashlib.sha256(ORIGIN.read_bytes())
    for name in files(folder):
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    if state.get("integration") == digest.hexdigest() and PATCHED.is_dir():
        return
    temporary = BUILD / "integration.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with step("applying integration/ to the tree"):
        done = subprocess.run([program, SRC, temporary], stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            shutil.rmtree(temporary, ignore_errors=True)
            raise TreeError("integration/apply stopped, build/linux is as it was",
                            "see the line above")
    shutil.rmtree(PATCHED, ignore_errors=True)
    temporary.rename(PATCHED)
    state["integration"] = digest.hexdigest()


def wanted() -> dict[str, Path | None]:
    """Path in the tree -> file that it comes from; None: removed."""
    result: dict[str, Path | None] = {path: None for path in REMOVED}
    result.update((name, PATCHED / name) for name in files(PATCHED))
    for folder, place in OVERLAY:
        result.update((f"{place}/{name}", TOP / folder / name) for name in files(TOP / folder))
    return result


def load_state() -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(STATE.read_bytes())
        return state
    except (OSError, ValueError):
        return {}


def restore(path: str) -> None:
    """Give the tree the pristine file again, or none."""
    here, pristine = LINUX / path, SRC / path
    here.unlink(missing_ok=True)
    if pristine.exists():
        put(here, pristine.read_bytes(), pristine.stat().st_mode & 0o777)


def install(path: str, origin: Path | None) -> bool:
    """Make a file of the tree what it should be; whether it was not."""
    here = LINUX / path
    if origin is None:
        if not here.exists():
            return False
        here.unlink()
        return True
    data = origin.read_bytes()
    if here.exists() and here.read_bytes() == data:
        return False
    put(here, data, 0o755 if os.access(origin, os.X_OK) else 0o644)
    return True


def sync() -> None:
    state = load_state()
    if not LINUX.is_dir():
        temporary = BUILD / "linux.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        run(["cp", "-al", SRC, temporary],
            TreeError("copying build/src by hard links failed", "make build/ one file system"))
        temporary.rename(LINUX)
        state.pop("paths", None)
    integrate(state)
    target = wanted()
    changed = [path for path in state.get("paths", []) if path not in target]
    for path in changed:
        restore(path)
    changed += [path for path, origin in sorted(target.items()) if install(path, origin)]
    state["paths"] = sorted(target)
    if changed:
        note(f"{len(changed)} files of build/linux changed"
             f"{': ' + ' '.join(changed) if len(changed) < 6 else ''}")
    if not STAMP.exists() or any(not path.startswith(NOT_BUILT) for path in changed):
        put(STAMP, "".join(f"{path}\n" for path in changed))
    put(STATE, json.dumps(state, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    unpack = commands.add_parser("source")
    unpack.add_argument("ksrc", nargs="?", metavar="KSRC", help="a 6.12 tree instead of Debian's")
    commands.add_parser("sync")
    arguments = parser.parse_args()
    try:
        with locked(BUILD / "lock"):
            if arguments.command == "source":
                source(Path(os.path.abspath(arguments.ksrc)) if arguments.ksrc else None)
            else:
                sync()
    except TreeError as error:
        sys.exit(f"tree: {error}")


if __name__ == "__main__":
    main()
