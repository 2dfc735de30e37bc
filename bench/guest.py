# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: what the parts of the benchmark have in common."""
import mmap
import os
import signal

CGROOT = "/sys/fs/cgroup"
KSM = "/sys/kernel/mm/ksm/"


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
