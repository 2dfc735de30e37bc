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

All figures end up in one table; raw data goes to build/bench/NAME.json.
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
import table  # noqa: E402
import uml  # noqa: E402
from machine import BUILD, Machine, VMError  # noqa: E402

OUT = os.path.join(BUILD, "bench")
TURNS = 3
RUNS = 3                # of the program in one turn
MORE = 0.005            # part by which a count may be above the stock kernel's


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


def turn_rows(figure, unit, data, target):
    """Of each name in the turns of both kernels."""
    for name in data["stock"][0]:
        stock, ours = ([turn[name] for turn in data[kernel]] for kernel in ("stock", "ksm"))
        yield table.row(figure % name, unit, ours, stock, target)


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
    return turn_rows("instructions, %s", "insns", data, table.of_stock(1 + MORE))


def read():
    compiled("read")
    say("reading memory.ksm.stat, which takes some minutes")
    names = ("cgroups", "processes", "pages", "top_us", "leaf_us")
    data = [dict(zip(names, map(float, line.split())))
            for line in run("ksm", "/mnt/share/read", mem="3G").splitlines()]
    save("read", data)
    for seen in data:
        for which, name in (("the one above", "top_us"), ("one of them", "leaf_us")):
            yield table.row("memory.ksm.stat, %d cgroups, %s" % (seen["cgroups"], which), "us",
                            [seen[name]])


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
    say("plot: build/bench/shares.svg")
    for phase, wanted, had in plot.phases(data):
        yield table.row("shares, %s, off by" % phase["text"], "of 1",
                        [max(abs(a - b) for a, b in zip(wanted, had))],
                        target=table.at_most(0.02))


def advisor():
    say("the advisor's CPU limit, which takes three minutes")
    names = ("cgroups", "limit", "percent")
    data = [dict(zip(names, map(float, line.split())))
            for line in guest("advisor", "2G").splitlines()]
    save("advisor", data)
    for seen in data:
        yield table.row("the advisor, %d cgroups" % seen["cgroups"], "percent", [seen["percent"]],
                        target=table.at_most(seen["limit"]))


def threads():
    say("one and two scanner threads, which takes two minutes")
    data = json.loads(guest("threads", "2G"))
    save("threads", data)
    one, two = (statistics.median(data[nr]) for nr in ("1", "2"))
    for nr in ("1", "2"):
        yield table.row("scanner threads: %s" % nr, "pages/s", data[nr])
    yield table.row("two threads, of one", "times", [two / one], target=table.at_least(1.8))


def slices():
    say("slices of the scanning, which takes a minute or two")
    data = json.loads(guest("slices", "1G"))
    save("slices", data)
    friendly = sorted(data["random"]["us"])
    for name, seen in data.items():
        us = sorted(seen["us"])
        for which, at in (("99% of", len(us) * 99 // 100), ("longest of", -1)):
            limit = table.times(2, "random", friendly[len(friendly) * 99 // 100 if at > 0 else -1])
            yield table.row("%s %d slices, %s" % (which, len(us), name), "us", [us[at]],
                            target=None if name == "random" else limit)


# What those pay who are scanned, or merged no more; and what is compared with what
# it is where nobody scans.
COST = (("first touch while scanned, p99", "touch_scanned_ns"),
        ("first touch of twins while scanned, p99", "twin_scanned_ns"),
        ("copy on write while scanned, p99", "cow_scanned_ns"),
        ("a page that run=2 gives back", "unmerge_ns"),
        ("to 10,000 mappings of a frame", "rmap_ns"))
ALONE = (("first touch while scanned, of unscanned", "touch_scanned_ns", "touch_alone_ns"),
         ("first touch of twins, of unscanned", "twin_scanned_ns", "twin_alone_ns"),
         ("copy on write while scanned, of unscanned", "cow_scanned_ns", "cow_alone_ns"))


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
    stock, ours = data["stock"], data["ksm"]
    for text, name in COST:
        yield table.row(text, "ns", [turn[name] for turn in ours], [turn[name] for turn in stock],
                        table.of_stock(1))
    for text, name, alone in ALONE:
        yield table.row(text, "times", [turn[name] / turn[alone] for turn in ours],
                        [turn[name] / turn[alone] for turn in stock], table.at_most(1.1))


def main():
    parts = {"insns": insns, "read": read, "shares": shares, "advisor": advisor,
             "threads": threads, "slices": slices, "cost": cost,
             "scan": lambda: scan.part(save)}
    wanted = sys.argv[1:] or (["scan"] if os.environ.get("QUICK") else list(parts))
    if any(name not in parts for name in wanted):
        sys.exit(__doc__)
    os.makedirs(OUT, exist_ok=True)
    rows = []
    try:
        for name in wanted:
            rows += parts[name]()
    except (VMError, uml.UMLError) as error:
        sys.exit("bench: %s" % error)
    finally:
        if rows:
            print(table.text(rows))


if __name__ == "__main__":
    main()
