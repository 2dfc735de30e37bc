#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: does the advisor keep its CPU limit, whatever there is to scan?

The target cannot be met, so that the limit decides. Prints a line for each
number of cgroups and each limit: cgroups, limit, percent of a CPU that the
scanner threads took.
"""
import os
import signal
import time

from guest import KSM, member, parent, put, run_time

PAGES = 2000
SETTLE, MEASURE = 5, 10         # seconds


def measure(limit):
    put(KSM + "advisor_max_cpu", limit)
    time.sleep(SETTLE)
    before, began = run_time(), time.monotonic()
    time.sleep(MEASURE)
    return 100 * (run_time() - before) / (time.monotonic() - began)


def main():
    above = parent("ksmadvisor")
    put(KSM + "smart_scan", 0)
    put(KSM + "advisor_max_pages_to_scan", 1000000)
    put(KSM + "advisor_target_scan_time", 1)
    put(KSM + "advisor_mode", "scan-time")
    put(KSM + "run", 1)
    pids = []
    for cgroups in (1, 10, 100):
        while len(pids) < cgroups:
            cgroup = "%s/%d" % (above, len(pids))
            os.mkdir(cgroup)
            put(cgroup + "/memory.ksm", 1)
            pids.append(member(cgroup, PAGES, 1 + len(pids) * PAGES))
        for limit in (5, 20):
            print(cgroups, limit, "%.1f" % measure(limit), flush=True)
    put(KSM + "run", 0)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
