# SPDX-License-Identifier: GPL-2.0
"""What scanning costs, the stock kernel and ours in turn, in user mode.

Each set of data has a kernel to itself. A figure is the median over the turns;
its spread is from the least to the largest, in parts of the median.
"""
import os
import re
import statistics
import subprocess
import sys

import plot
import table
import uml

TOP = uml.TOP
TREE = os.path.join(uml.BUILD, "linux")
KERNELS = ("stock", "ksm")
TURNS = 3
SIZES = (256, 1024, 4096)       # MiB

# What scan.c is to do: part, data, MiB, with smart scan. The first few are enough
# to see where one stands.
QUICK = (("unique", "random", 256, 1), ("unique", "random", 1024, 0),
         ("changing", "random", 256, 0), ("merging", "half", 256, 0),
         ("unique", "near", 256, 0))
WHOLE = (("unique", "random", 256, 1), ("unique", "random", 1024, 1),
         ("unique", "random", 4096, 0), ("changing", "random", 1024, 0),
         ("merging", "half", 1024, 0), ("merging", "zero", 256, 0),
         ("settle", "half", 1024, 1), ("real", "interpreters", 512, 0),
         ("unique", "near", 256, 0), ("unique", "spread", 256, 0),
         ("unique", "hostile", 256, 0))


def say(text):
    print("==> " + text, file=sys.stderr, flush=True)


def key(part, data, mib):
    return "%s %s %d" % (part, data, mib)


def measure(runs, kernel):
    """What was done, and what scan.c says of it."""
    result = {}
    for part, data, mib, smart in runs:
        log = os.path.join(uml.BUILD, "bench", "scan-%s-%s-%s-%d.log" % (kernel, part, data, mib))
        result[key(part, data, mib)] = uml.run(kernel, part, data, mib, smart, log)
    return result


def possible(runs):
    """Those that there is memory for."""
    small = [run for run in runs if uml.room(run[2])]
    if len(small) < len(runs):
        say("too little memory: left out are %s" %
            ", ".join(key(*run[:3]) for run in runs if run not in small))
    return small


# ---------------------------------------------------------------------- figures

def page_us(result, stretch):
    """CPU time of a page that a pass came by, looked at or passed over."""
    s = result[stretch]
    return s["cpu_ns"] / 1e3 / (s["scanned"] + s["skipped"])


def merged_us(result, stretch):
    s = result[stretch]
    return s["cpu_ns"] / 1e3 / (s["passes"] * result["pages"])


def per_second(result, stretch):
    s = result[stretch]
    return s["pages"] / (s["cpu_ns"] / 1e9)


def wall_s(result, stretch):
    return result[stretch]["wall_us"] / 1e6


def cpu_percent(result, stretch):
    return result[stretch]["cpu_ns"] / result[stretch]["wall_us"] / 10


def saved_percent(result, stretch):
    return 100 * result[stretch]["pages"] / result["pages"]


def found_us(result, stretch):
    return result[stretch]["cpu_ns"] / 1e3 / result["pages"]


def metadata(result, which):
    return result["metadata"][which] / result["pages"]


