# SPDX-License-Identifier: GPL-2.0
"""What the programs of vm/, bench/ and integration/ have in common."""
from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
LOG = BUILD / "log"


class HintError(Exception):
    """What is wrong, then the remedy; shown as "what: remedy"."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what}: {hint}")


# -- messages: on stderr, as stdout belongs to the command that is run

def say(text: str) -> None:
    """Announce what is about to take time."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Add a line to what was announced."""
    print(f"    {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Announce what takes time, then tell how long it took."""
    start = time.monotonic()
    say(what)
    yield
    took = time.monotonic() - start
    if took >= 1:
        note(f"done: {what}, {took:.0f} s")


# -- files

def put(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Replace a file as a whole: a new inode, never written through a hard link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".ksm-tmp")
    temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    temporary.chmod(mode)
    temporary.rename(path)


def same_content(left: Path, right: Path) -> bool:
    """Whether both files have the same bytes, or neither exists."""
    if not (left.exists() and right.exists()):
        return left.exists() == right.exists()
    return left.read_bytes() == right.read_bytes()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made for that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


# -- programs

def captured(command: Sequence[str | os.PathLike[str]], cwd: Path | None = None,
             env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program without input and keep its output; the status is the caller's to check."""
    return subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", check=False)
