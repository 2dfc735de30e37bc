#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: how long a scanner thread holds on to what it scans.

A process whose pages are random, or made to be hard to tell apart, is scanned
at full speed from when it is seen first. Prints JSON: for each set of data the
work of each slice, in lines, and the time from one slice's end to the next
one's, in us; from the trace event ksm_slice.
"""
import json
import mmap
import os
import signal
import sys
import time

from guest import KSM, parent, put, trace_slices, traced_slices

PAGES = 16384
SECONDS = 12
CHUNK = 256


def changed(chunk):
    """What xxh64 cannot tell from the chunk, for one key of two; see bench/scan.c."""
    words = [int.from_bytes(chunk[at:at + 8], "little") for at in range(0, CHUNK, 8)]
    words[0] ^= 1 << 63
    words[4] = (words[4] + 0xce48002dc0000000) % (1 << 64)
    return b"".join(word.to_bytes(8, "little") for word in words)


CHUNKS = [os.urandom(CHUNK) for unused in range(4096 // CHUNK)]
OTHERS = [changed(chunk) for chunk in CHUNKS]
BASE = os.urandom(4088)


def random_page(unused):
    return os.urandom(4096)


def near_page(number):
    return BASE + number.to_bytes(8, "little")


def hostile_page(number):
    """Of these, some hundred each have one fingerprint."""
    return b"".join((OTHERS if number >> bit & 1 else CHUNKS)[bit] for bit in range(16))


SETS = (("random", random_page), ("near", near_page), ("hostile", hostile_page))


def process(cgroup, page):
    """A process in a cgroup, with its pages written. Its pid."""
    ready, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        if os.read(ready, 1) != b".":
            sys.exit("no process with the data")
        os.close(ready)
        return pid
    put(cgroup + "/cgroup.procs", os.getpid())
    memory = mmap.mmap(-1, PAGES * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for number in range(PAGES):
        memory[number * 4096:number * 4096 + 4096] = page(number)
    os.write(write, b".")
    while True:
        signal.pause()


def measure(cgroup, page):
    os.mkdir(cgroup)
    put(cgroup + "/memory.ksm", 1)
    pid = process(cgroup, page)
    trace_slices(True)
    put(KSM + "run", 1)
    time.sleep(SECONDS)
    put(KSM + "run", 0)
    trace_slices(False)
    inode = os.stat(cgroup).st_ino
    seen = [(when, lines) for when, of, lines in traced_slices() if of == inode]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return {"lines": [lines for unused, lines in seen],
            "us": [round(1e6 * (b[0] - a[0])) for a, b in zip(seen, seen[1:])]}


def main():
    above = parent("ksmslices")
    put(KSM + "run", 0)
    put(KSM + "smart_scan", 0)
    put(KSM + "sleep_millisecs", 0)
    # no pause, and next to no ends of batches
    put(KSM + "pages_to_scan", 500000)
    print(json.dumps({name: measure("%s/%s" % (above, name), page) for name, page in SETS}))


if __name__ == "__main__":
    main()
