#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""How long reading memory.ksm.stat takes, inside the VM.

For one cgroup with 1 and with 1,000 processes, with 1,000 and with 60,000 merged pages,
and for the top of 10 and of 10,000 cgroups. Prints one JSON object: name to
microseconds, the least of many reads.
"""
import ctypes
import json
import mmap
import os
import signal
import sys
import time

ROOT = "/sys/fs/cgroup"
KSM = "/sys/kernel/mm/ksm/"
LIBC = ctypes.CDLL(None, use_errno=True)


def put(path, text):
    with open(path, "w") as stream:
        stream.write(str(text))


def get(path):
    with open(path) as stream:
        return stream.read()


def group(path):
    os.mkdir(path)
    return path


def read_usec(cgroup, rounds=200):
    fd = os.open(cgroup + "/memory.ksm.stat", os.O_RDONLY)
    best = None
    for unused in range(rounds):
        begin = time.perf_counter_ns()
        os.pread(fd, 4096, 0)
        took = time.perf_counter_ns() - begin
        best = took if best is None else min(best, took)
    os.close(fd)
    return best / 1000


def sleeper(cgroup, pages=0):
    """A process in the cgroup that has so many equal pages."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        return pid
    put(cgroup + "/cgroup.procs", os.getpid())
    memory = mmap.mmap(-1, max(pages, 1) * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(pages):
        memory[page * 4096:page * 4096 + 8] = (page // 2 + 1).to_bytes(8, "little")
    LIBC.prctl(67, 1, 0, 0, 0)
    os.write(told, b".")
    signal.pause()
    os._exit(0)


def full_scans(nr):
    before = int(get(KSM + "full_scans"))
    while int(get(KSM + "full_scans")) < before + nr:
        time.sleep(0.05)


def main():
    result = {}
    top = group(ROOT + "/bench")
    put(ROOT + "/cgroup.subtree_control", "+memory")
    put(top + "/cgroup.subtree_control", "+memory")
    put(KSM + "sleep_millisecs", 0)
    put(KSM + "pages_to_scan", 100000)
    put(KSM + "run", 1)

    one = group(top + "/one")
    put(one + "/memory.ksm", "madvise")
    pids = [sleeper(one, 1000)]
    full_scans(3)
    result["1 process"] = read_usec(one)
    while len(pids) < 1000:
        pids.append(sleeper(one))
    result["1,000 processes"] = read_usec(one)

    two = group(top + "/two")
    put(two + "/memory.ksm", "madvise")
    pids.append(sleeper(two, 60000))
    full_scans(3)
    merged = next(int(line.split()[1]) for line in get(two + "/memory.ksm.stat").splitlines()
                  if line.startswith("ksm_merging_pages"))
    if merged < 59000:
        sys.exit("only %d pages are merged" % merged)
    result["60,000 merged pages"] = read_usec(two)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    many = group(top + "/many")
    put(many + "/cgroup.subtree_control", "+memory")
    for n in range(10):
        group("%s/%d" % (many, n))
    result["the top of 10 cgroups"] = read_usec(many)
    for n in range(10, 10000):
        group("%s/%d" % (many, n))
    result["the top of 10,000 cgroups"] = read_usec(many, 20)
    result["one of 10,000 cgroups"] = read_usec(many + "/5000")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