def size_text(mib):
    return "%d GiB" % (mib // 1024) if mib >= 1024 else "%d MiB" % mib


def figures(friendly):
    """
    Name, unit, run, how it is told, of which stretch, the target if there is one;
    friendly: what a random page costs, steady, 256 MiB.
    """
    for mib in SIZES:
        run = ("unique", "random", mib)
        yield "unique, first sight, " + size_text(mib), "us/page", run, page_us, "first", None
        yield ("unique, steady, " + size_text(mib), "us/page", run, page_us, "steady",
               table.of_stock(0.1))
        yield "unique, smart scan, " + size_text(mib), "us/page", run, page_us, "smart", None
    for mib in SIZES[:2]:
        run, size = ("changing", "random", mib), size_text(mib)
        yield ("volatile, all of a page, " + size, "us/page", run, page_us, "changed_whole",
               table.of_stock(0.25))
        yield ("volatile, one word, " + size, "us/page", run, page_us, "changed_word",
               table.of_stock(0.25))
    run = ("unique", "random", 1024)
    yield "metadata, as the kernel says", "B/page", run, metadata, "own", table.at_most(16)
    yield "metadata, as memory went", "B/page", run, metadata, "taken", None
    for data, text, mib in (("half", "half are copies, 256 MiB", 256),
                            ("half", "half are copies, 1 GiB", 1024),
                            ("zero", "all zeroes, 256 MiB", 256)):
        run, target = ("merging", data, mib), data == "half"
        yield ("merging, " + text, "pages/s", run, per_second, "merge",
               table.times_stock(3) if target else None)
        yield "merged, a visit, " + text, "us/page", run, merged_us, "merged", None
        yield ("unmerging, " + text, "pages/s", run, per_second, "unmerge",
               table.times_stock(1) if target else None)
    run = ("settle", "half", 1024)
    yield "until 95% is saved, half are copies, 1 GiB", "s", run, wall_s, "settle", table.of_stock(0.1)
    yield "CPU until then", "percent", run, cpu_percent, "settle", table.at_most(20)
    run = ("real", "interpreters", 512)
    yield "four interpreters, saved", "percent", run, saved_percent, "saved", None
    yield "four interpreters, three passes", "us/page", run, found_us, "found", None
    yield "four interpreters, steady", "us/page", run, page_us, "steady", None
    for data, text in (("near", "alike but the last word"), ("spread", "alike but a word anywhere"),
                       ("hostile", "of equal fingerprint")):
        yield (text + ", 256 MiB", "us/page", ("unique", data, 256), page_us, "steady",
               table.times(2, "random", friendly))


def of_turns(results, kernel, run, how, stretch):
    done = [turn.get(key(*run), {}) for turn in results[kernel]]
    return [how(result, stretch) for result in done
            if stretch in result or stretch in result.get("metadata", ())]


def steady(results, mib):
    """Medians of the two kernels, None where that was not measured."""
    values = [of_turns(results, kernel, ("unique", "random", mib), page_us, "steady")
              for kernel in KERNELS]
    return [statistics.median(v) for v in values] if all(values) else None


def kernel_rows(results):
    for name, unit, run, how, stretch, target in figures(steady(results, 256)[1]):
        stock, ours = (of_turns(results, kernel, run, how, stretch) for kernel in KERNELS)
        if stock and ours:
            yield table.row(name, unit, ours, stock, target)


def growth_rows(results):
    ends = [steady(results, mib) for mib in (SIZES[0], SIZES[-1])]
    if all(ends):
        stock, ours = (large / small for small, large in zip(*ends))
        yield table.row("unique, steady, 4 GiB over 256 MiB", "times", [ours], [stock],
                        table.at_most(1.5))


# ---------------------------------------------------------------- without a kernel

def choice_program():
    """The scheduler as a program, which is made before anything is measured."""
    program = os.path.join(uml.BUILD, "bench", "choice")
    subprocess.run(["gcc", "-O2", "-I" + os.path.join(TOP, "bench", "user"),
                    "-I" + os.path.join(TREE, "tools", "include"), "-o", program,
                    os.path.join(TOP, "bench", "choice.c"),
                    os.path.join(TREE, "tools", "lib", "rbtree.c")], check=True)
    return program


def choice(program):
    """Nanoseconds of choosing the next cgroup, by how many there are."""
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {int(groups): float(ns) for groups, ns in map(str.split, out.splitlines())}


def choice_rows(results):
    """The first number of cgroups and the last."""
    turns = results["choice"]
    few, many = min(turns[0]), max(turns[0])
    ns = [[turn[groups] for turn in turns] for groups in (few, many)]
    yield table.row("choosing the next of %s cgroups" % few, "ns", ns[0])
    yield table.row("choosing the next of %s cgroups" % many, "ns", ns[1],
                    target=table.times(2, "%s" % few, statistics.median(ns[0])))


def sizes():
    """Text and data of the kernels that are built: those in user mode, the VM's."""
    result = {}
    for name, folders in (("user mode", ("um-stock", "um")),
                          ("the VM's, with unit tests", ("stock", "ksm"))):
        paths = [os.path.join(uml.BUILD, "obj", folder, "vmlinux") for folder in folders]
        if all(map(os.path.exists, paths)):
            out = subprocess.run(["size", *paths], check=True, capture_output=True,
                                 text=True).stdout
            result[name] = [list(map(int, re.findall(r"\d+", line)[:2]))
                            for line in out.splitlines()[1:]]
    return result


def size_rows(results):
    for name, (stock, ours) in results["sizes"].items():
        for i, what in enumerate(("text", "data")):
            yield table.row("%s, %s" % (what, name), "bytes", [ours[i]], [stock[i]],
                            ratio="%+d" % (ours[i] - stock[i]))


def part(save):
    quick = bool(os.environ.get("QUICK"))
    turns = 1 if quick else TURNS
    runs = possible(QUICK if quick else WHOLE)
    results = {"stock": [], "ksm": [], "choice": [], "sizes": sizes()}
    uml.prepare()
    program = choice_program()
    with uml.many_maps():
        for turn in range(turns):
            for kernel in KERNELS:
                say("scanning, the %s kernel, %d of %d" % (kernel, turn + 1, turns))
                results[kernel].append(measure(runs, kernel))
            results["choice"].append(choice(program))
            save("scan", results)
    points = [(mib, steady(results, mib)) for mib in SIZES]
    with open(os.path.join(uml.BUILD, "bench", "scan.svg"), "w") as stream:
        stream.write(plot.scan([point for point in points if point[1]]))
    say("plot: build/bench/scan.svg")
    return rows(results)


def rows(results):
    """Of the table, see table.py."""
    return [*kernel_rows(results), *growth_rows(results), *choice_rows(results),
            *size_rows(results)]
