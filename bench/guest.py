# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: what the parts of the benchmark have in common."""
import mmap
import os
import re
import signal

CGROOT = "/sys/fs/cgroup"
KSM = "/sys/kernel/mm/ksm/"
TRACING = "/sys/kernel/tracing/"
SLICE = re.compile(r" (\d+\.\d+): ksm_slice: work (\d+) cost \d+ cgroup (\d+)")


def put(path, value):
    with open(path, "w") as stream:
        stream.write(str(value))


def parent(name):
    """A new cgroup whose children have memory.ksm; its path."""
    path = "%s/%s" % (CGROOT, name)
    put(CGROOT + "/cgroup.subtree_control", "+memory")
    os.mkdir(path)
    put(path + "/cgroup.subtree_control", "+memory")
    return path


def member(cgroup, pages, first):
    """A process in a cgroup, its pages alike to nobody's: numbered from first. Its pid."""
    pid = os.fork()
    if pid:
        return pid
    put(cgroup + "/cgroup.procs", os.getpid())
    memory = mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(pages):
        memory[page * 4096:page * 4096 + 4096] = (first + page).to_bytes(8, "little") * 512
    while True:
        signal.pause()


def run_time():
    """CPU time of all scanner threads, in seconds."""
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/comm" % pid) as stream:
                if stream.read().split("/")[0].strip() != "ksmd":
                    continue
            with open("/proc/%s/stat" % pid) as stream:
                fields = stream.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")


def trace_slices(on):
    """Have the trace event ksm_slice written from now, to an empty buffer, or no more."""
    if on:
        put(TRACING + "trace_clock", "mono")
        put(TRACING + "options/record-cmd", 0)
        put(TRACING + "buffer_size_kb", 16384)
        put(TRACING + "trace", "")
    put(TRACING + "events/ksm/ksm_slice/enable", int(on))


def traced_slices():
    """(time in s, cgroup's inode, lines) of each slice in the buffer."""
    with open(TRACING + "trace") as stream:
        for line in stream:
            found = SLICE.search(line)
            if found:
                yield float(found[1]), int(found[3]), int(found[2])
