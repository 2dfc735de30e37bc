#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: how long a scanner thread holds on to what it scans.

A process with random pages, or with pages made to be hard to tell apart, is
scanned at full speed from first sight on. Prints JSON: for each set of data the
work of each slice, in cache lines, and the time from one slice's end to the
next one's, in us; from the trace event ksm_slice.
"""
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import (KSM, PAGE, domain, keep, kill, parent, populate, put, trace_slices,
                   traced_slices)

PAGES = 16384
SECONDS = 12
CHUNK = 256

Content = Callable[[int], bytes]        # of a page, by its number


def changed(chunk: bytes) -> bytes:
    """A chunk with the same xxh64 for one key of two; see bench/scan.c."""
    words = [int.from_bytes(chunk[at:at + 8], "little") for at in range(0, CHUNK, 8)]
    words[0] ^= 1 << 63
    words[4] = (words[4] + 0xce48002dc0000000) % (1 << 64)
    return b"".join(word.to_bytes(8, "little") for word in words)


CHUNKS = [os.urandom(CHUNK) for _ in range(PAGE // CHUNK)]
OTHERS = [changed(chunk) for chunk in CHUNKS]
BASE = os.urandom(PAGE - 8)


def random_page(_: int) -> bytes:
    return os.urandom(PAGE)


def near_page(number: int) -> bytes:
    return BASE + number.to_bytes(8, "little")


def hostile_page(number: int) -> bytes:
    """Groups of some hundred of these pages share a fingerprint."""
    return b"".join((OTHERS if number >> bit & 1 else CHUNKS)[bit] for bit in range(16))


SETS: dict[str, Content] = {"random": random_page, "near": near_page, "hostile": hostile_page}


def process(cgroup: Path, content: Content) -> int:
    """Start a process in a cgroup; its pid, once its pages are written."""
    ready, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        if os.read(ready, 1) != b".":
            sys.exit("slices: the process with the data failed: see its message above")
        os.close(ready)
        return pid
    memory = populate(cgroup, PAGES, content, huge=False)
    os.write(write, b".")
    keep(memory)


def measure(cgroup: Path, content: Content) -> dict[str, Any]:
    pid = process(domain(cgroup), content)
    trace_slices(True)
    put(KSM / "run_cgroups", 1)
    time.sleep(SECONDS)
    put(KSM / "run_cgroups", 0)
    trace_slices(False)
    inode = cgroup.stat().st_ino
    seen = [(when, lines) for when, owner, lines in traced_slices() if owner == inode]
    kill([pid])
    os.waitpid(pid, 0)
    return {"lines": [lines for _, lines in seen],
            "us": [round(1e6 * (b[0] - a[0])) for a, b in zip(seen, seen[1:])]}


def main() -> None:
    above = parent("ksmslices")
    put(KSM / "run_cgroups", 0)
    put(KSM / "smart_scan", 0)
    put(KSM / "sleep_millisecs", 0)
    # No pauses, and hardly any ends of batches.
    put(KSM / "pages_to_scan", 500000)
    print(json.dumps({name: measure(above / name, content) for name, content in SETS.items()}))


if __name__ == "__main__":
    main()
