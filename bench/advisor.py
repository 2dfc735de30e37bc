#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: does the advisor keep its CPU limit, whatever there is to scan?

The target scan time cannot be met, so the limit decides. Prints a line for each
number of cgroups and each limit: cgroups, limit, percent of a CPU that the
scanner threads took.
"""
from __future__ import annotations

import time

from guest import KSM, domain, kill, member, parent, put, run_time

PAGES = 2000
CGROUPS = (1, 10, 100)
LIMITS = (5, 20)                # percent
SETTLE, MEASURE = 5, 10         # seconds


def measure(limit: int) -> float:
    put(KSM / "advisor_max_cpu", limit)
    time.sleep(SETTLE)
    before, began = run_time(), time.monotonic()
    time.sleep(MEASURE)
    return 100 * (run_time() - before) / (time.monotonic() - began)


def main() -> None:
    above = parent("ksmadvisor")
    put(KSM / "smart_scan", 0)
    put(KSM / "advisor_max_pages_to_scan", 1000000)
    put(KSM / "advisor_target_scan_time", 1)
    put(KSM / "advisor_mode", "scan-time")
    put(KSM / "run_cgroups", 1)
    pids: list[int] = []
    for cgroups in CGROUPS:
        while len(pids) < cgroups:
            cgroup = domain(above / str(len(pids)))
            pids.append(member(cgroup, PAGES, 1 + len(pids) * PAGES))
        for limit in LIMITS:
            print(cgroups, limit, f"{measure(limit):.1f}", flush=True)
    put(KSM / "run_cgroups", 0)
    kill(pids)


if __name__ == "__main__":
    main()
