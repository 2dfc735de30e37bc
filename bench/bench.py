#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure side by side with the stock kernel, and print a table.

  insns   instructions of faults, fork and munmap where nothing is merged, on
          both kernels in turn, in a VM that counts instructions
  read    how long a read of memory.ksm.stat takes with many processes, pages
          and cgroups; emulated, so only to be compared with one another

  shares  the share of the scanning that three cgroups get while their weights
          change, as a plot

  advisor whether the CPU limit is kept with 1, 10 and 100 cgroups

  threads how much faster two scanner threads go through two domains than one

  slices  how long a scanner thread holds on to random pages, and to those made to
          be hard to tell apart

  cost    what those pay who are scanned and merged, on both kernels in turn;
          emulated, so only to be compared with one another

  scan    what scanning and merging cost a page, on both kernels in turn, in user
          mode at the processor's speed; with QUICK in the environment the most
          telling rows, in some minutes

usage: bench.py [insns] [read] [shares] [advisor] [threads] [slices]
                [cost] [scan]

Raw data goes to build/bench/NAME.json.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "vm"))
import plot  # noqa: E402
import scan  # noqa: E402
import uml  # noqa: E402
from machine import BUILD, Machine, VMError  # noqa: E402

OUT = os.path.join(BUILD, "bench")
TURNS = 3
RUNS = 3                # of the program in one turn
TARGET = 0.5            # percent that a count may be above the stock kernel's


def say(text):
    print("==> " + text, file=sys.stderr, flush=True)


def run(kernel, command, **options):
    """Standard output of a command in a VM of its own."""
    out = []
    with Machine(kernel, share=OUT, log=os.path.join(OUT, "console-%s.log" % kernel),
                 **options) as machine:
        result = machine.run(command, timeout=1200, stdout=out.append,
                             stderr=lambda data: sys.stderr.buffer.write(data))
    if result.status or result.trouble:
        sys.exit("bench: '%s' on the %s kernel: status %s, see %s" %
                 (command, kernel, result.status, OUT))
    return b"".join(out).decode()


def save(name, data):
    with open(os.path.join(OUT, name + ".json"), "w") as stream:
        json.dump(data, stream, indent=1)
        stream.write("\n")


def medians(text):
    """Of each name in lines of "name value"."""
    figures = {}
    for name, value in map(str.split, text.splitlines()):
        figures.setdefault(name, []).append(float(value))
    return {name: statistics.median(values) for name, values in figures.items()}


def compiled(name):
    subprocess.run(["gcc", "-O2", "-static", "-o", os.path.join(OUT, name),
                    os.path.join(TOP, "bench", name + ".c")], check=True)


def insns():
    compiled("insns")
    data = {"stock": [], "ksm": []}
    for turn in range(TURNS):
        for kernel in data:
            say("instructions on the %s kernel, %d of %d" % (kernel, turn + 1, TURNS))
            # where things lie decides how many page tables fork copies
            data[kernel].append(medians(run(
                kernel, "for i in $(seq %d); do setarch -R /mnt/share/insns; done" % RUNS,
                mem="1G", cpus=1, count=True)))
    save("insns", data)
    print("%-12s %12s %12s %9s %18s  %s" % ("instructions", "stock", "ours", "more",
                                            "spread", "<= %s%%" % TARGET))
    for name in data["stock"][0]:
        sets = {k: [turn[name] for turn in turns] for k, turns in data.items()}
        stock, ours = (statistics.median(sets[k]) for k in ("stock", "ksm"))
        spread = ["%.2f%%" % (100 * (max(v) - min(v)) / min(v)) for v in sets.values()]
        more = 100 * (ours / stock - 1)
        print("%-12s %12.1f %12.1f %8.2f%% %18s  %s" % (name, stock, ours, more, ", ".join(spread),
                                                       "yes" if more <= TARGET else "no"))


def read():
    compiled("read")
    say("reading memory.ksm.stat, which takes some minutes")
    names = ("cgroups", "processes", "pages", "top_us", "leaf_us")
    data = [dict(zip(names, map(float, line.split())))
            for line in run("ksm", "/mnt/share/read", mem="3G").splitlines()]
    save("read", data)
    print("%8s %9s %8s %22s %18s" % ("cgroups", "processes", "pages", "us, the one above all",
                                     "us, one of them"))
    for row in data:
        print("%8d %9d %8d %22.1f %18.1f" % tuple(row[name] for name in names))


def guest(name, mem):
    """What a part that runs in the VM as a Python script prints."""
    for part in (name, "guest"):
        shutil.copy(os.path.join(TOP, "bench", part + ".py"), OUT)
    return run("ksm", "python3 -B /mnt/share/%s.py" % name, mem=mem)


