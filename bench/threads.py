#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: how fast one and two scanner threads scan two domains.

Nothing can be merged, so all time goes into scanning. Prints JSON: for each
number of threads, pages scanned per second, in each turn. Turns are short and
many, as the speed of an emulated machine changes all the time.
"""
from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from guest import KSM, domain, kill, member, parent, put

TURNS = 15
SETTLE, MEASURE = 0.5, 2        # seconds
PAGES = 20000


def scanned(cgroups: Iterable[Path]) -> int:
    total = 0
    for cgroup in cgroups:
        stat = (cgroup / "memory.ksm.stat").read_text()
        total += int(dict(map(str.split, stat.splitlines()))["pages_scanned"])
    return total


def measure(threads: int, cgroups: Iterable[Path]) -> float:
    put(KSM / "threads", threads)
    time.sleep(SETTLE)
    before, began = scanned(cgroups), time.monotonic()
    time.sleep(MEASURE)
    return (scanned(cgroups) - before) / (time.monotonic() - began)


def main() -> None:
    above = parent("ksmthreads")
    cgroups = [domain(above / name) for name in ("a", "b")]
    pids: list[int] = []
    for cgroup in cgroups:
        for _ in range(2):
            pids.append(member(cgroup, PAGES, 1 + len(pids) * PAGES))
    time.sleep(5)
    put(KSM / "smart_scan", 0)
    put(KSM / "sleep_millisecs", 0)
    # No pauses, and hardly any ends of batches.
    put(KSM / "pages_to_scan", 500000)
    put(KSM / "run_cgroups", 1)
    # Measure once all pages are known.
    time.sleep(5)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(TURNS):
        for threads, rate in rates.items():
            rate.append(measure(threads, cgroups))
    put(KSM / "run_cgroups", 0)
    print(json.dumps(rates))
    kill(pids)


if __name__ == "__main__":
    main()
