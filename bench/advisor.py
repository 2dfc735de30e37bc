#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: does the advisor keep its CPU limit, whatever there is to scan?

The target cannot be met, so that the limit decides. Prints a line for each
number of cgroups and each limit: cgroups, limit, percent of a CPU that the
scanner threads took.
"""
import mmap
import os
import signal
import time

CGROUPS = "/sys/fs/cgroup/ksmadvisor"
KSM = "/sys/kernel/mm/ksm/"
PAGES = 2000
SETTLE, MEASURE = 5, 10         # seconds


def put(path, value):
    with open(path, "w") as stream:
        stream.write(str(value))


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


def member(number):
    cgroup = "%s/%d" % (CGROUPS, number)
    os.mkdir(cgroup)
    put(cgroup + "/memory.ksm", 1)
    pid = os.fork()
    if pid:
        return pid
    put(cgroup + "/cgroup.procs", os.getpid())
    memory = mmap.mmap(-1, PAGES * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(PAGES):
        memory[page * 4096:page * 4096 + 8] = (number * PAGES + page + 1).to_bytes(8, "little")
    while True:
        signal.pause()


def measure(limit):
    put(KSM + "advisor_max_cpu", limit)
    time.sleep(SETTLE)
    before, began = run_time(), time.monotonic()
    time.sleep(MEASURE)
    return 100 * (run_time() - before) / (time.monotonic() - began)


def main():
    put("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
    os.mkdir(CGROUPS)
    put(CGROUPS + "/cgroup.subtree_control", "+memory")
    put(KSM + "smart_scan", 0)
    put(KSM + "advisor_max_pages_to_scan", 1000000)
    put(KSM + "advisor_target_scan_time", 1)
    put(KSM + "advisor_mode", "scan-time")
    put(KSM + "run", 1)
    pids = []
    for cgroups in (1, 10, 100):
        while len(pids) < cgroups:
            pids.append(member(len(pids)))
        for limit in (5, 20):
            print(cgroups, limit, "%.1f" % measure(limit), flush=True)
    put(KSM + "run", 0)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
