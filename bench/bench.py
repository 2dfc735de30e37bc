#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure side by side with the stock kernel, and print a table.

parts:
  insns    instructions of faults, fork and munmap where nothing is merged, on
           both kernels in turn, in a VM that counts instructions
  read     time to read memory.ksm.stat with many processes, pages and cgroups;
           emulated, so only comparable with one another
  idle     what a write, another cgroup's write meanwhile, and scanning cost
           with 1 to 10,000 idle cgroups
  exits    how long writes to other cgroups take while 300,000 pages that are
           remembered go at once
  shares   each of three cgroups' share of the scanning while their weights
           change, as a plot
  advisor  whether the CPU limit is kept with 1, 10 and 100 cgroups
  threads  how much faster two scanner threads scan two domains than one
  slices   how long a scanner thread holds on to random pages, and to pages made
           to be hard to tell apart
  restore  time and CPU time until what was restored is shared, by two writes to
           memory.ksm.scan and by the scanner alone, on both kernels in turn;
           emulated, so only comparable with one another
  cost     cost to the processes that are scanned and merged, on both kernels in
           turn; emulated, so only comparable with one another
  scan     cost of scanning and merging per page, on both kernels in turn, in
           user mode at the processor's speed

All figures end up in one table; raw data goes to build/bench/PART.json. The
targets, with the last verdicts, are in bench/README.md.

With QUICK in the environment only the most telling rows of scan are measured,
which takes some minutes.
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import plot
import scan
import table
from host import BENCH, OUT, TURNS, BenchError, compile_c, in_turn, save, say
from table import Row
from machine import Machine, VMError    # of vm/, which host adds to the path

RUNS = 3                # of the insns program in one turn
MORE = 0.005            # part by which a count may exceed the stock kernel's
TIMEOUT = 1200          # seconds for a command in the VM


@dataclass(frozen=True)
class Settings:
    """What to measure."""
    parts: tuple[str, ...]
    quick: bool


@dataclass(frozen=True)
class Cost:
    """A row of the part cost; relative to the figure base, if there is one."""
    text: str
    name: str
    base: str = ""


COSTS = (
    Cost("first touch while scanned, p99", "touch_scanned_ns"),
    Cost("first touch of twins while scanned, p99", "twin_scanned_ns"),
    Cost("copy on write while scanned, p99", "cow_scanned_ns"),
    Cost("a page that run=2 gives back", "unmerge_ns"),
    Cost("to 10,000 mappings of a frame", "rmap_ns"),
    Cost("first touch while scanned, of unscanned", "touch_scanned_ns", "touch_alone_ns"),
    Cost("first touch of twins, of unscanned", "twin_scanned_ns", "twin_alone_ns"),
    Cost("copy on write while scanned, of unscanned", "cow_scanned_ns", "cow_alone_ns"),
)


def run(kernel: str, command: str, **options: Any) -> str:
    """Standard output of a command in a VM of its own."""
    out: list[bytes] = []
    log = str(OUT / f"console-{kernel}.log")
    with Machine(kernel, share=str(OUT), log=log, **options) as machine:
        result = machine.run(command, timeout=TIMEOUT, stdout=out.append,
                             stderr=sys.stderr.buffer.write)
    if result.status != 0 or result.trouble:
        raise BenchError(f"'{command}' on the {kernel} kernel: status {result.status}",
                         f"see {OUT}")
    return b"".join(out).decode()


def run_script(name: str, mem: str) -> str:
    """Standard output of a part that is a Python script for the VM."""
    for part in (name, "guest"):
        shutil.copy(BENCH / f"{part}.py", OUT)
    return run("ksm", f"python3 -B /mnt/share/{name}.py", mem=mem)


# -- parts

