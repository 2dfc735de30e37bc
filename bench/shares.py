#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Inside the VM: each cgroup's share of the scanning while weights change.

Three cgroups, each a merge domain with one process. Prints JSON: the phases
with their weights, and for each step of time the work on each cgroup, from the
trace event ksm_slice.
"""
from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guest import KSM, kill, member, parent, put, trace_slices, traced_slices

PAGES = 4096
STEP = 0.25             # seconds between points of the plot
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Phase:
    text: str
    seconds: int
    weights: tuple[int, int, int]       # 0: switched off


PHASES = (Phase("100, 300, 600", 6, (100, 300, 600)),
          Phase("600, 300, 100", 6, (600, 300, 100)),
          Phase("c is switched off", 4, (600, 300, 0)),
          Phase("c is back, all equal", 6, (100, 100, 100)))


def set_weights(cgroups: Sequence[Path], weights: Sequence[int]) -> None:
    for cgroup, weight in zip(cgroups, weights):
        put(cgroup / "memory.ksm", 1 if weight else 0)
        if weight:
            put(cgroup / "memory.ksm.weight", weight)


def run_phases(cgroups: Sequence[Path]) -> tuple[list[dict[str, Any]], float]:
    """Go through all phases; when each began, and when the last one ended."""
    phases = []
    for phase in PHASES:
        set_weights(cgroups, phase.weights)
        phases.append({"text": phase.text, "weights": phase.weights, "began": time.monotonic()})
        time.sleep(phase.seconds)
    return phases, time.monotonic()


def work_in_steps(cgroups: Sequence[Path], began: float, end: float) -> list[list[int]]:
    """Cache lines of work on each cgroup, in each step between two times."""
    work = [[0] * len(cgroups) for _ in range(int((end - began) / STEP) + 1)]
    inodes = [cgroup.stat().st_ino for cgroup in cgroups]
    for when, inode, lines in traced_slices():
        if began <= when < end and inode in inodes:
            work[int((when - began) / STEP)][inodes.index(inode)] += lines
    return work


def main() -> None:
    above = parent("ksmshares")
    cgroups = [above / name for name in NAMES]
    pids = []
    for number, cgroup in enumerate(cgroups):
        cgroup.mkdir()
        pids.append(member(cgroup, PAGES, 1 + number * PAGES))
    time.sleep(5)
    # The budget, and not the CPU, is what limits the scan.
    put(KSM / "smart_scan", 0)
    put(KSM / "pages_to_scan", 200)
    put(KSM / "sleep_millisecs", 10)
    trace_slices(True)
    set_weights(cgroups, PHASES[0].weights)
    put(KSM / "run_cgroups", 1)
    time.sleep(4)
    phases, end = run_phases(cgroups)
    put(KSM / "run_cgroups", 0)
    trace_slices(False)

    began = phases[0]["began"]
    work = work_in_steps(cgroups, began, end)
    for phase in phases:
        phase["began"] -= began
    print(json.dumps({"names": NAMES, "step": STEP, "end": end - began, "phases": phases,
                      "work": work}))
    kill(pids)


if __name__ == "__main__":
    main()