def shares():
    say("shares of the scanning, which takes a minute")
    data = json.loads(guest("shares", "1G"))
    save("shares", data)
    with open(os.path.join(OUT, "shares.svg"), "w") as stream:
        stream.write(plot.shares(data))
    print("%-22s %s" % ("weights", "share of the work, wanted and had"))
    for phase, wanted, had in plot.phases(data):
        print("%-22s %s" % (phase["text"], "   ".join(
            "%s %.3f %.3f" % row for row in zip(data["names"], wanted, had))))
    print("plot: build/bench/shares.svg")


def advisor():
    say("the advisor's CPU limit, which takes three minutes")
    names = ("cgroups", "limit", "percent")
    data = [dict(zip(names, map(float, line.split())))
            for line in guest("advisor", "2G").splitlines()]
    save("advisor", data)
    print("%8s %16s %10s" % ("cgroups", "advisor_max_cpu", "CPU"))
    for row in data:
        print("%8d %15d%% %9.1f%%" % tuple(row[name] for name in names))


def threads():
    say("one and two scanner threads, which takes two minutes")
    data = json.loads(guest("threads", "2G"))
    save("threads", data)
    one, two = (statistics.median(data[nr]) for nr in ("1", "2"))
    for nr in ("1", "2"):
        print("%s thread%s %9.0f pages a second (%.0f to %.0f)" % (
            nr, ": " if nr == "1" else "s:", statistics.median(data[nr]), min(data[nr]),
            max(data[nr])))
    print("ratio %.2f, target 1.8: %s" % (two / one, "yes" if two >= 1.8 * one else "no"))


def slices():
    say("slices of the scanning, which takes a minute or two")
    data = json.loads(guest("slices", "1G"))
    save("slices", data)
    print("%-8s %8s %12s %10s %8s %8s" % ("data", "slices", "lines, most", "us, median", "99%",
                                          "longest"))
    for name, seen in data.items():
        us = sorted(seen["us"])
        print("%-8s %8d %12d %10d %8d %8d" % (name, len(us), max(seen["lines"]),
                                              statistics.median(us), us[len(us) * 99 // 100],
                                              us[-1]))


# What is compared with what, and how many times that it may be: figures of ours
# stand without a name in front, those of the stock kernel with "stock".
COST = (
    ("first touch, beside no scanning", "touch_scanned_ns", "touch_alone_ns", 1.1),
    ("first touch, beside stock", "touch_scanned_ns", "stock touch_scanned_ns", 1),
    ("copy on write, beside no scanning", "cow_scanned_ns", "cow_alone_ns", 1.1),
    ("copy on write, beside stock", "cow_scanned_ns", "stock cow_scanned_ns", 1),
    ("ns a page that run=2 gives back", "unmerge_ns", "stock unmerge_ns", 1),
    ("ns to 10,000 mappings of a frame", "rmap_ns", "stock rmap_ns", 1),
)


def cost_turn(kernel):
    return medians(run(kernel, "for part in faults unmerge rmap; do "
                               "/mnt/share/cost $part || exit; done", mem="3G"))


def cost():
    compiled("cost")
    data = {"stock": [], "ksm": []}
    for turn in range(TURNS):
        for kernel in data:
            say("costs on the %s kernel, %d of %d" % (kernel, turn + 1, TURNS))
            data[kernel].append(cost_turn(kernel))
    save("cost", data)
    sets = {("stock " if kernel == "stock" else "") + name: [turn[name] for turn in turns]
            for kernel, turns in data.items() for name in turns[0]}
    print("%-34s %12s %12s %7s %13s  %s" % ("", "with", "ours", "ratio", "spread", "at most"))
    for text, ours, other, most in COST:
        value = statistics.median(sets[ours])
        base = statistics.median(sets[other]) if other else 1
        spread = "-".join("%.2f" % (v / base) for v in (min(sets[ours]), max(sets[ours])))
        print("%-34s %12s %12.1f %7.2f %13s  %s: %s" % (
            text, "%.1f" % base if other else "", value, value / base, spread, most,
            "yes" if value <= most * base else "no"))


def main():
    parts = {"insns": insns, "read": read, "shares": shares, "advisor": advisor,
             "threads": threads, "slices": slices, "cost": cost,
             "scan": lambda: scan.part(save)}
    wanted = sys.argv[1:] or (["scan"] if os.environ.get("QUICK") else list(parts))
    if any(name not in parts for name in wanted):
        sys.exit(__doc__)
    os.makedirs(OUT, exist_ok=True)
    try:
        for name in wanted:
            parts[name]()
    except (VMError, uml.UMLError) as error:
        sys.exit("bench: %s" % error)


if __name__ == "__main__":
    main()
