# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: what the parts of the benchmark have in common."""
from __future__ import annotations

import mmap
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

PAGE = 4096
CGROUPS = Path("/sys/fs/cgroup")
KSM = Path("/sys/kernel/mm/ksm")
TRACING = Path("/sys/kernel/tracing")
SLICE = re.compile(r" (\d+\.\d+): ksm_slice: work (\d+) cost \d+ cgroup (\d+)")


def put(path: Path, value: object) -> None:
    path.write_text(str(value))


# -- cgroups and processes

def parent(name: str) -> Path:
    """Make a cgroup whose children have memory.ksm."""
    path = CGROUPS / name
    put(CGROUPS / "cgroup.subtree_control", "+memory")
    path.mkdir()
    put(path / "cgroup.subtree_control", "+memory")
    return path


def domain(path: Path) -> Path:
    """Make a cgroup that is a merge domain."""
    path.mkdir()
    put(path / "memory.ksm", 1)
    return path


def populate(cgroup: Path, pages: int, content: Callable[[int], bytes],
             huge: bool = True) -> mmap.mmap:
    """Move this process to a cgroup, and fill pages with what content says of their numbers."""
    put(cgroup / "cgroup.procs", os.getpid())
    memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if not huge:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for number in range(pages):
        memory[number * PAGE:(number + 1) * PAGE] = content(number)
    return memory


def keep(memory: mmap.mmap) -> NoReturn:
    """Wait to be killed; the argument keeps the memory mapped."""
    while True:
        signal.pause()


def member(cgroup: Path, pages: int, first: int) -> int:
    """Start a process in a cgroup, with unique pages that are numbered from first; its pid."""
    pid = os.fork()
    if pid:
        return pid
    keep(populate(cgroup, pages, lambda page: (first + page).to_bytes(8, "little") * 512))


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def run_time() -> float:
    """CPU time of all scanner threads, in seconds."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().split("/")[0].strip() != "ksmd":
                continue
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")


# -- the trace event ksm_slice

def trace_slices(on: bool) -> None:
    """Start tracing with an empty buffer, or stop."""
    if on:
        put(TRACING / "trace_clock", "mono")
        put(TRACING / "options/record-cmd", 0)
        put(TRACING / "buffer_size_kb", 16384)
        put(TRACING / "trace", "")
    put(TRACING / "events/ksm/ksm_slice/enable", int(on))


def traced_slices() -> Iterator[tuple[float, int, int]]:
    """(time in s, cgroup's inode, cache lines of work) of each slice in the buffer."""
    with (TRACING / "trace").open() as stream:
        for line in stream:
            found = SLICE.search(line)
            if found:
                yield float(found[1]), int(found[3]), int(found[2])