def insns() -> Iterable[Row]:
    compile_c("insns", flags=["-static"])
    # The address space layout decides how many page tables fork copies.
    command = f"for i in $(seq {RUNS}); do setarch -R /mnt/share/insns; done"
    data = in_turn("instructions", lambda kernel: table.medians(
        run(kernel, command, mem="1G", cpus=1, count=True)))
    save("insns", data)
    for name in data["stock"][0]:
        stock, ours = ([turn[name] for turn in data[kernel]] for kernel in ("stock", "ksm"))
        yield table.row(f"instructions, {name}", "insns", ours, stock, table.of_stock(1 + MORE))


def read() -> Iterable[Row]:
    compile_c("read", flags=["-static"])
    say("reading memory.ksm.stat, which takes some minutes")
    data = table.columns(run("ksm", "/mnt/share/read", mem="3G"),
                         ("cgroups", "processes", "pages", "top_us", "leaf_us"))
    save("read", data)
    for seen in data:
        for which, name in (("the one above", "top_us"), ("one of them", "leaf_us")):
            yield table.row(f"memory.ksm.stat, {seen['cgroups']:.0f} cgroups, {which}", "us",
                            [seen[name]])


def idle() -> Iterable[Row]:
    compile_c("idle", flags=["-static"])
    say("idle cgroups, which takes some minutes")
    data = table.columns(run("ksm", "/mnt/share/idle", mem="3G"),
                         ("cgroups", "write_us", "other_us", "ksmd_ms"))
    save("idle", data)
    for seen in data:
        for what, name, unit in (("a write", "write_us", "us"),
                                 ("longest write elsewhere", "other_us", "us"),
                                 ("100 full scans elsewhere", "ksmd_ms", "ms")):
            yield table.row(f"{what}, {seen['cgroups']:.0f} idle cgroups", unit, [seen[name]])


def exits() -> Iterable[Row]:
    compile_c("exits", flags=["-static"])
    say("memory that goes at once, which takes some minutes")
    data = [table.medians(run("ksm", "/mnt/share/exits", mem="3G")) for _ in range(TURNS)]
    save("exits", data)
    for when, text in (("before", "while it is scanned"), ("unmap", "as it is unmapped"),
                       ("off", "as it is switched off"), ("exit", "as its process exits")):
        for whose, domain in (("same", "its"), ("other", "another")):
            bound = whose == "other" and when != "before"
            yield table.row(f"longest write in {domain} domain, {text}", "us",
                            [turn[f"{when}_{whose}_us"] for turn in data],
                            target=table.at_most(20000) if bound else None)


def shares() -> Iterable[Row]:
    say("shares of the scanning, which takes a minute")
    data = json.loads(run_script("shares", "1G"))
    save("shares", data)
    (OUT / "shares.svg").write_text(plot.shares(data))
    say("plot: build/bench/shares.svg")
    for phase in plot.phases(data):
        yield table.row(f"shares, {phase.text}, off by", "of 1",
                        [max(abs(due - had) for due, had in zip(phase.due, phase.had))],
                        target=table.at_most(0.02))


def advisor() -> Iterable[Row]:
    say("the advisor's CPU limit, which takes three minutes")
    data = table.columns(run_script("advisor", "2G"), ("cgroups", "limit", "percent"))
    save("advisor", data)
    for seen in data:
        yield table.row(f"the advisor, {seen['cgroups']:.0f} cgroups", "percent",
                        [seen["percent"]], target=table.at_most(seen["limit"]))


def threads() -> Iterable[Row]:
    say("one and two scanner threads, which takes two minutes")
    data = json.loads(run_script("threads", "2G"))
    save("threads", data)
    for count, rates in data.items():
        yield table.row(f"scanner threads: {count}", "pages/s", rates)
    one, two = (statistics.median(data[count]) for count in ("1", "2"))
    yield table.row("two threads, of one", "times", [two / one], target=table.at_least(1.8))


