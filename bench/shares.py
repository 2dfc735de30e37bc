#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: who is scanned how much, while weights change.

Three cgroups, each a merge domain with a process of its own. Prints JSON: the
phases with their weights, and for each stretch of time the work on each
cgroup, from the trace event ksm_slice.
"""
import json
import os
import signal
import time

from guest import CGROOT, KSM, member, parent, put, trace_slices, traced_slices

ABOVE = "ksmshares"
PAGES = 4096
STEP = 0.25             # seconds of a point of the plot
NAMES = ("a", "b", "c")
# What is said, seconds, weights; 0: switched off
PHASES = (("100, 300, 600", 6, (100, 300, 600)),
          ("600, 300, 100", 6, (600, 300, 100)),
          ("c is switched off", 4, (600, 300, 0)),
          ("c is back, all equal", 6, (100, 100, 100)))


def path(name):
    return "%s/%s/%s" % (CGROOT, ABOVE, name)


def set_weights(weights):
    for name, weight in zip(NAMES, weights):
        put(path(name) + "/memory.ksm", 1 if weight else 0)
        if weight:
            put(path(name) + "/memory.ksm.weight", weight)


def main():
    parent(ABOVE)
    pids = []
    for number, name in enumerate(NAMES):
        os.mkdir(path(name))
        pids.append(member(path(name), PAGES, 1 + number * PAGES))
    time.sleep(5)
    # settings by which the budget and not the CPU is what limits the scan
    put(KSM + "smart_scan", 0)
    put(KSM + "pages_to_scan", 200)
    put(KSM + "sleep_millisecs", 10)
    trace_slices(True)
    set_weights(PHASES[0][2])
    put(KSM + "run", 1)
    time.sleep(4)
    phases = []
    for text, seconds, weights in PHASES:
        set_weights(weights)
        phases.append({"text": text, "weights": weights, "began": time.monotonic()})
        time.sleep(seconds)
    end = time.monotonic()
    put(KSM + "run", 0)
    trace_slices(False)

    began = phases[0]["began"]
    work = [[0, 0, 0] for unused in range(int((end - began) / STEP) + 1)]
    inodes = [os.stat(path(name)).st_ino for name in NAMES]
    for when, inode, lines in traced_slices():
        if began <= when < end and inode in inodes:
            work[int((when - began) / STEP)][inodes.index(inode)] += lines
    for phase in phases:
        phase["began"] -= began
    print(json.dumps({"names": NAMES, "step": STEP, "end": end - began, "phases": phases,
                      "work": work}))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
