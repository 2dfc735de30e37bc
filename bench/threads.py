#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: how fast one and two scanner threads go through two domains.

Nothing can be merged, so that all time goes into the scanning. Prints JSON: for
each number of threads, pages scanned a second, in turn. The turns are short and
many, as an emulated machine's speed changes all the time.
"""
import json
import os
import signal
import time

from guest import KSM, member, parent, put

TURNS = 15
SETTLE, MEASURE = 0.5, 2        # seconds
PAGES = 20000


def scanned(cgroups):
    total = 0
    for cgroup in cgroups:
        with open(cgroup + "/memory.ksm.stat") as stream:
            total += int(dict(map(str.split, stream))["pages_scanned"])
    return total


def measure(threads, cgroups):
    put(KSM + "threads", threads)
    time.sleep(SETTLE)
    before, began = scanned(cgroups), time.monotonic()
    time.sleep(MEASURE)
    return (scanned(cgroups) - before) / (time.monotonic() - began)


def main():
    above = parent("ksmthreads")
    cgroups = [above + "/a", above + "/b"]
    pids = []
    for cgroup in cgroups:
        os.mkdir(cgroup)
        put(cgroup + "/memory.ksm", 1)
        for unused in range(2):
            pids.append(member(cgroup, PAGES, 1 + len(pids) * PAGES))
    time.sleep(5)
    put(KSM + "smart_scan", 0)
    put(KSM + "sleep_millisecs", 0)
    # no pause, and next to no ends of batches
    put(KSM + "pages_to_scan", 500000)
    put(KSM + "run", 1)
    # all pages are known when it counts
    time.sleep(5)
    rates = {1: [], 2: []}
    for unused in range(TURNS):
        for threads, rate in rates.items():
            rate.append(measure(threads, cgroups))
    put(KSM + "run", 0)
    print(json.dumps(rates))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