def slices() -> Iterable[Row]:
    say("slices of the scanning, which takes a minute or two")
    data = json.loads(run_script("slices", "1G"))
    save("slices", data)
    friendly = sorted(data["random"]["us"])
    for name, seen in data.items():
        us = sorted(seen["us"])
        for which, value, base in (
                ("99% of", us[len(us) * 99 // 100], friendly[len(friendly) * 99 // 100]),
                ("longest of", us[-1], friendly[-1])):
            yield table.row(f"{which} {len(us)} slices, {name}", "us", [value],
                            target=None if name == "random" else table.times(2, "random", base))


def cost_row(cost: Cost, data: dict[str, list[dict[str, float]]]) -> Row:
    """In times of the base if there is one, else in nanoseconds."""
    stock, ours = ([turn[cost.name] / (turn[cost.base] if cost.base else 1)
                    for turn in data[kernel]] for kernel in ("stock", "ksm"))
    if cost.base:
        return table.row(cost.text, "times", ours, stock, table.at_most(1.1))
    return table.row(cost.text, "ns", ours, stock, table.of_stock(1))


def cost() -> Iterable[Row]:
    compile_c("cost", flags=["-static"])
    command = "for part in faults unmerge rmap; do /mnt/share/cost $part || exit; done"
    data = in_turn("costs", lambda kernel: table.medians(run(kernel, command, mem="3G")))
    save("cost", data)
    for figure in COSTS:
        yield cost_row(figure, data)


def restore() -> Iterable[Row]:
    compile_c("restore", flags=["-static"])
    ways = {"stock": ("fast",), "ksm": ("writes", "alone", "ksmd", "fast")}
    data = in_turn("sharing after a restore", lambda kernel: table.medians(run(
        kernel, " && ".join(f"/mnt/share/restore {way}" for way in ways[kernel]), mem="3G")))
    save("restore", data)
    stock, ours = ({name: [turn[name] for turn in data[kernel]] for name in data[kernel][0]}
                   for kernel in ("stock", "ksm"))
    cpu = {way: [own + ksmd for own, ksmd in zip(ours[f"{way}_own_s"], ours[f"{way}_ksmd_s"])]
           for way in ("writes", "alone")}
    yield table.row("shared by two writes, 1 GiB", "percent", ours["writes_percent"],
                    target=table.at_least(95))
    yield table.row("two writes", "s", ours["writes_s"], stock["fast_s"])
    yield table.row("two writes, CPU", "s", cpu["writes"], stock["fast_ksmd_s"],
                    table.times(1.2, "ksmd", statistics.median(ours["ksmd_ksmd_s"])))
    yield table.row("two writes, ksmd scans nothing else, CPU", "s", cpu["alone"],
                    stock["fast_ksmd_s"])
    yield table.row("90% by ksmd without a pause", "s", ours["fast_s"], stock["fast_s"])
    yield table.row("90% by ksmd without a pause, CPU", "s", ours["fast_ksmd_s"],
                    stock["fast_ksmd_s"])
    yield table.row("90% by ksmd at its defaults", "s", ours["ksmd_s"])
    yield table.row("90% by ksmd at its defaults, CPU", "s", ours["ksmd_ksmd_s"])


PARTS = {"insns": insns, "read": read, "idle": idle, "exits": exits, "shares": shares,
         "advisor": advisor, "threads": threads, "slices": slices, "restore": restore, "cost": cost}
NAMES = (*PARTS, "scan")


def settings() -> Settings:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part",
                        help="what to measure, default everything; with QUICK, scan")
    parts = tuple(parser.parse_args().parts)
    unknown = [name for name in parts if name not in NAMES]
    if unknown:
        parser.error(f"no part '{unknown[0]}': it is one of {', '.join(NAMES)}")
    quick = bool(os.environ.get("QUICK"))
    return Settings(parts or (("scan",) if quick else NAMES), quick)


def main() -> None:
    chosen = settings()
    OUT.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    try:
        for name in chosen.parts:
            rows += scan.measure_all(chosen.quick) if name == "scan" else PARTS[name]()
    except (VMError, BenchError) as error:
        sys.exit(f"bench: {error}")
    finally:
        if rows:
            print(table.text(rows))


if __name__ == "__main__":
    main()
